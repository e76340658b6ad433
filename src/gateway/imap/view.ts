// A session's view of its mailbox: the ascending UIDs that the client has been told of. Sequence
// number n is the n-th of them. The array that the store gave is shared until the first change.
// RFC 9051 §2.3.1.2; when changes may be told is selected.ts's business.

import { rangeWithin } from "./syntax/partial-range.ts";
import type { PartialRange } from "./syntax/partial-range.ts";
import { starValue } from "./syntax/sequence-set.ts";
import type { SequenceSet } from "./syntax/sequence-set.ts";
import { noUids, uidSetFromRanges } from "../../mail/uid-set.ts";
import type { UidSet } from "../../mail/uid-set.ts";

export class View {
  #uids: Uint32Array;
  #count: number;
  /** True while #uids belongs to the store or to other sessions. */
  #shared = true;

  constructor(uids: Uint32Array) {
    this.#uids = uids;
    this.#count = uids.length;
  }

  get count(): number {
    return this.#count;
  }
  /** UID of the last message, 0 in an empty mailbox. */
  get lastUid(): number {
    return this.#count === 0 ? 0 : (this.#uids[this.#count - 1] ?? 0);
  }
  /** UID at sequence number `sequence`, which must be 1..count. */
  uidAt(sequence: number): number {
    return this.#uids[sequence - 1] ?? 0;
  }
  /** Sequence number of a UID, 0 when the client doesn't know it. */
  sequenceOf(uid: number): number {
    const index = this.lowerBound(uid);
    return index < this.#count && this.#uids[index] === uid ? index + 1 : 0;
  }
  /** How many messages have a lower UID. */
  lowerBound(uid: number, from = 0): number {
    let low = from;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#uids[middle] ?? 0) < uid) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Adds a message behind the last. False when its UID is not behind. */
  add(uid: number): boolean {
    if (uid <= this.lastUid) return false;
    if (this.#shared || this.#count === this.#uids.length) {
      const larger = new Uint32Array(this.#count + (this.#count >> 4) + 4);
      larger.set(this.#uids.subarray(0, this.#count));
      this.#uids = larger;
      this.#shared = false;
    }
    this.#uids[this.#count++] = uid;
    return true;
  }

  /**
   * Takes out the messages of `gone` that are there.
   * @param removed Called for each, ascending, with the sequence number it had before this call.
   */
  remove(gone: UidSet, removed: (sequence: number, uid: number) => void): void {
    let kept: Uint32Array | undefined;
    let from = 0;
    let to = 0;
    for (let range = 0; range < gone.length && from < this.#count; range += 2) {
      const first = this.lowerBound(gone[range] ?? 0, from);
      const behind = this.lowerBound((gone[range + 1] ?? 0) + 1, first);
      if (behind === first) continue;
      kept ??= this.#shared ? new Uint32Array(this.#count) : this.#uids;
      kept.set(this.#uids.subarray(from, first), to);
      to += first - from;
      for (let i = first; i < behind; i++) removed(i + 1, this.#uids[i] ?? 0);
      from = behind;
    }
    if (kept === undefined) return;
    kept.set(this.#uids.subarray(from, this.#count), to);
    this.#count = to + this.#count - from;
    this.#uids = kept;
    this.#shared = false;
  }

  /**
   * UIDs of a set of sequence numbers.
   *
   * RFC 9051 §9 seq-number: a number that names no message is answered BAD, and strictly so is all
   * that ends in `*` when there are fewer messages (`1:*` in an empty mailbox). Clients do ask for
   * `1:*` and `n:*` without looking at EXISTS, so those name nothing here, where Dovecot 2.3 has BAD.
   * @returns undefined when a number names no message.
   */
  uidsOfSequence(ranges: readonly number[]): UidSet | undefined {
    const pairs: [number, number][] = [];
    for (let i = 0; i < ranges.length; i += 2) {
      const open = Math.max(ranges[i] ?? 0, ranges[i + 1] ?? 0) === starValue;
      if (open && (this.#count === 0 || this.#isBehind(ranges[i]) || this.#isBehind(ranges[i + 1])))
        continue;
      const a = this.#sequenceValue(ranges[i]);
      const b = this.#sequenceValue(ranges[i + 1]);
      if (a < 1 || b < 1 || a > this.#count || b > this.#count) return undefined;
      pairs.push([this.uidAt(Math.min(a, b)), this.uidAt(Math.max(a, b))]);
    }
    return uidSetFromRanges(pairs);
  }

  /**
   * The same for SEARCH, where numbers that name no message match nothing: RFC 7377 §2 says of every
   * SEARCH that they are no error, so `1:*` in an empty mailbox is answered OK, as Dovecot does.
   */
  uidsOfSequenceWithin(ranges: readonly number[]): UidSet {
    const pairs: [number, number][] = [];
    for (let i = 0; i < ranges.length; i += 2) {
      const a = this.#sequenceValue(ranges[i]);
      const b = this.#sequenceValue(ranges[i + 1]);
      const low = Math.max(Math.min(a, b), 1);
      const high = Math.min(Math.max(a, b), this.#count);
      if (low <= high) pairs.push([this.uidAt(low), this.uidAt(high)]);
    }
    return uidSetFromRanges(pairs);
  }

  /**
   * A UID set of the client, `*` replaced by the last UID (RFC 9051 §6.4.9: so `559:*` always names
   * it) and cut there: messages that the client has not been told of are not touched.
   */
  uidsOfUids(ranges: readonly number[]): UidSet {
    const last = this.lastUid;
    if (last === 0) return noUids;
    const pairs: [number, number][] = [];
    for (let i = 0; i < ranges.length; i += 2) {
      const a = ranges[i] === starValue ? last : (ranges[i] ?? 0);
      const b = ranges[i + 1] === starValue ? last : (ranges[i + 1] ?? 0);
      const low = Math.min(a, b);
      const high = Math.min(Math.max(a, b), last);
      if (low <= high) pairs.push([low, high]);
    }
    return uidSetFromRanges(pairs);
  }

  /** A number, not `*`, beyond the last message. */
  #isBehind(value: number | undefined): boolean {
    return value !== undefined && value !== starValue && value > this.#count;
  }

  #sequenceValue(value: number | undefined): number {
    return value === starValue ? this.#count : (value ?? 0);
  }
}

/** Walks the view beside ascending UIDs, so that many look-ups cost one pass. */
export class SequenceWalk {
  readonly #view: View;
  /** Messages before this one were passed. */
  #index = 0;

  constructor(view: View) {
    this.#view = view;
  }

  /** Sequence number of `uid`, 0 when the client doesn't know it. UIDs must ascend from call to call. */
  sequenceOf(uid: number): number {
    const view = this.#view;
    if (view.uidAt(this.#index + 1) === uid) return ++this.#index;
    this.#index = view.lowerBound(uid, this.#index);
    if (this.#index >= view.count || view.uidAt(this.#index + 1) !== uid) return 0;
    return ++this.#index;
  }
}

/** Turns what the client wrote into UIDs; undefined when a sequence number names no message. */
export function resolveSet(
  view: View,
  set: SequenceSet,
  byUid: boolean,
  saved: UidSet,
): UidSet | undefined {
  if (set.kind === "saved") return saved;
  return byUid ? view.uidsOfUids(set.ranges) : view.uidsOfSequence(set.ranges);
}

/**
 * The set in parts that name at most so many messages of the view. The last one goes as far as the set
 * itself does; a set that names fewer messages is its own only part.
 */
export function slicesOfSet(view: View, set: UidSet, most: number): readonly UidSet[] {
  const slices: UidSet[] = [];
  let slice: number[] = [];
  let room = most;
  for (let i = 0; i < set.length; i += 2) {
    let low = set[i] ?? 0;
    const high = set[i + 1] ?? 0;
    for (;;) {
      const from = view.lowerBound(low);
      const behind = view.lowerBound(high + 1, from);
      if (behind - from <= room) {
        slice.push(low, high);
        room -= behind - from;
        break;
      }
      const last = view.uidAt(from + room);
      if (room > 0) slice.push(low, last);
      slices.push(slice);
      slice = [];
      if (room > 0) low = last + 1;
      room = most;
    }
  }
  return slice.length > 0 || slices.length === 0 ? [...slices, slice] : slices;
}

/** Of the messages that the set names, those in the range of them. RFC 9394 §3.3 */
export function partOfSet(view: View, set: UidSet, range: PartialRange): UidSet {
  /** Indices in the view, `[from, to)` by turns. */
  const spans: number[] = [];
  let count = 0;
  for (let i = 0; i < set.length; i += 2) {
    const from = view.lowerBound(set[i] ?? 0);
    const to = view.lowerBound((set[i + 1] ?? 0) + 1, from);
    spans.push(from, to);
    count += to - from;
  }
  const [first, behind] = rangeWithin(range, count);
  const pairs: [number, number][] = [];
  let passed = 0;
  for (let i = 0; i < spans.length; i += 2) {
    const from = (spans[i] ?? 0) + Math.max(0, first - passed);
    const to = Math.min(spans[i + 1] ?? 0, (spans[i] ?? 0) + behind - passed);
    if (from < to) pairs.push([view.uidAt(from + 1), view.uidAt(to)]);
    passed += (spans[i + 1] ?? 0) - (spans[i] ?? 0);
  }
  return uidSetFromRanges(pairs);
}
