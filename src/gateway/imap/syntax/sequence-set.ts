// Sequence sets of the client (`1:5,9:*`, `$`) and the few other forms of numbers. They are turned
// into UID sets by the view; nothing here knows a mailbox. RFC 9051 §9 sequence-set

import type { Cursor } from "./cursor.ts";
import { colon, comma, dollar, isDigit, star } from "./characters.ts";

/** What `*` is in a range until the view resolves it: above every number. */
export const starValue = 2 ** 32;

/** Flat pairs as the client wrote them, in any order, either side `starValue`; or the saved result `$`. */
export type SequenceSet =
  | { readonly kind: "saved" }
  | { readonly kind: "ranges"; readonly ranges: readonly number[] };

/** Parses a sequence-set or `$` (RFC 9051 §6.4.4.1). */
export function parseSequenceSet(cursor: Cursor): SequenceSet {
  if (cursor.skip(dollar)) return { kind: "saved" };
  const ranges: number[] = [];
  do {
    const low = parseSequenceNumber(cursor);
    const high = cursor.skip(colon) ? parseSequenceNumber(cursor) : low;
    ranges.push(low, high);
  } while (cursor.skip(comma));
  return { kind: "ranges", ranges };
}

/** True when the cursor is at the start of a sequence set. */
export function atSequenceSet(cursor: Cursor): boolean {
  const next = cursor.peek();
  return isDigit(next) || next === star || next === dollar;
}

function parseSequenceNumber(cursor: Cursor): number {
  if (cursor.skip(star)) return starValue;
  const value = cursor.number();
  if (value === 0) cursor.fail("0 is no message number"); // RFC 9051 §9 nz-number
  return value;
}
