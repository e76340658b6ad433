// Union, intersection and difference of UID sets. The sets themselves are in uid-set.ts.

import { uidSetFromRanges } from "./uid-set.ts";
import type { UidSet } from "./uid-set.ts";

/** UIDs in either set. */
export function uidSetUnion(a: UidSet, b: UidSet): UidSet {
  if (a.length === 0) return b;
  if (b.length === 0) return a;
  const ranges: [number, number][] = [];
  for (const set of [a, b]) {
    for (let at = 0; at < set.length; at += 2) ranges.push([set[at] ?? 0, set[at + 1] ?? 0]);
  }
  return uidSetFromRanges(ranges);
}

/** UIDs in both sets. */
export function uidSetIntersection(a: UidSet, b: UidSet): UidSet {
  const both: number[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    const low = Math.max(a[i] ?? 0, b[j] ?? 0);
    const high = Math.min(a[i + 1] ?? 0, b[j + 1] ?? 0);
    if (low <= high) both.push(low, high);
    if ((a[i + 1] ?? 0) < (b[j + 1] ?? 0)) i += 2;
    else j += 2;
  }
  return both;
}

/** UIDs of `from` that are not in `without`. */
export function uidSetDifference(from: UidSet, without: UidSet): UidSet {
  if (from.length === 0 || without.length === 0) return from;
  const rest: number[] = [];
  let j = 0;
  for (let i = 0; i < from.length; i += 2) {
    let low = from[i] ?? 0;
    const high = from[i + 1] ?? 0;
    while (j < without.length && (without[j + 1] ?? 0) < low) j += 2;
    for (let k = j; k < without.length && (without[k] ?? 0) <= high; k += 2) {
      if ((without[k] ?? 0) > low) rest.push(low, (without[k] ?? 0) - 1);
      low = (without[k + 1] ?? 0) + 1;
    }
    if (low <= high) rest.push(low, high);
  }
  return rest;
}

/** Every UID of the set, ascending. The caller bounds the set. */
export function* uidsIn(set: UidSet): Generator<number> {
  for (let at = 0; at < set.length; at += 2) {
    for (let uid = set[at] ?? 0; uid <= (set[at + 1] ?? 0); uid++) yield uid;
  }
}
