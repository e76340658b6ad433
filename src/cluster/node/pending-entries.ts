// Entries of one shard between the log and the account engine: logged, not yet committed. Kept with
// their bytes for shipping and their decoded heads for applying.

import { assert } from "../../lib/assert.ts";
import type { Lsn } from "../../mail/ids.ts";
import type { MailError } from "../../mail/errors.ts";
import type { Entry } from "../../store/journal.ts";
import type { ChainHash } from "../protocol/hash-tail.ts";

export interface PendingEntry {
  readonly lsn: Lsn;
  readonly entry: Entry;
  readonly hash: ChainHash;
  /** The record as it lies in the log. */
  readonly parts: readonly Uint8Array[];
  readonly bytes: number;
  /** Who proposed it waits here, until it is answered one way or the other. */
  waiter: { resolve: () => void; reject: (error: MailError) => void } | undefined;
}

/** Sum of the bytes of all pending entries of a node. */
export interface PendingBytes {
  bytes: number;
}

export class PendingEntries {
  #list: PendingEntry[] = [];
  #start = 0;
  readonly #total: PendingBytes;

  constructor(total: PendingBytes) {
    this.#total = total;
  }

  get size(): number {
    return this.#list.length - this.#start;
  }

  push(entry: PendingEntry): void {
    const last = this.#list.at(-1);
    assert(this.size === 0 || last?.lsn === entry.lsn - 1, "pending entries have no holes");
    this.#list.push(entry);
    this.#total.bytes += entry.bytes;
  }

  /** Entries `from`..`through`, all of which must be here. */
  range(from: Lsn, through: Lsn): readonly PendingEntry[] {
    const first = this.#list[this.#start];
    assert(first !== undefined && from >= first.lsn, "the first entry asked for is pending");
    const at = this.#start + from - first.lsn;
    const found = this.#list.slice(at, at + through - from + 1);
    assert(found.length === through - from + 1, "the last entry asked for is pending");
    return found;
  }

  /** Takes the oldest entry if its lsn is not above `through`. */
  shift(through: Lsn): PendingEntry | undefined {
    const first = this.#list[this.#start];
    if (first === undefined || first.lsn > through) return undefined;
    this.#start += 1;
    this.#total.bytes -= first.bytes;
    if (this.#start === this.#list.length) {
      this.#list = [];
      this.#start = 0;
    } else if (this.#start >= 1024 && this.#start * 2 > this.#list.length) {
      this.#list.splice(0, this.#start);
      this.#start = 0;
    }
    return first;
  }

  /** Takes away everything behind `after`, oldest first. */
  cut(after: Lsn): readonly PendingEntry[] {
    const first = this.#list[this.#start];
    if (first === undefined) return [];
    const gone = this.#list.splice(this.#start + Math.max(0, after - first.lsn + 1));
    for (const entry of gone) this.#total.bytes -= entry.bytes;
    return gone;
  }

  /** Forgets everything: the log it lies in is void. Nobody waits here. */
  clear(): void {
    for (let i = this.#start; i < this.#list.length; i += 1) {
      this.#total.bytes -= this.#list[i]?.bytes ?? 0;
    }
    this.#list = [];
    this.#start = 0;
  }

  /** Takes the waiters of entries up to `through`. */
  takeWaiters(through: Lsn): readonly { reject: (error: MailError) => void }[] {
    const taken = [];
    for (let i = this.#start; i < this.#list.length; i += 1) {
      const entry = this.#list[i];
      if (entry === undefined || entry.lsn > through) break;
      if (entry.waiter !== undefined) taken.push(entry.waiter);
      entry.waiter = undefined;
    }
    return taken;
  }
}
