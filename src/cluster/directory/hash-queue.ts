// How many password hashes are worked on at once, and how many may wait: a flood of logins fills
// this queue and nothing else.

import { MailError } from "../../mail/errors.ts";

interface Waiter {
  readonly run: () => void;
}

export class HashQueue {
  readonly #atOnce: number;
  readonly #waitingMax: number;
  readonly #waiting = new Set<Waiter>();
  #working = 0;

  constructor(atOnce: number, waitingMax: number) {
    this.#atOnce = atOnce;
    this.#waitingMax = waitingMax;
  }

  /** Gauge. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** @throws MailError BUSY when too many wait; what `signal` says when it aborts first. */
  async run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    if (this.#working >= this.#atOnce) await this.#turn(signal);
    else this.#working++;
    try {
      return await work();
    } finally {
      this.#next();
    }
  }

  /** Resolves with a place of work handed over. */
  async #turn(signal: AbortSignal): Promise<void> {
    if (this.#waiting.size >= this.#waitingMax) {
      throw new MailError({ code: "BUSY", what: "the queue of password checks" });
    }
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => {
        this.#waiting.delete(waiter);
        reject(new MailError({ code: "BUSY", what: "the queue of password checks" }));
      };
      const waiter: Waiter = {
        run: () => {
          signal.removeEventListener("abort", abort);
          resolve();
        },
      };
      signal.addEventListener("abort", abort, { once: true });
      this.#waiting.add(waiter);
    });
  }

  #next(): void {
    for (const waiter of this.#waiting) {
      this.#waiting.delete(waiter);
      waiter.run();
      return;
    }
    this.#working--;
  }
}
