// This member's load as it goes out with replies (paper §4.1): an array of numbers in a fixed order.
// Figures that need the operating system are sampled by the caller's functions.

import type { Clock } from "../../lib/clock.ts";
import { asArray, asCount } from "./decode.ts";

export interface LoadFigures {
  /** Own counter: the newest figures win, wall clocks never compare. */
  readonly seq: number;
  /** CPU use of the process since the last sample, 1000 = one core. */
  readonly cpuPerMille: number;
  /** Bytes proposed and not yet committed. */
  readonly queueBytes: number;
  readonly fsyncP99Micros: number;
  readonly diskFreePerMille: number;
  readonly users: number;
  readonly sessions: number;
  /** Committed entries per second. */
  readonly ioPerSecond: number;
}

export type LoadSample = Omit<LoadFigures, "seq" | "cpuPerMille" | "ioPerSecond"> & {
  /** CPU time used so far. */
  readonly cpuMicros: number;
  /** Entries committed so far. */
  readonly entries: number;
};

const order = [
  "seq",
  "cpuPerMille",
  "queueBytes",
  "fsyncP99Micros",
  "diskFreePerMille",
  "users",
  "sessions",
  "ioPerSecond",
] as const;

const sampleMs = 200;

/** Figures of this process, measured anew at most every 200 ms. */
export class LoadMeter {
  readonly #clock: Clock;
  readonly #sample: () => LoadSample;
  #last: { readonly atMs: number; readonly sample: LoadSample };
  #figures: LoadFigures;

  constructor(clock: Clock, sample: () => LoadSample) {
    this.#clock = clock;
    this.#sample = sample;
    const first = sample();
    this.#last = { atMs: clock.monotonicMs(), sample: first };
    this.#figures = { seq: 1, cpuPerMille: 0, ioPerSecond: 0, ...first };
  }

  figures(): LoadFigures {
    const nowMs = this.#clock.monotonicMs();
    const passedMs = nowMs - this.#last.atMs;
    if (passedMs < sampleMs) return this.#figures;
    const sample = this.#sample();
    const { cpuMicros, entries } = this.#last.sample;
    this.#figures = {
      seq: this.#figures.seq + 1,
      cpuPerMille: Math.round((sample.cpuMicros - cpuMicros) / passedMs),
      ioPerSecond: Math.round(((sample.entries - entries) * 1000) / passedMs),
      ...sample,
    };
    this.#last = { atMs: nowMs, sample };
    return this.#figures;
  }
}

export function encodeLoad(figures: LoadFigures): readonly number[] {
  return order.map((name) => figures[name]);
}

/** @throws {MailError} INVALID */
export function decodeLoad(value: unknown): LoadFigures {
  const fields = asArray(value, "load");
  const at = (index: number): number => asCount(fields[index], order[index] ?? "load");
  return {
    seq: at(0),
    cpuPerMille: at(1),
    queueBytes: at(2),
    fsyncP99Micros: at(3),
    diskFreePerMille: at(4),
    users: at(5),
    sessions: at(6),
    ioPerSecond: at(7),
  };
}
