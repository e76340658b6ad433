// A set of UIDs as sorted, disjoint, non-adjacent inclusive ranges: the form in which sets travel
// to the node and sit in log entries. Sequence numbers never leave the gateway.

/** Flat pairs `[low, high, low, high, …]`, ascending, disjoint; `high` may be 2^32-1 for `*`. */
export type UidSet = readonly number[];

export const noUids: UidSet = [];
export const allUids: UidSet = [1, 0xffff_ffff];

/** The set of ascending `uids`. Equal neighbours are allowed. */
export function uidSetFromSorted(uids: Iterable<number>): UidSet {
  const set: number[] = [];
  for (const value of uids) {
    const last = set.length - 1;
    if (last > 0 && value <= (set[last] ?? 0) + 1) set[last] = Math.max(set[last] ?? 0, value);
    else set.push(value, value);
  }
  return set;
}

/** Merges ranges in any order, overlapping or reversed, into a set. */
export function uidSetFromRanges(ranges: readonly (readonly [number, number])[]): UidSet {
  const sorted = ranges
    .map(([a, b]) => (a <= b ? [a, b] : [b, a]) as [number, number])
    .toSorted((left, right) => left[0] - right[0]);
  const set: number[] = [];
  for (const [low, high] of sorted) {
    const last = set.length - 1;
    if (last > 0 && low <= (set[last] ?? 0) + 1) set[last] = Math.max(set[last] ?? 0, high);
    else set.push(low, high);
  }
  return set;
}

/** True when `value` is in the set. O(log ranges). */
export function uidSetHas(set: UidSet, value: number): boolean {
  let low = 0;
  let high = set.length / 2 - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (value < (set[2 * middle] ?? 0)) high = middle - 1;
    else if (value > (set[2 * middle + 1] ?? 0)) low = middle + 1;
    else return true;
  }
  return false;
}

/** How many UIDs the set names. */
export function uidSetSize(set: UidSet): number {
  let size = 0;
  for (let i = 0; i < set.length; i += 2) size += (set[i + 1] ?? 0) - (set[i] ?? 0) + 1;
  return size;
}

/** RFC 9051 §9 `uid-set` text: `1:5,7`; empty text for the empty set, `*` is never used. */
export function uidSetText(set: UidSet): string {
  const parts: string[] = [];
  for (let i = 0; i < set.length; i += 2) {
    parts.push(set[i] === set[i + 1] ? `${set[i]}` : `${set[i]}:${set[i + 1]}`);
  }
  return parts.join(",");
}
