// Kept outcomes of changes, by operation id: a repeated request gets the first one's answer.

import type { Change } from "../../../src/mail/mail-store.ts";

export class Outcomes<T> {
  readonly #kept = new Map<string, T>();

  /** Runs the change, or hands back what it led to before. A refusal leaves nothing to keep. */
  once(change: Change, run: () => T): T {
    const kept = change.retry ? this.#kept.get(change.opId) : undefined;
    if (kept !== undefined) return kept;
    const outcome = run();
    this.#kept.set(change.opId, outcome);
    return outcome;
  }
}
