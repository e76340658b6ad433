// Chain hashes of the newest entries of one shard's log, by lsn: from the applied one (the base) up
// to the log's end. What the replica needs to tell a duplicate from a conflict without the disk.

import { assert } from "../../lib/assert.ts";
import { lsn as makeLsn } from "../../mail/ids.ts";
import type { Lsn } from "../../mail/ids.ts";

/** Hash of an entry that covers the hash of the entry before it. Only compared for equality. */
export type ChainHash = number;

/** `hashes[start]` belongs to `baseLsn`. */
export interface HashTail {
  baseLsn: number;
  start: number;
  hashes: ChainHash[];
}

const compactAt = 1024;

/** A tail that holds only its base. */
export function makeTail(baseLsn: Lsn, baseHash: ChainHash): HashTail {
  return { baseLsn, start: 0, hashes: [baseHash] };
}

/** Lsn of the last entry. */
export function tailEnd(tail: HashTail): Lsn {
  return makeLsn(tail.baseLsn + tail.hashes.length - tail.start - 1);
}

/** Hash of entry `lsn`; undefined when it lies below the base or behind the end. */
export function hashAt(tail: HashTail, lsn: Lsn): ChainHash | undefined {
  if (lsn < tail.baseLsn) return undefined;
  return tail.hashes[tail.start + lsn - tail.baseLsn];
}

export function endHash(tail: HashTail): ChainHash {
  const hash = tail.hashes[tail.hashes.length - 1];
  assert(hash !== undefined, "a tail holds its base");
  return hash;
}

/** Appends the hash of the next entry, which must be `lsn`. */
export function pushHash(tail: HashTail, lsn: Lsn, hash: ChainHash): void {
  assert(lsn === tailEnd(tail) + 1, "entries enter the tail without holes");
  tail.hashes.push(hash);
}

/** Forgets everything behind `afterLsn`. */
export function cutTail(tail: HashTail, afterLsn: Lsn): void {
  assert(afterLsn >= tail.baseLsn && afterLsn <= tailEnd(tail), "a cut lies within the tail");
  tail.hashes.length = tail.start + afterLsn - tail.baseLsn + 1;
}

/** Makes `lsn` the base: entries below it are settled. */
export function rebase(tail: HashTail, lsn: Lsn): void {
  assert(lsn >= tail.baseLsn && lsn <= tailEnd(tail), "a new base lies within the tail");
  tail.start += lsn - tail.baseLsn;
  tail.baseLsn = lsn;
  if (tail.start < compactAt || tail.start * 2 < tail.hashes.length) return;
  tail.hashes.splice(0, tail.start);
  tail.start = 0;
}
