// Message ids in the form in which they are compared, as found in Message-ID, References and
// In-Reply-To. RFC 5322 §3.6.4, RFC 5256 §3 (REFERENCES)

/** Of a longer References field the first id and the last ones are kept. */
const referencesMax = 4096;
/** So many ids of one field are looked at. */
export const messageIdsMax = 200;

/**
 * The ids in a field's value, in order: without angle brackets, blanks and the quotes of a quoted
 * local part, so that each id has one form. Text without brackets is none.
 */
export function messageIdsIn(text: string, countMax: number = messageIdsMax): string[] {
  const ids: string[] = [];
  let open = text.indexOf("<");
  while (open >= 0 && ids.length < countMax) {
    const close = text.indexOf(">", open + 1);
    if (close < 0) break;
    // `<a <b@c>`: the first one has no end.
    const id = normalise(text.slice(text.lastIndexOf("<", close) + 1, close));
    if (id !== "") ids.push(id);
    open = text.indexOf("<", close + 1);
  }
  return ids;
}

/** RFC 5256 §3: `<"01KF8"@x>` and `<01KF8@x>` are the same Message ID. */
function normalise(raw: string): string {
  const id = /[ \t\r\n]/.test(raw) ? raw.replaceAll(/[ \t\r\n]+/g, "") : raw;
  return id.includes('"') ? id.replaceAll(/\\(.)|"/g, "$1") : id;
}

/** A References field for the index: bounded; the first id names the thread, the last ones the parents. */
export function boundedReferences(line: string): string {
  if (line.length <= referencesMax) return line;
  const firstEnd = line.indexOf(">") + 1;
  const first = firstEnd > 0 && firstEnd < referencesMax / 4 ? line.slice(0, firstEnd) : "";
  const tail = line.slice(first.length - referencesMax);
  const tailStart = tail.indexOf("<");
  return tailStart < 0 ? first : first + tail.slice(tailStart);
}
