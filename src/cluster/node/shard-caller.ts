// One request to whoever is the shard's primary: finds it in the table, waits for its link, and asks
// again when it moved or its link broke, until a deadline. Knows nothing of what is asked.

import type { Clock } from "../../lib/clock.ts";
import { MailError } from "../../mail/errors.ts";
import type { Epoch, ShardId } from "../../mail/ids.ts";
import type { Links, Peer } from "../link/rpc.ts";
import { ServingWatch } from "./serving-watch.ts";
import type { KnownShards } from "./shard-table.ts";

export interface ShardCallerOptions {
  readonly table: KnownShards;
  readonly links: Links;
  readonly clock: Clock;
  /** How long a request is tried, 30 s by default. */
  readonly retryMs?: number;
}

/** Whom a request goes to, and the epoch that it names. */
interface Primary {
  readonly peer: Peer;
  readonly epoch: Epoch;
}

/** One try. `retry` is false the first time only, so that the node can skip its look-up of outcomes. */
export type Attempt<T> = (peer: Peer, epoch: Epoch, retry: boolean, leftMs: number) => Promise<T>;

/** Between tries after a refusal that no event ends. */
const firstPauseMs = 5;
const longestPauseMs = 250;
/** Copies are missing: either the shard gets other members soon, or whoever asks must know. */
const newMembersMs = 1500;
/** A member that refuses and does not say when it will serve is asked again after so long. */
const wrongNodePauseMs = 1000;

export class ShardCaller {
  readonly #options: ShardCallerOptions;
  readonly #retryMs: number;
  readonly #serving = new ServingWatch();

  constructor(options: ShardCallerOptions) {
    this.#options = options;
    this.#retryMs = options.retryMs ?? 30_000;
  }

  get clock(): Clock {
    return this.#options.clock;
  }

  /** A budget for one request and its retries. */
  budget(shard: ShardId, retryMs = this.#retryMs): Budget {
    return new Budget(shard, this.#options, retryMs, this.#serving);
  }

  /**
   * Runs `attempt` against the primary until it succeeds or fails for a reason that another try
   * won't mend. @throws {MailError} UNAVAILABLE after the deadline.
   */
  async run<T>(
    shard: ShardId,
    signal: AbortSignal,
    attempt: Attempt<T>,
    retryMs?: number,
  ): Promise<T> {
    const budget = this.budget(shard, retryMs);
    for (let retry = false; ; retry = true) {
      try {
        const { peer, epoch } = budget.primaryNow(signal) ?? (await budget.primary(signal));
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
  readonly #serving: ServingWatch;
  #untilMs: number;
  #pauseMs = firstPauseMs;
  /** The epoch in which the shard was asked last. */
  #askedEpoch = 0;

  constructor(shard: ShardId, options: ShardCallerOptions, retryMs: number, serving: ServingWatch) {
    this.#shard = shard;
    this.#options = options;
    this.#retryMs = retryMs;
    this.#serving = serving;
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

  /** The primary's link when it is up, as it nearly always is: then nobody waits for a promise. */
  primaryNow(signal: AbortSignal): Primary | undefined {
    signal.throwIfAborted();
    const config = this.#options.table.get(this.#shard);
    if (config === undefined) return undefined;
    const peer = this.#options.links.peer(config.primary.node);
    if (!peer.up) return undefined;
    this.#askedEpoch = config.epoch;
    return { peer, epoch: config.epoch };
  }

  /** The primary's link, as soon as it is up. @throws {MailError} UNAVAILABLE */
  async primary(signal: AbortSignal): Promise<Primary> {
    for (;;) {
      const primary = this.primaryNow(signal);
      if (primary !== undefined) return primary;
      const config = this.#options.table.get(this.#shard);
      const peer = config === undefined ? undefined : this.#options.links.peer(config.primary.node);
      const why =
        peer === undefined ? `no shard ${this.#shard} in the table` : `no link to ${peer.id}`;
      if (this.leftMs <= 0) throw new MailError({ code: "UNAVAILABLE", why });
      await this.#change(peer, this.leftMs, undefined, signal);
    }
  }

  /** Returns when another try makes sense. @throws the error when it doesn't, or time is up. */
  async again(error: unknown, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!(error instanceof MailError)) throw error;
    const moved = error.code === "WRONG_NODE";
    const unsafe = error.code === "REPLICA_UNREACHABLE";
    // A full queue, of our link or there, empties again; the same opId makes every repetition safe.
    if (!moved && !unsafe && error.code !== "UNAVAILABLE" && error.code !== "BUSY") throw error;
    if (this.leftMs <= 0) {
      if (!moved) throw error;
      const why = `no member serves shard ${this.#shard}`;
      throw new MailError({ code: "UNAVAILABLE", why }, { cause: error });
    }
    if (error.failure.code === "WRONG_NODE") await this.#moved(error.failure.epoch ?? 0, signal);
    else if (!unsafe) await this.#pause(signal);
    else if (!(await this.#changed(signal))) throw error;
  }

  /** True once the shard has other members than when it was asked; false when that does not come. */
  async #changed(signal: AbortSignal): Promise<boolean> {
    const isChanged = (): boolean =>
      (this.#options.table.get(this.#shard)?.epoch ?? 0) > this.#askedEpoch;
    if (!isChanged()) await this.#change(undefined, newMembersMs, undefined, signal);
    return isChanged();
  }

  /** The member asked does not serve: waits until the shard's primary does, wherever that is by then. */
  async #moved(toldEpoch: number, signal: AbortSignal): Promise<void> {
    const { table, links } = this.#options;
    const known = table.get(this.#shard);
    if (toldEpoch > (known?.epoch ?? 0)) {
      await table.refresh();
      if ((table.get(this.#shard)?.epoch ?? 0) >= toldEpoch) return;
    }
    if (known === undefined) return this.#pause(signal);
    const peer = links.peer(known.primary.node);
    // A link that is down is waited for by `primary`.
    if (!peer.up) return undefined;
    const askedMs = this.#options.clock.monotonicMs();
    const served = this.#serving.served(known, peer);
    await this.#change(peer, wrongNodePauseMs, served, signal);
    // It says at once that it won't: then the table will change, sooner or later.
    if (this.#options.clock.monotonicMs() - askedMs < firstPauseMs) await this.#pause(signal);
    return undefined;
  }

  /** Waits a growing time, or until the shard's members are other ones. */
  async #pause(signal: AbortSignal): Promise<void> {
    await this.#change(undefined, this.#pauseMs, undefined, signal);
    this.#pauseMs = Math.min(longestPauseMs, this.#pauseMs * 2);
  }

  /** Waits for the link, the shard's config or `event`, at most so long. */
  #change(
    peer: Peer | undefined,
    mostMs: number,
    event: Promise<void> | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        offPeer?.();
        offTable();
        signal.removeEventListener("abort", done);
        resolve();
      };
      const waitMs = Math.max(1, Math.min(mostMs, this.leftMs));
      const timer = this.#options.clock.after(waitMs, done);
      const offPeer = peer?.onChange(done);
      const offTable = this.#options.table.onChange((config) => {
        if (config.shard === this.#shard) done();
      });
      event?.then(done, done);
      signal.addEventListener("abort", done, { once: true });
    });
  }
}
