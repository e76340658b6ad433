// The newest directory changes of one shard, so that a gateway that was away for a while needs no
// snapshot. Bounded; what falls out raises the floor.

import { lsn } from "../../mail/ids.ts";
import type { Lsn } from "../../mail/ids.ts";
import type { DirectoryChange } from "./directory-store.ts";

export class ChangeRing {
  /** Every change above this is here. */
  #floor: Lsn;
  #changes: DirectoryChange[] = [];
  /** Changes before this index have fallen out. */
  #start = 0;
  readonly #most: number;

  /** @param floor the shard's applied lsn before the first change that will be pushed. */
  constructor(floor: Lsn, most: number) {
    this.#floor = floor;
    this.#most = most;
  }

  get floor(): Lsn {
    return this.#floor;
  }

  /** Several pushes with one lsn are of one entry, and stay together. */
  push(change: DirectoryChange): void {
    const last = this.#changes.at(-1);
    if (last?.lsn === change.lsn) {
      const rows = [...last.rows, ...change.rows];
      const claims = [...last.claims, ...change.claims];
      this.#changes[this.#changes.length - 1] = { ...last, rows, claims };
      return;
    }
    this.#changes.push(change);
    if (this.#changes.length - this.#start > this.#most) {
      this.#floor = lsn(this.#changes[this.#start]?.lsn ?? this.#floor);
      this.#start++;
    }
    if (this.#start > this.#most) {
      this.#changes = this.#changes.slice(this.#start);
      this.#start = 0;
    }
  }

  /** Changes above `after`, oldest first, at most `most`; undefined when some of them have fallen out. */
  after(after: Lsn, most: number): readonly DirectoryChange[] | undefined {
    if (after < this.#floor) return undefined;
    let low = this.#start;
    let high = this.#changes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#changes[middle]?.lsn ?? 0) <= after) low = middle + 1;
      else high = middle;
    }
    return this.#changes.slice(low, low + most);
  }
}
