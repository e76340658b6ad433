// The pulse thread's clock: the main thread's monotonic milliseconds, and the comparison with the wall
// clock that tells when the machine slept (the monotonic clock stands still then, leases would not age).

/** More than this apart since the last look and leases can't be trusted. */
const gapMaxMs = 100;

export class ClockWatch {
  readonly #offsetMs: number;
  readonly #wallMs: () => number;
  readonly #steadyMs: () => number;
  #lastWallMs: number;
  #lastSteadyMs: number;

  /** The clocks are arguments for tests. */
  constructor(
    offsetMs: number,
    wallMs: () => number = () => Date.now(),
    steadyMs: () => number = hrtimeMs,
  ) {
    this.#offsetMs = offsetMs;
    this.#wallMs = wallMs;
    this.#steadyMs = steadyMs;
    this.#lastWallMs = wallMs();
    this.#lastSteadyMs = steadyMs();
  }

  nowMs(): number {
    return this.#steadyMs() + this.#offsetMs;
  }

  /** By how much the clocks went apart since the last call, when it is too much. */
  jumpMs(): number | undefined {
    const wallMs = this.#wallMs();
    const steadyMs = this.#steadyMs();
    const gapMs = wallMs - this.#lastWallMs - (steadyMs - this.#lastSteadyMs);
    this.#lastWallMs = wallMs;
    this.#lastSteadyMs = steadyMs;
    return Math.abs(gapMs) > gapMaxMs ? gapMs : undefined;
  }
}

/** The same in all threads of a process, unlike performance.now(). */
export function hrtimeMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
}
