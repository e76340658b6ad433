// Tells many listeners of one thing a few at a time, in random order, so that ten thousand idle
// sessions that hear of an announcement are not a load peak. Paper H19.

import type { Clock, Timer } from "../../lib/clock.ts";
import type { Random } from "../../lib/random.ts";

export interface PacerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly perSecond: number;
}

const tickMs = 10;
/** So many are told at once, however low the rate. */
const burstMin = 10;

export class Pacer {
  readonly #options: PacerOptions;
  readonly #waiting = new Set<() => void>();
  #timer: Timer | undefined;

  constructor(options: PacerOptions) {
    this.#options = options;
  }

  /** Listeners that wait for their turn; a gauge. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Runs each soon, once; one that waits already is not put twice. */
  tell(listeners: Iterable<() => void>): void {
    for (const listener of shuffled([...listeners], this.#options.random)) {
      this.#waiting.add(listener);
    }
    if (this.#timer === undefined) this.#turn();
  }

  /** The listener has gone. */
  forget(listener: () => void): void {
    this.#waiting.delete(listener);
  }

  close(): void {
    this.#timer?.cancel();
    this.#waiting.clear();
  }

  #turn(): void {
    this.#timer = undefined;
    const { clock, perSecond } = this.#options;
    let most = Math.max(burstMin, Math.ceil((perSecond * tickMs) / 1000));
    for (const listener of this.#waiting) {
      if (most-- === 0) break;
      this.#waiting.delete(listener);
      listener();
    }
    if (this.#waiting.size > 0) this.#timer = clock.after(tickMs, () => this.#turn());
  }
}

function shuffled<T>(items: T[], random: Random): T[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = random.u32() % (last + 1);
    const [a, b] = [items[last], items[other]];
    if (a === undefined || b === undefined) continue;
    items[last] = b;
    items[other] = a;
  }
  return items;
}
