// Time as an argument: production passes `systemClock`, the simulator its own.

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Wall clock, milliseconds since 1970 UTC. Never compared between machines. */
  nowMs(): number;
  /** Monotonic milliseconds with fraction; only differences mean anything. */
  monotonicMs(): number;
  /** Calls `run` once after `delayMs`. Does not keep the process alive. */
  after(delayMs: number, run: () => void): Timer;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, run) {
    const handle = setTimeout(run, delayMs);
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};
