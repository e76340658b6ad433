// Full copies of shards between nodes: hands this node's out to a member that asks, makes this node's
// anew from another's, two at a time each way, slowly enough that the disk has time for mail. When a
// copy is needed is the replica's decision; reading and storing it is the store's.

import type { Logger } from "pino";
import type { Clock } from "../../lib/clock.ts";
import { MailError, isMailError } from "../../mail/errors.ts";
import { shardId, shardMax } from "../../mail/ids.ts";
import type { MemberId, ShardId } from "../../mail/ids.ts";
import type { CopyPiece, CopyPoint, ShardCopies } from "../../store/shard-copy.ts";
import type { CopyProgress } from "../../store/store-copies.ts";
import type { Links, RpcRegistry, RpcReply, RpcRequest } from "../link/rpc.ts";
import { decodePiece, encodePiece } from "./copy-wire.ts";
import { asArray, asCount } from "./decode.ts";
import { pause } from "./follow-keys.ts";

export interface CopyServiceOptions {
  readonly copies: ShardCopies & { readonly progress: readonly CopyProgress[] };
  readonly links: Links;
  readonly clock: Clock;
  readonly logger: Logger;
  /** 99th percentile of this node's latest fsyncs. */
  readonly syncP99Ms: () => number;
  /** Of one copy that is handed out. */
  readonly bytesPerSecondMax: number;
}

/** For status and metrics. */
export interface CopyFigures {
  readonly running: readonly CopyProgress[];
  /** Shards that wait for their turn. */
  readonly waiting: number;
  readonly finished: number;
  readonly failed: number;
  readonly lostBodies: number;
  /** Of copies that came in since the start, also of those that failed. */
  readonly bytesIn: number;
}

const method = "copy.shard";
const copiesMax = 2;
/** Mail waits for a disk this slow: copies step back. */
const slowSyncMs = 50;
const stepBackMaxMs = 500;
/** A giver with two copies under way frees one after a while. */
const busyPauseMs = 1000;

export class CopyService {
  readonly #options: CopyServiceOptions;
  readonly #stop = new AbortController();
  /** Copies under way here, by shard, to be ended when the shard needs none any more. */
  readonly #running = new Map<ShardId, AbortController>();
  readonly #waiting: (() => void)[] = [];
  #taking = 0;
  #finished = 0;
  #failed = 0;
  #lostBodies = 0;
  #bytesIn = 0;

  constructor(options: CopyServiceOptions) {
    this.#options = options;
  }

  /** Call before links are accepted. */
  register(registry: RpcRegistry): void {
    registry.onStream(method, (request) => this.#give(request));
  }

  close(): void {
    this.#stop.abort(new MailError({ code: "UNAVAILABLE", why: "this node is stopping" }));
    for (const wake of this.#waiting.splice(0)) wake();
  }

  get figures(): CopyFigures {
    return {
      running: this.#options.copies.progress,
      waiting: this.#waiting.length,
      finished: this.#finished,
      failed: this.#failed,
      lostBodies: this.#lostBodies,
      bytesIn: this.#bytesIn,
    };
  }

  /**
   * Makes this node's copy of the shard anew from that of `from`, in its turn. Undefined when it
   * failed, which was logged: what is here then is no copy, or the old one.
   */
  async take(shard: ShardId, from: MemberId): Promise<CopyPoint | undefined> {
    const { clock, logger } = this.#options;
    const ending = new AbortController();
    this.#running.get(shard)?.abort();
    this.#running.set(shard, ending);
    const signal = AbortSignal.any([this.#stop.signal, ending.signal]);
    const sinceMs = clock.monotonicMs();
    try {
      await this.#turn(signal);
      logger.info({ shard, from }, "full copy begins");
      const point = await this.#copy(shard, from, signal);
      this.#finished++;
      const tookMs = Math.round(clock.monotonicMs() - sinceMs);
      logger.info({ shard, from, lsn: point.lsn, tookMs }, "full copy is whole");
      return point;
    } catch (error) {
      if (this.#stop.signal.aborted) return undefined;
      this.#failed++;
      logger.warn({ shard, from, err: error }, "full copy failed");
      return undefined;
    } finally {
      this.#taking--;
      this.#waiting.shift()?.();
      if (this.#running.get(shard) === ending) this.#running.delete(shard);
    }
  }

  /** The shard's copy here is wanted no more. */
  cancel(shard: ShardId): void {
    const why = "the copy is not wanted any more";
    this.#running.get(shard)?.abort(new MailError({ code: "UNAVAILABLE", why }));
  }

  async #turn(signal: AbortSignal): Promise<void> {
    this.#taking++;
    if (this.#taking <= copiesMax) return;
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve);
    });
    signal.throwIfAborted();
  }

  async #copy(shard: ShardId, from: MemberId, signal: AbortSignal): Promise<CopyPoint> {
    for (;;) {
      try {
        return await this.#options.copies.importShard(
          shard,
          this.#pieces(shard, from, signal),
          signal,
        );
      } catch (error) {
        if (!isMailError(error, "BUSY")) throw error;
        await pause(this.#options.clock, busyPauseMs, signal);
        signal.throwIfAborted();
      }
    }
  }

  async *#pieces(shard: ShardId, from: MemberId, signal: AbortSignal): AsyncGenerator<CopyPiece> {
    const { links, copies } = this.#options;
    const stream = links.peer(from).stream(method, [shard], { signal });
    let lost = 0;
    for await (const item of stream) {
      const piece = decodePiece(item);
      if (piece.kind !== "begin" && piece.kind !== "end" && piece.kind !== "blob") {
        this.#bytesIn += piece.bytes.byteLength;
      }
      yield piece;
      const now = copies.progress.find((each) => each.shard === shard && each.direction === "in");
      const more = (now?.lostBodies ?? lost) - lost;
      this.#lostBodies += more;
      lost += more;
      await this.#stepBack(signal);
    }
  }

  async *#give(request: RpcRequest): AsyncGenerator<RpcReply> {
    const { copies, logger } = this.#options;
    const shard = shardId(asCount(asArray(request.head, "copy")[0], "shard", shardMax));
    const signal = AbortSignal.any([this.#stop.signal, request.signal]);
    if (this.#running.has(shard)) {
      throw new MailError({ code: "UNAVAILABLE", why: "this copy is itself being made" });
    }
    logger.info({ shard, to: request.from }, "full copy is handed out");
    for await (const piece of copies.exportShard(shard, signal)) {
      const reply = encodePiece(piece);
      yield reply;
      await this.#pace(reply.body?.byteLength ?? 0, signal);
    }
  }

  async #pace(bytes: number, signal: AbortSignal): Promise<void> {
    const { clock, bytesPerSecondMax } = this.#options;
    const waitMs = (bytes * 1000) / bytesPerSecondMax;
    if (waitMs >= 1) await pause(clock, waitMs, signal);
    await this.#stepBack(signal);
  }

  async #stepBack(signal: AbortSignal): Promise<void> {
    const { clock, syncP99Ms } = this.#options;
    const syncMs = syncP99Ms();
    if (syncMs > slowSyncMs) await pause(clock, Math.min(stepBackMaxMs, syncMs), signal);
  }
}
