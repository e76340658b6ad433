// Async locks inside one process: shared by readers, exclusive for a writer, in the order asked, so
// that neither starves. Used with `await using`. Leaves locks between processes to folder-lock.ts.

import { assert } from "./assert.ts";

interface Waiter {
  readonly exclusive: boolean;
  readonly enter: () => void;
  readonly signal: AbortSignal;
  readonly onAbort: () => void;
}

/** Releases once; a second time does nothing. */
export interface LockHold extends AsyncDisposable {
  release(): void;
}

/** Many readers or one writer, first come first served. */
export class RwLock {
  readonly #waiters: Waiter[] = [];
  #readers = 0;
  #writing = false;

  /** True when nobody holds it and nobody waits. */
  get idle(): boolean {
    return this.#readers === 0 && !this.#writing && this.#waiters.length === 0;
  }

  /** Waits for a share. Rejects with the signal's reason when that comes first. */
  read(signal: AbortSignal): Promise<LockHold> {
    return this.#acquire(false, signal);
  }

  /** Waits to be alone. Rejects with the signal's reason when that comes first. */
  write(signal: AbortSignal): Promise<LockHold> {
    return this.#acquire(true, signal);
  }

  async #acquire(exclusive: boolean, signal: AbortSignal): Promise<LockHold> {
    signal.throwIfAborted();
    const free = exclusive ? this.#readers === 0 : true;
    if (this.#waiters.length === 0 && !this.#writing && free) {
      this.#enter(exclusive);
      return this.#hold(exclusive);
    }
    await new Promise<void>((resolve, reject) => {
      const waiter: Waiter = {
        exclusive,
        enter: resolve,
        signal,
        onAbort: () => {
          this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
          reject(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
          this.#wake(); // Readers may have stood behind a writer that gave up.
        },
      };
      signal.addEventListener("abort", waiter.onAbort, { once: true });
      this.#waiters.push(waiter);
    });
    return this.#hold(exclusive);
  }

  #enter(exclusive: boolean): void {
    if (exclusive) this.#writing = true;
    else this.#readers += 1;
  }

  #hold(exclusive: boolean): LockHold {
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      this.#leave(exclusive);
    };
    return { release, [Symbol.asyncDispose]: async () => release() };
  }

  #leave(exclusive: boolean): void {
    if (exclusive) this.#writing = false;
    else this.#readers -= 1;
    assert(this.#readers >= 0, "a share is given back once");
    this.#wake();
  }

  /** Lets in the first waiter, and with a reader all readers up to the next writer. */
  #wake(): void {
    for (let next = this.#waiters[0]; next !== undefined; next = this.#waiters[0]) {
      if (this.#writing || (next.exclusive && this.#readers > 0)) return;
      this.#waiters.shift();
      next.signal.removeEventListener("abort", next.onAbort);
      this.#enter(next.exclusive);
      next.enter();
    }
  }
}

/** One at a time, first come first served. */
export class Mutex {
  readonly #lock = new RwLock();

  get idle(): boolean {
    return this.#lock.idle;
  }

  acquire(signal: AbortSignal): Promise<LockHold> {
    return this.#lock.write(signal);
  }
}
