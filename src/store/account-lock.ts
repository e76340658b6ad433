// One account's fair lock. Shared: appends and deliveries, held only while they are evaluated and
// proposed. Exclusive: every other change, held until it is applied. First come, first served.

import { assert } from "../lib/assert.ts";
import { deferred, orAborted } from "./deferred.ts";
import type { Deferred } from "./deferred.ts";

interface Waiter {
  readonly exclusive: boolean;
  readonly granted: Deferred<void>;
}

export class AccountLock {
  #shared = 0;
  #exclusive = false;
  #queue: Waiter[] = [];

  get idle(): boolean {
    return this.#shared === 0 && !this.#exclusive && this.#queue.length === 0;
  }

  /** Takes the lock shared if nobody has or wants it exclusively. */
  tryShared(): boolean {
    if (this.#exclusive || this.#queue.length > 0) return false;
    this.#shared++;
    return true;
  }

  async shared(signal: AbortSignal): Promise<void> {
    if (!this.tryShared()) await this.#wait(false, signal);
  }

  releaseShared(): void {
    assert(this.#shared > 0, "a shared lock is held before it is released");
    this.#shared--;
    this.#grant();
  }

  async exclusive(signal: AbortSignal): Promise<void> {
    if (this.#shared === 0 && !this.#exclusive && this.#queue.length === 0) {
      this.#exclusive = true;
      return;
    }
    await this.#wait(true, signal);
  }

  releaseExclusive(): void {
    assert(this.#exclusive, "an exclusive lock is held before it is released");
    this.#exclusive = false;
    this.#grant();
  }

  async #wait(exclusive: boolean, signal: AbortSignal): Promise<void> {
    const waiter: Waiter = { exclusive, granted: deferred() };
    this.#queue.push(waiter);
    try {
      await orAborted(waiter.granted.promise, signal);
    } catch (error) {
      const at = this.#queue.indexOf(waiter);
      if (at >= 0) {
        this.#queue.splice(at, 1);
        this.#grant();
      } else if (exclusive) this.releaseExclusive();
      else this.releaseShared();
      throw error;
    }
  }

  #grant(): void {
    for (;;) {
      const first = this.#queue[0];
      if (first === undefined || this.#exclusive || (first.exclusive && this.#shared > 0)) return;
      this.#queue.shift();
      if (first.exclusive) this.#exclusive = true;
      else this.#shared++;
      first.granted.resolve();
    }
  }
}
