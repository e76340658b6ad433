// Virtual time of one simulated run: a queue of events in the order of their time, and the run's
// only source of chance. Leaves what happens to the others.

import { SeededRandom } from "../../../src/lib/random.ts";

interface Item {
  readonly atMs: number;
  /** Events of the same instant run in the order in which they were made. */
  readonly order: number;
  readonly run: () => void;
}

/** Draws that the faults and delays of a run are made of. */
export class Draws {
  readonly random: SeededRandom;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
  }

  /** A number from `low` up to `high`, evenly. */
  between(low: number, high: number): number {
    return low + ((high - low) * this.random.u32()) / 2 ** 32;
  }

  /** Mostly near `low`, sometimes far above: e.g. delays. */
  skewed(low: number, high: number): number {
    const draw = this.random.u32() / 2 ** 32;
    return low + (high - low) * draw * draw * draw;
  }

  chance(probability: number): boolean {
    return probability > 0 && this.random.chance(probability);
  }

  below(limit: number): number {
    return this.random.below(limit);
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from.length === 0 ? undefined : from[this.random.below(from.length)];
  }
}

export class Schedule {
  nowMs = 0;
  ran = 0;
  readonly #heap: Item[] = [];
  #order = 0;

  at(atMs: number, run: () => void): void {
    const item = { atMs: Math.max(atMs, this.nowMs), order: this.#order++, run };
    const heap = this.#heap;
    let place = heap.length;
    heap.push(item);
    while (place > 0) {
      const above = (place - 1) >> 1;
      const parent = heap[above];
      if (parent === undefined || !before(item, parent)) break;
      heap[place] = parent;
      place = above;
    }
    heap[place] = item;
  }

  after(delayMs: number, run: () => void): void {
    this.at(this.nowMs + delayMs, run);
  }

  /** Runs events up to `untilMs` while `goOn` holds; it is asked after each event. */
  run(untilMs: number, goOn: () => boolean): void {
    for (
      let next = this.#heap[0];
      next !== undefined && next.atMs <= untilMs;
      next = this.#heap[0]
    ) {
      this.#shift();
      this.nowMs = next.atMs;
      this.ran += 1;
      next.run();
      if (!goOn()) return;
    }
    this.nowMs = Math.max(this.nowMs, untilMs);
  }

  /** As `run`, with `settle` behind each event: what it set going comes to rest first. */
  async runSettled(
    untilMs: number,
    settle: () => Promise<void>,
    caught: (error: unknown) => void,
  ): Promise<void> {
    for (
      let next = this.#heap[0];
      next !== undefined && next.atMs <= untilMs;
      next = this.#heap[0]
    ) {
      this.#shift();
      this.nowMs = next.atMs;
      this.ran += 1;
      try {
        next.run();
      } catch (error) {
        caught(error);
      }
      await settle();
    }
    this.nowMs = Math.max(this.nowMs, untilMs);
  }

  #shift(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    const { length } = heap;
    let place = 0;
    for (;;) {
      let below = place * 2 + 1;
      let child = heap[below];
      if (child === undefined) break;
      const other = heap[below + 1];
      if (below + 1 < length && other !== undefined && before(other, child)) {
        below += 1;
        child = other;
      }
      if (!before(child, last)) break;
      heap[place] = child;
      place = below;
    }
    heap[place] = last;
  }
}

function before(a: Item, b: Item): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
