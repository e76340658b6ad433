// Summary of a mailbox in RAM: one typed array per field, ascending by UID, about 56 bytes a message.
// Pure state; leaves disk form to blocks.ts and meaning of flags to flags.ts.

import { assert } from "../lib/assert.ts";
import type { MessageRow } from "./entry-kind.ts";
import type { Location } from "./journal.ts";

/** So many rows are moved one by one: cheaper than ten calls into native code. */
const fewRows = 16;
const bytesPerMessage = 4 + 8 + 4 + 4 + 4 + 2 + 4 + 4 + 8 + 4 * 4;

export class Columns {
  count = 0;
  uid: Uint32Array;
  modSeq: Float64Array;
  flags: Uint32Array;
  size: Uint32Array;
  date: Uint32Array;
  zone: Int16Array;
  saved: Uint32Array;
  bodyTag: Uint32Array;
  bodyLsn: Float64Array;
  /** Where bodies that fill their entry lie on this node, four numbers each; segment 0: not known. */
  place: Uint32Array;
  /** True while someone holds a view of `uid`: it may grow behind the view, but not shift. */
  #uidsShared = false;

  constructor(capacity = 16) {
    this.uid = new Uint32Array(capacity);
    this.modSeq = new Float64Array(capacity);
    this.flags = new Uint32Array(capacity);
    this.size = new Uint32Array(capacity);
    this.date = new Uint32Array(capacity);
    this.zone = new Int16Array(capacity);
    this.saved = new Uint32Array(capacity);
    this.bodyTag = new Uint32Array(capacity);
    this.bodyLsn = new Float64Array(capacity);
    this.place = new Uint32Array(capacity * 4);
  }

  get bytes(): number {
    return this.uid.length * bytesPerMessage;
  }

  /** Index of the first message from `from` on with a UID ≥ `uid`; `count` when there is none. */
  lowerBound(uid: number, from = 0): number {
    let low = from;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.uid[middle] ?? 0) < uid) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Index of the message, -1 when there is none. */
  indexOf(uid: number): number {
    const at = this.lowerBound(uid);
    return at < this.count && this.uid[at] === uid ? at : -1;
  }

  /** All UIDs, ascending; the view stays right while the mailbox changes. */
  uids(): Uint32Array {
    this.#uidsShared = true;
    return this.uid.subarray(0, this.count);
  }

  /** Adds a message, or writes it anew when it is there (an entry applied twice). */
  put(row: MessageRow): void {
    const last = this.count === 0 ? 0 : (this.uid[this.count - 1] ?? 0);
    if (row.uid > last) {
      if (this.count === this.uid.length) this.#resize(Math.max(16, this.count * 2));
      this.#write(this.count++, row);
      return;
    }
    const at = this.lowerBound(row.uid);
    if (this.uid[at] !== row.uid) this.#openGap(at);
    this.#write(at, row);
  }

  /** Where the message's body was last found to lie. */
  placeOf(at: number): Location | undefined {
    const { place } = this;
    const segment = place[at * 4] ?? 0;
    if (segment === 0) return undefined;
    return {
      segment,
      offset: place[at * 4 + 1] ?? 0,
      bodyOffset: place[at * 4 + 2] ?? 0,
      bodyBytes: place[at * 4 + 3] ?? 0,
    };
  }

  /** Remembers it; undefined: it is not there any more. */
  setPlace(at: number, location: Location | undefined): void {
    const { place } = this;
    place[at * 4] = location?.segment ?? 0;
    place[at * 4 + 1] = location?.offset ?? 0;
    place[at * 4 + 2] = location?.bodyOffset ?? 0;
    place[at * 4 + 3] = location?.bodyBytes ?? 0;
  }

  row(at: number): MessageRow {
    assert(at >= 0 && at < this.count, "a row that is there");
    return {
      uid: this.uid[at] ?? 0,
      modSeq: this.modSeq[at] ?? 0,
      flags: this.flags[at] ?? 0,
      size: this.size[at] ?? 0,
      date: this.date[at] ?? 0,
      zone: this.zone[at] ?? 0,
      saved: this.saved[at] ?? 0,
      bodyTag: this.bodyTag[at] ?? 0,
      bodyLsn: this.bodyLsn[at] ?? 0,
    };
  }

  /** Makes room for `count` more rows behind the last, for the caller to fill; returns where they begin. */
  extend(count: number): number {
    const at = this.count;
    if (at + count > this.uid.length) this.#resize(Math.max(at + count, at * 2));
    this.count += count;
    return at;
  }

  /** Removes the messages of ascending `uids`; those that are not there are passed over. */
  remove(uids: readonly number[]): void {
    const gone: number[] = [];
    let from = 0;
    for (const uid of uids) {
      from = this.lowerBound(uid, from);
      if (from < this.count && this.uid[from] === uid) gone.push(from++);
    }
    const [first] = gone;
    if (first === undefined) return;
    if (this.#uidsShared) {
      this.uid = this.uid.slice();
      this.#uidsShared = false;
    }
    let to = first;
    for (const [i, at] of gone.entries()) {
      const end = gone[i + 1] ?? this.count;
      this.#moveRun(at + 1, end, to);
      to += end - at - 1;
    }
    this.count = to;
    if (this.uid.length > 1024 && this.count < this.uid.length / 4) this.#resize(this.count * 2);
  }

  #write(at: number, row: MessageRow): void {
    this.uid[at] = row.uid;
    this.modSeq[at] = row.modSeq;
    this.flags[at] = row.flags;
    this.size[at] = row.size;
    this.date[at] = row.date;
    this.zone[at] = row.zone;
    this.saved[at] = row.saved;
    this.bodyTag[at] = row.bodyTag;
    this.bodyLsn[at] = row.bodyLsn;
    this.place[at * 4] = 0;
  }

  /** Moves the rows from `from` to `end` down to `to`. */
  #moveRun(from: number, end: number, to: number): void {
    if (end - from <= fewRows) {
      for (let at = from; at < end; at++) this.#move(at, to + at - from);
      return;
    }
    this.uid.copyWithin(to, from, end);
    this.modSeq.copyWithin(to, from, end);
    this.flags.copyWithin(to, from, end);
    this.size.copyWithin(to, from, end);
    this.date.copyWithin(to, from, end);
    this.zone.copyWithin(to, from, end);
    this.saved.copyWithin(to, from, end);
    this.bodyTag.copyWithin(to, from, end);
    this.bodyLsn.copyWithin(to, from, end);
    this.place.copyWithin(to * 4, from * 4, end * 4);
  }

  #move(from: number, to: number): void {
    this.uid[to] = this.uid[from] ?? 0;
    this.modSeq[to] = this.modSeq[from] ?? 0;
    this.flags[to] = this.flags[from] ?? 0;
    this.size[to] = this.size[from] ?? 0;
    this.date[to] = this.date[from] ?? 0;
    this.zone[to] = this.zone[from] ?? 0;
    this.saved[to] = this.saved[from] ?? 0;
    this.bodyTag[to] = this.bodyTag[from] ?? 0;
    this.bodyLsn[to] = this.bodyLsn[from] ?? 0;
    for (let part = 0; part < 4; part++)
      this.place[to * 4 + part] = this.place[from * 4 + part] ?? 0;
  }

  /** Only when entries are applied again over a newer state: an older message comes back for a moment. */
  #openGap(at: number): void {
    if (this.#uidsShared) {
      this.uid = this.uid.slice();
      this.#uidsShared = false;
    }
    if (this.count === this.uid.length) this.#resize(Math.max(16, this.count * 2));
    for (let from = this.count - 1; from >= at; from--) this.#move(from, from + 1);
    this.count++;
  }

  #resize(capacity: number): void {
    this.uid = resized(this.uid, new Uint32Array(capacity), this.count);
    this.modSeq = resized(this.modSeq, new Float64Array(capacity), this.count);
    this.flags = resized(this.flags, new Uint32Array(capacity), this.count);
    this.size = resized(this.size, new Uint32Array(capacity), this.count);
    this.date = resized(this.date, new Uint32Array(capacity), this.count);
    this.zone = resized(this.zone, new Int16Array(capacity), this.count);
    this.saved = resized(this.saved, new Uint32Array(capacity), this.count);
    this.bodyTag = resized(this.bodyTag, new Uint32Array(capacity), this.count);
    this.bodyLsn = resized(this.bodyLsn, new Float64Array(capacity), this.count);
    this.place = resized(this.place, new Uint32Array(capacity * 4), this.count * 4);
    this.#uidsShared = false;
  }
}

interface Column {
  readonly length: number;
  set(values: ArrayLike<number>): void;
  subarray(from: number, to: number): ArrayLike<number>;
}

function resized<T extends Column>(old: T, fresh: T, count: number): T {
  fresh.set(old.subarray(0, count));
  return fresh;
}
