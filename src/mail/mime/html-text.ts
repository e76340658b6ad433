// Rough text of HTML for SEARCH and previews: tags go, entities are decoded. Not a sanitiser: its
// result must never be shown as HTML.

const named: ReadonlyMap<string, string> = new Map([
  ["amp", "&"],
  ["lt", "<"],
  ["gt", ">"],
  ["quot", '"'],
  ["apos", "'"],
  ["nbsp", " "],
  ["copy", "©"],
  ["reg", "®"],
  ["trade", "™"],
  ["hellip", "…"],
  ["mdash", "—"],
  ["ndash", "–"],
  ["lsquo", "‘"],
  ["rsquo", "’"],
  ["ldquo", "“"],
  ["rdquo", "”"],
  ["laquo", "«"],
  ["raquo", "»"],
  ["bull", "•"],
  ["middot", "·"],
  ["euro", "€"],
  ["pound", "£"],
  ["yen", "¥"],
  ["sect", "§"],
  ["deg", "°"],
  ["times", "×"],
  ["zwnj", ""],
  ["shy", ""],
]);

/** Names up to this long have codes of their own: all that matter. */
const nameLettersMax = 6;
const noName = -1;
const longName = -2;

/** Tags inside a word, by their codes; all others part words. */
const inline = new Set(
  "a abbr b bdi bdo big cite code del dfn em font i ins kbd mark q s samp small span strike strong sub sup tt u var wbr"
    .split(" ")
    .map((name) => nameCode(`${name}>`, 0)),
);
/** Tags whose content is no text. */
const dropped: ReadonlyMap<number, string> = new Map(
  ["script", "style", "head", "title"].map((name) => [nameCode(`${name}>`, 0), name]),
);
/** Text of HTML source. Linear in its length, whatever it holds. */
export function htmlText(html: string): string {
  const out: string[] = [];
  let at = 0;
  // Look-aheads that failed once fail for the rest.
  const lastClose = html.lastIndexOf(">");
  const lastCommentEnd = html.lastIndexOf("-->");
  const unclosed = new Set<string>();
  let lower: string | undefined;
  while (at < html.length) {
    const open = html.indexOf("<", at);
    if (open < 0 || open > lastClose) break;
    if (open > at) out.push(html.slice(at, open));
    const mark = html.charCodeAt(open + 1);
    if (mark === exclamation && html.startsWith("--", open + 2)) {
      const closed = lastCommentEnd >= open + 4;
      at = closed ? html.indexOf("-->", open + 4) + 3 : html.indexOf(">", open) + 1;
      continue;
    }
    const name = nameCode(html, mark === slash ? open + 2 : open + 1);
    if (name === noName && mark !== exclamation && mark !== question) {
      out.push("<");
      at = open + 1;
      continue;
    }
    at = html.indexOf(">", open) + 1;
    if (name !== noName && !inline.has(name)) out.push("\n");
    const skip = mark === slash ? undefined : dropped.get(name);
    if (skip === undefined || unclosed.has(skip)) continue;
    lower ??= lowerAscii(html);
    const end = lower.indexOf(`</${skip}`, at);
    if (end < 0) unclosed.add(skip);
    else at = end;
  }
  out.push(html.slice(at));
  return decodeEntities(out.join(""));
}

const exclamation = 0x21;
const slash = 0x2f;
const question = 0x3f;

/** A number for the tag name (a letter, then letters and digits) at `start`, whatever its case. */
function nameCode(html: string, start: number): number {
  let code = 0;
  for (let at = start; ; at++) {
    const char = html.charCodeAt(at);
    const letter = char | 0x20;
    // NaN behind the end is no letter and no digit.
    if (letter >= 0x61 && letter <= 0x7a && char < 0x80) code = code * 37 + letter - 0x60;
    else if (at > start && char >= 0x30 && char <= 0x39) code = code * 37 + char - 0x30 + 27;
    else return at === start ? noName : code;
    if (at - start >= nameLettersMax) return longName;
  }
}

/** Letters of ASCII only: others may change their length. */
function lowerAscii(html: string): string {
  const lower = html.toLowerCase();
  return lower.length === html.length
    ? lower
    : html.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

function decodeEntities(text: string): string {
  if (!text.includes("&")) return text;
  return text.replaceAll(/&(#x[0-9a-f]{1,6}|#[0-9]{1,7}|[a-z]{2,8});?/gi, (whole, body: string) => {
    if (!body.startsWith("#")) return named.get(body.toLowerCase()) ?? whole;
    const hex = body[1] === "x" || body[1] === "X";
    const code = Number.parseInt(body.slice(hex ? 2 : 1), hex ? 16 : 10);
    const valid = code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    return valid ? String.fromCodePoint(code) : "\ufffd";
  });
}
