// Ranges of results, `1:500` from the first or `-1:-100` from the last, for SEARCH RETURN (PARTIAL …)
// and the FETCH modifier. RFC 9394 §4

import type { Cursor } from "./cursor.ts";
import { colon, dash } from "./characters.ts";

export interface PartialRange {
  /** Both counted from 1, ascending. */
  readonly low: number;
  readonly high: number;
  /** Counted from the last result. */
  readonly fromEnd: boolean;
  /** As the client wrote it; the answer repeats it. */
  readonly text: string;
}

export function parsePartialRange(cursor: Cursor): PartialRange {
  const fromEnd = cursor.skip(dash);
  const first = position(cursor);
  cursor.expect(colon);
  if (cursor.skip(dash) !== fromEnd) cursor.fail("a partial range counts from one end");
  const second = position(cursor);
  const sign = fromEnd ? "-" : "";
  return {
    low: Math.min(first, second),
    high: Math.max(first, second),
    fromEnd,
    text: `${sign}${first}:${sign}${second}`,
  };
}

/** Indices `[from, to)` of the range among `count` results; empty when there are none there. */
export function rangeWithin(
  { low, high, fromEnd }: PartialRange,
  count: number,
): readonly [number, number] {
  const [from, to] = fromEnd ? [count - high, count - low + 1] : [low - 1, high];
  return [Math.max(0, Math.min(from, count)), Math.max(0, Math.min(to, count))];
}

function position(cursor: Cursor): number {
  const value = cursor.number();
  if (value === 0) cursor.fail("results are counted from 1");
  return value;
}
