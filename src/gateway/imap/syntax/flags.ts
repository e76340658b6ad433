// Flags as clients write them: system flags in their canonical case, keywords as they are.
// RFC 9051 §2.3.2

import type { Cursor } from "./cursor.ts";
import { backslash, openParen, SP, star } from "./characters.ts";

export const systemFlags: readonly string[] = [
  "\\Answered",
  "\\Flagged",
  "\\Deleted",
  "\\Seen",
  "\\Draft",
];

const canonical = new Map(systemFlags.map((flag) => [flag.toLowerCase(), flag]));
const flagLengthMax = 255;

/** `(\Seen $Forwarded)`; with `bareAllowed` also `\Seen $Forwarded` without parentheses (STORE). */
export function parseFlags(cursor: Cursor, bareAllowed: boolean): readonly string[] {
  const flags = new Set<string>();
  const one = (): void => {
    const flag = parseFlag(cursor);
    if (flag !== undefined) flags.add(flag);
  };
  if (cursor.peek() === openParen || !bareAllowed) cursor.list(one);
  else {
    do one();
    while (cursor.ok && cursor.skip(SP) && !cursor.atEnd);
  }
  return [...flags];
}

/** One flag; undefined for \Recent, which a client may not set and some send (RFC 3501 §2.3.2). */
function parseFlag(cursor: Cursor): string | undefined {
  if (!cursor.skip(backslash)) {
    const keyword = cursor.flagAtom();
    if (keyword.length > flagLengthMax) cursor.fail("keyword is too long");
    return keyword;
  }
  if (cursor.peek() === star) {
    cursor.fail("\\* can't be set");
    return undefined;
  }
  const name = `\\${cursor.flagAtom()}`;
  if (name.toLowerCase() === "\\recent") return undefined;
  const flag = canonical.get(name.toLowerCase());
  if (flag === undefined) cursor.fail("unknown system flag");
  return flag;
}
