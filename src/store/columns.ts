// Summary of a mailbox in RAM: one typed array per field, ascending by UID, about 56 bytes a message.
// Pure state; leaves disk form to blocks.ts and meaning of flags to flags.ts.

import { assert } from "../lib/assert.ts";
import type { MessageRow } from "./entry-kind.ts";
import type { Location } from "./journal.ts";

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

  /** Index of the first message with a UID ≥ `uid`; `count` when there is none. */
  lowerBound(uid: number): number {
    let low = 0;
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
    if (uids.length === 0 || this.count === 0) return;
    const first = this.lowerBound(uids[0] ?? 0);
    if (first === this.count) return;
    if (this.#uidsShared) {
      this.uid = this.uid.slice();
      this.#uidsShared = false;
    }
    let to = first;
    let next = 0;
    for (let from = first; from < this.count; from++) {
      const uid = this.uid[from] ?? 0;
      while (next < uids.length && (uids[next] ?? 0) < uid) next++;
      if (uids[next] === uid) continue;
      if (to !== from) this.#move(from, to);
      to++;
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
    this.place.copyWithin(to * 4, from * 4, from * 4 + 4);
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
