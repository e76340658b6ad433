// A watch of a coordinator as tests see it: what it gave, and waiting for a word of it.

import type { Coordinator, KeyChange } from "../../../src/cluster/coordinator/coordinator.ts";
import { isMailError } from "../../../src/mail/errors.ts";

/** Waits until it holds, at most 5 s. */
export async function eventually(holds: () => Promise<boolean>): Promise<void> {
  const giveUpMs = performance.now() + 5000;
  while (!(await holds())) {
    if (performance.now() > giveUpMs) throw new Error("never");
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
}

/** A watch as a member keeps it: when its coordinator is away it resumes from what it has. */
class Watching {
  readonly changes: KeyChange[] = [];
  readonly stopped: Promise<void>;
  readonly #ending = new AbortController();

  constructor(coordinator: () => Coordinator, prefix: string, fromRevision: number) {
    this.stopped = this.#run(coordinator, prefix, fromRevision);
    // Whoever awaits it sees the error; the others fail in `reaches`.
    this.stopped.catch(() => undefined);
  }

  get words(): readonly string[] {
    return this.changes.map(({ key, value }) =>
      value === undefined ? `${key} deleted` : `${key}=${value}`,
    );
  }

  reaches(word: string): Promise<void> {
    return eventually(() => Promise.resolve(this.words.includes(word)));
  }

  stop(): Promise<void> {
    this.#ending.abort();
    return this.stopped;
  }

  async #run(coordinator: () => Coordinator, prefix: string, from: number): Promise<void> {
    let known = from;
    while (!this.#ending.signal.aborted) {
      try {
        for await (const item of coordinator().watch(prefix, known, this.#ending.signal)) {
          this.changes.push(item);
          if (!item.more) known = item.revision;
        }
      } catch (error) {
        if (!isMailError(error, "UNAVAILABLE")) throw error;
        await eventually(() => Promise.resolve(true));
        await new Promise((resolve) => {
          setImmediate(resolve);
        });
      }
    }
  }
}

export function watching(coordinator: () => Coordinator, prefix: string, from: number): Watching {
  return new Watching(coordinator, prefix, from);
}
