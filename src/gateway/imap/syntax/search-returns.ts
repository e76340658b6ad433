// RETURN (…) of SEARCH, SORT and ESEARCH. RFC 4731 §3.1, RFC 5182 §2.1 (SAVE), RFC 5267 §4 (CONTEXT,
// UPDATE), RFC 9394 §3.1 (PARTIAL)

import type { Cursor } from "./cursor.ts";
import { parsePartialRange } from "./partial-range.ts";
import type { PartialRange } from "./partial-range.ts";

const options = ["MIN", "MAX", "ALL", "COUNT", "SAVE", "UPDATE", "CONTEXT"] as const;
export type ReturnOption = (typeof options)[number];

export interface SearchReturns {
  readonly options: ReadonlySet<ReturnOption>;
  readonly partial: PartialRange | undefined;
}

export const returnsAll: SearchReturns = { options: new Set(["ALL"]), partial: undefined };

/** `RETURN (MIN COUNT) `, when it is there; an empty list means ALL. */
export function parseReturns(cursor: Cursor): SearchReturns | undefined {
  if (cursor.peekWord() !== "RETURN") return undefined;
  const found = new Set<ReturnOption>();
  let partial: PartialRange | undefined;
  cursor.word();
  cursor.space();
  const count = cursor.list(() => {
    const word = cursor.word();
    const option = options.find((each) => each === word);
    if (option !== undefined) {
      found.add(option);
    } else if (word === "PARTIAL") {
      cursor.space();
      if (partial !== undefined) cursor.fail("PARTIAL may be given once");
      partial = parsePartialRange(cursor);
    } else cursor.fail("unknown RETURN option");
  });
  cursor.space();
  if (count === 0) found.add("ALL");
  // RFC 9394 §3.1: one PARTIAL, one ALL, or neither.
  if (partial !== undefined && found.has("ALL")) cursor.fail("PARTIAL and ALL exclude each other");
  return { options: found, partial };
}
