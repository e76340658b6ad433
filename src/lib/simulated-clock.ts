// The simulator's time: stands still until it is told to go on, and may run fast or slow.

import { assert } from "./assert.ts";
import type { Clock, Timer } from "./clock.ts";

interface Waiting {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class SimulatedClock implements Clock {
  readonly #waiting = new Set<Waiting>();
  #monotonicMs = 0;
  #wallMs: number;
  #order = 0;
  /** Milliseconds of this clock per millisecond of `advance`: 0.95 is a slow clock. */
  rate = 1;

  constructor(startMs = 1_700_000_000_000) {
    this.#wallMs = startMs;
  }

  nowMs(): number {
    return Math.floor(this.#wallMs);
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  after(delayMs: number, run: () => void): Timer {
    const atMs = this.#monotonicMs + Math.max(0, delayMs);
    const waiting = { atMs, order: this.#order++, run };
    this.#waiting.add(waiting);
    return { cancel: () => this.#waiting.delete(waiting) };
  }

  /** Time of this clock until the next timer, or undefined when none waits. */
  untilNextMs(): number | undefined {
    const next = this.#next();
    return next === undefined ? undefined : Math.max(0, next.atMs - this.#monotonicMs);
  }

  /** Lets `ms` pass and runs what falls due, earliest first, also what these start. */
  advance(ms: number): void {
    const endMs = this.#monotonicMs + ms * this.rate;
    for (let next = this.#next(); next !== undefined && next.atMs <= endMs; next = this.#next()) {
      this.#waiting.delete(next);
      this.#moveTo(next.atMs);
      next.run();
    }
    this.#moveTo(endMs);
  }

  /** An administrator, or NTP, sets the wall clock; monotonic time does not notice. */
  setWall(ms: number): void {
    this.#wallMs = ms;
  }

  #moveTo(ms: number): void {
    if (ms <= this.#monotonicMs) return;
    this.#wallMs += ms - this.#monotonicMs;
    this.#monotonicMs = ms;
    assert(Number.isFinite(this.#monotonicMs), "time is finite");
  }

  #next(): Waiting | undefined {
    let first: Waiting | undefined;
    for (const waiting of this.#waiting) {
      const earlier =
        first === undefined ||
        waiting.atMs < first.atMs ||
        (waiting.atMs === first.atMs && waiting.order < first.order);
      if (earlier) first = waiting;
    }
    return first;
  }
}
