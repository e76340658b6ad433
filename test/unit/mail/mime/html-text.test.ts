// The stripping of HTML against a plain, slow form of itself.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { htmlText } from "../../../../src/mail/mime/html-text.ts";

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

/** Tags inside a word; all others part words. */
const inline = new Set(
  "a abbr b bdi bdo big cite code del dfn em font i ins kbd mark q s samp small span strike strong sub sup tt u var wbr".split(
    " ",
  ),
);
const dropped = ["script", "style", "head", "title"] as const;

/** Text of HTML source. Linear in its length, whatever it holds. */
function reference(html: string): string {
  // ASCII only: other letters may change their length.
  const lower = html.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase());
  const out: string[] = [];
  let at = 0;
  // Look-aheads that failed once fail for the rest.
  const lastClose = html.lastIndexOf(">");
  const lastCommentEnd = html.lastIndexOf("-->");
  const unclosed = new Set<string>();
  while (at < html.length) {
    const open = html.indexOf("<", at);
    if (open < 0 || open > lastClose) break;
    out.push(html.slice(at, open));
    if (html.startsWith("<!--", open)) {
      const closed = lastCommentEnd >= open + 4;
      at = closed ? html.indexOf("-->", open + 4) + 3 : html.indexOf(">", open) + 1;
      continue;
    }
    const name = /^<\/?([a-z][a-z0-9]{0,15})/.exec(lower.slice(open, open + 20))?.[1];
    if (name === undefined && html[open + 1] !== "!" && html[open + 1] !== "?") {
      out.push("<");
      at = open + 1;
      continue;
    }
    at = html.indexOf(">", open) + 1;
    if (name !== undefined && !inline.has(name)) out.push("\n");
    const skip = lower[open + 1] === "/" ? undefined : dropped.find((tag) => tag === name);
    if (skip === undefined || unclosed.has(skip)) continue;
    const end = lower.indexOf(`</${skip}`, at);
    if (end < 0) unclosed.add(skip);
    else at = end;
  }
  out.push(html.slice(at));
  return decodeEntities(out.join(""));
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

const piece = fc.constantFrom(
  ..."< > </ <! <!-- --> <b> </B> <p> <P x=1> <br/> <style> </style> <SCRIPT> </script> <head> </head> <title> <strong> <strongs> <strikes> <a1> <1> <h1> <blockquote12345678> <? ?> & &amp; &AMP &#65; &#x42 &shy; &nope; &#0; İ K 한 é x yz \n".split(
    " ",
  ),
  " ",
);

describe("text of HTML", () => {
  it("is what the plain form gives", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(piece, fc.string()), { maxLength: 40 }), (pieces) => {
        const html = pieces.join("");
        expect(htmlText(html)).toBe(reference(html));
      }),
      { numRuns: 1500 },
    );
  });
});
