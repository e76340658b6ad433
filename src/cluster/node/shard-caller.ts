// One request to whoever is the shard's primary: finds it in the table, waits for its link, and asks
// again when it moved or its link broke, until a deadline. Knows nothing of what is asked.

import type { Clock } from "../../lib/clock.ts";
import { MailError } from "../../mail/errors.ts";
import type { Epoch, ShardId } from "../../mail/ids.ts";
import type { Links, Peer } from "../link/rpc.ts";
import { pause } from "./follow-keys.ts";
import type { ShardTable } from "./shard-table.ts";

export interface ShardCallerOptions {
  readonly table: ShardTable;
  readonly links: Links;
  readonly clock: Clock;
  /** How long a request is tried, 30 s by default. */
  readonly retryMs?: number;
}

/** One try. `retry` is false the first time only, so that the node can skip its look-up of outcomes. */
export type Attempt<T> = (peer: Peer, epoch: Epoch, retry: boolean, leftMs: number) => Promise<T>;

const firstPauseMs = 10;
const longestPauseMs = 500;

export class ShardCaller {
  readonly #options: ShardCallerOptions;
  readonly #retryMs: number;

  constructor(options: ShardCallerOptions) {
    this.#options = options;
    this.#retryMs = options.retryMs ?? 30_000;
  }

  get clock(): Clock {
    return this.#options.clock;
  }

  /** A budget for one request and its retries. */
  budget(shard: ShardId): Budget {
    return new Budget(shard, this.#options, this.#retryMs);
  }

  /**
   * Runs `attempt` against the primary until it succeeds or fails for a reason that another try
   * won't mend. @throws {MailError} UNAVAILABLE after the deadline.
   */
  async run<T>(shard: ShardId, signal: AbortSignal, attempt: Attempt<T>): Promise<T> {
    const budget = this.budget(shard);
    for (let retry = false; ; retry = true) {
      try {
        const { peer, epoch } = await budget.primary(signal);
        return await attempt(peer, epoch, retry, budget.leftMs);
      } catch (error) {
        await budget.again(error, signal);
      }
    }
  }
}

/** The time one request has left, and its way to the primary. */
export class Budget {
  readonly #shard: ShardId;
  readonly #options: ShardCallerOptions;
  readonly #retryMs: number;
  #untilMs: number;
  #pauseMs = firstPauseMs;

  constructor(shard: ShardId, options: ShardCallerOptions, retryMs: number) {
    this.#shard = shard;
    this.#options = options;
    this.#retryMs = retryMs;
    this.#untilMs = options.clock.monotonicMs() + retryMs;
  }

  get leftMs(): number {
    return this.#untilMs - this.#options.clock.monotonicMs();
  }

  /** Something came through: the time starts anew. */
  refill(): void {
    this.#untilMs = this.#options.clock.monotonicMs() + this.#retryMs;
    this.#pauseMs = firstPauseMs;
  }

  /** The primary's link, as soon as it is up. @throws {MailError} UNAVAILABLE */
  async primary(signal: AbortSignal): Promise<{ readonly peer: Peer; readonly epoch: Epoch }> {
    for (;;) {
      signal.throwIfAborted();
      const config = this.#options.table.get(this.#shard);
      const peer = config === undefined ? undefined : this.#options.links.peer(config.primary.node);
      if (config !== undefined && peer?.up === true) return { peer, epoch: config.epoch };
      const why =
        peer === undefined ? `no shard ${this.#shard} in the table` : `no link to ${peer.id}`;
      if (this.leftMs <= 0) throw new MailError({ code: "UNAVAILABLE", why });
      await this.#change(peer, signal);
    }
  }

  /** Returns when another try makes sense. @throws the error when it doesn't, or time is up. */
  async again(error: unknown, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!(error instanceof MailError)) throw error;
    const moved = error.code === "WRONG_NODE";
    // A full queue, of our link or there, empties again; the same opId makes every repetition safe.
    if (!moved && error.code !== "UNAVAILABLE" && error.code !== "BUSY") throw error;
    if (this.leftMs <= 0) {
      if (!moved) throw error;
      const why = `no member serves shard ${this.#shard}`;
      throw new MailError({ code: "UNAVAILABLE", why }, { cause: error });
    }
    const known = this.#options.table.get(this.#shard)?.epoch ?? 0;
    const told = error.failure.code === "WRONG_NODE" ? (error.failure.epoch ?? 0) : 0;
    if (told > known) await this.#options.table.refresh();
    await pause(this.#options.clock, Math.min(this.#pauseMs, this.leftMs), signal);
    this.#pauseMs = Math.min(longestPauseMs, this.#pauseMs * 2);
  }

  /** Waits for the link or the table to change, at most until the deadline. */
  #change(peer: Peer | undefined, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        offPeer?.();
        offTable();
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = this.#options.clock.after(Math.max(1, this.leftMs), done);
      const offPeer = peer?.onChange(done);
      const offTable = this.#options.table.onChange((config) => {
        if (config.shard === this.#shard) done();
      });
      signal.addEventListener("abort", done, { once: true });
    });
  }
}
