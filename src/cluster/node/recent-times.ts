// Percentiles of the newest of many durations, in a fixed piece of memory.

/** The newest 128 durations. */
export class RecentTimes {
  readonly #times = new Float64Array(128);
  #count = 0;

  add(ms: number): void {
    this.#times[this.#count % this.#times.length] = ms;
    this.#count += 1;
  }

  percentile(share: number): number {
    const known = Math.min(this.#count, this.#times.length);
    const sorted = this.#times.slice(0, known).toSorted();
    return sorted[Math.min(known - 1, Math.floor(known * share))] ?? 0;
  }
}
