// Follows all keys with one prefix in the coordinator, whatever happens to the way there: read once
// at a revision that is surely present, then watched; read again when the watch can't go on.

import type { Logger } from "pino";
import type { Clock } from "../../lib/clock.ts";
import type { Coordinator } from "../coordinator/coordinator.ts";

export interface FollowOptions {
  readonly coordinator: Coordinator;
  readonly prefix: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /**
   * One key as it is now, and the revision that wrote it; undefined when it is gone. Must not throw
   * for foreign values.
   */
  readonly onKey: (key: string, value: string | undefined, revision: number) => void;
  readonly signal: AbortSignal;
}

const pauseMs = 200;

/** Keys in the coordinator, kept up with until the signal aborts. */
export class KeyFollower {
  readonly #options: FollowOptions;
  readonly #known = new Set<string>();
  #revision = 0;

  private constructor(options: FollowOptions) {
    this.#options = options;
  }

  /** Resolves after one linearizable read. @throws {MailError} UNAVAILABLE */
  static async start(options: FollowOptions): Promise<KeyFollower> {
    const follower = new KeyFollower(options);
    await follower.refresh();
    follower.#follow().then(
      () => undefined,
      (error: unknown) => options.logger.error({ err: error }, "watch of the coordinator ended"),
    );
    return follower;
  }

  /** Reads everything again, now. @throws {MailError} UNAVAILABLE */
  async refresh(): Promise<void> {
    const { coordinator, prefix, onKey } = this.#options;
    await coordinator.readBarrier();
    const { entries, revision } = await coordinator.list(prefix);
    const present = new Set(entries.map(({ key }) => key));
    for (const entry of entries) onKey(entry.key, entry.value, entry.revision);
    for (const key of this.#known) if (!present.has(key)) this.#gone(key, revision);
    for (const key of present) this.#known.add(key);
    this.#revision = Math.max(this.#revision, revision);
  }

  #gone(key: string, revision: number): void {
    this.#known.delete(key);
    this.#options.onKey(key, undefined, revision);
  }

  async #follow(): Promise<void> {
    const { signal, logger, clock } = this.#options;
    while (!signal.aborted) {
      try {
        await this.#watch();
      } catch (error) {
        if (signal.aborted) return;
        logger.debug({ err: error, prefix: this.#options.prefix }, "watch interrupted");
      }
      await pause(clock, pauseMs, signal);
      if (signal.aborted) return;
      try {
        await this.refresh();
      } catch (error) {
        logger.debug({ err: error, prefix: this.#options.prefix }, "coordinator not readable");
      }
    }
  }

  async #watch(): Promise<void> {
    const { coordinator, prefix, onKey, signal } = this.#options;
    for await (const change of coordinator.watch(prefix, this.#revision, signal)) {
      this.#revision = Math.max(this.#revision, change.revision);
      if (change.value === undefined) {
        this.#gone(change.key, change.revision);
      } else {
        this.#known.add(change.key);
        onKey(change.key, change.value, change.revision);
      }
    }
  }
}

/** Resolves after `ms`, or at once when the signal aborts. */
export function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = clock.after(ms, done);
    signal.addEventListener("abort", done, { once: true });
  });
}
