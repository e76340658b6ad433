// Work that nobody awaits: its failure is counted and handed to one listener (the log), never lost.

type Listener = (name: string, error: unknown) => void;

const failures = new Map<string, number>();
const listeners = new Set<Listener>();

/** Lets `promise` run on its own. `name` is a fixed phrase; it labels the log line and the count. */
export function background(name: string, promise: Promise<unknown>): void {
  promise.catch((error: unknown) => {
    failures.set(name, (failures.get(name) ?? 0) + 1);
    // Before the log is set up a failure must still show: it ends the process as any unhandled one.
    if (listeners.size === 0) throw error;
    for (const listener of listeners) listener(name, error);
  });
}

/** Hears of every failure from now on; returns a function that stops it. */
export function onBackgroundFailure(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Failures so far by name, for metrics. */
export function backgroundFailures(): ReadonlyMap<string, number> {
  return failures;
}
