// Time limits of single pieces of work, by a clock that is an argument.

import type { Clock } from "./clock.ts";

/**
 * Runs `work` with a signal that aborts after `limitMs` of the clock, or when one of `signals` does. The
 * reason of the first is a `TimeoutError`, as of `AbortSignal.timeout`.
 */
export async function withDeadline<T>(
  clock: Clock,
  limitMs: number,
  signals: readonly AbortSignal[],
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  const timer = clock.after(limitMs, () => {
    late.abort(new DOMException(`not done within ${limitMs} ms`, "TimeoutError"));
  });
  try {
    return await work(AbortSignal.any([late.signal, ...signals]));
  } finally {
    timer.cancel();
  }
}
