// What a store does by itself: checkpoints every few seconds and at each new segment, sweeping after
// deletions, rewriting segments that are mostly garbage. One job at a time, at leisure.

import { background } from "../lib/background.ts";
import type { Timer } from "../lib/clock.ts";
import { shardId } from "../mail/ids.ts";
import type { BodyGarbage } from "./body-garbage.ts";
import type { DiskRoom } from "./disk-room.ts";
import type { Engine } from "./engine.ts";
import type { BlobStore } from "./log/blob-store.ts";
import { chooseGarbage } from "./log/garbage.ts";
import type { SegmentLog } from "./log/types.ts";
import { logConfirmations } from "./spool.ts";
import { sweepGone, sweepOutcomes } from "./sweep.ts";

const tickMs = 1000;
const sweepEveryMs = 60_000;
const expireEveryMs = 3_600_000;
const segmentsPerRun = 16;
const dayMs = 86_400_000;
/** Confirmations wait so long for a delivery that carries them. */
const confirmAfterMs = 5000;

export interface UpkeepParts {
  readonly engine: Engine;
  readonly log: SegmentLog;
  readonly blobs: BlobStore;
  readonly garbage: BodyGarbage;
  readonly room: DiskRoom;
}

export class Upkeep {
  readonly #parts: UpkeepParts;
  readonly #checkpointEveryMs: number;
  readonly #stopping = new AbortController();
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  readonly #loggedAtSweep = new Map<number, number>();
  #checkpointMs = 0;
  #sweepMs = 0;
  #expireMs = 0;
  #holds = 0;
  #checkpointed = { segment: -1, offset: -1 };

  constructor(parts: UpkeepParts, checkpointEveryMs: number) {
    this.#parts = parts;
    this.#checkpointEveryMs = checkpointEveryMs;
    const now = parts.engine.clock.monotonicMs();
    this.#checkpointMs = now;
    this.#sweepMs = now;
    this.#expireMs = now;
  }

  start(): void {
    this.#timer = this.#parts.engine.clock.after(Math.min(tickMs, this.#checkpointEveryMs), () => {
      this.#running = this.#tick().then(
        () => {
          this.#running = undefined;
          if (!this.#stopping.signal.aborted) this.start();
        },
        (error: unknown) => {
          this.#running = undefined;
          if (this.#stopping.signal.aborted) return;
          // A damaged row is replaced, if another member has it, before the next try.
          background("store repair", this.#parts.engine.rows.mend(error));
          // A failed log or index has told onFatal itself; anything else is reported and tried again.
          background("store upkeep", Promise.reject(asError(error)));
          this.start();
        },
      );
    });
  }

  /** Ends at the next safe point. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#timer?.cancel();
    await this.#running;
  }

  /** True while a copy of a shard is being read or made. */
  get held(): boolean {
    return this.#holds > 0;
  }

  /**
   * Once this resolves nothing is removed, rewritten or swept until what it gives is called:
   * a copy of a shard is being read or made. Checkpoints go on.
   */
  async hold(): Promise<() => void> {
    this.#holds++;
    await this.#running;
    let held = true;
    return () => {
      if (held) this.#holds--;
      held = false;
    };
  }

  /** All jobs that follow deletion, now: for tests and tools. */
  async sweepNow(): Promise<void> {
    const { engine, log, blobs, garbage } = this.#parts;
    const { signal } = this.#stopping;
    await sweepGone(engine, signal);
    await sweepOutcomes(engine, Array.from(log.shards.keys(), shardId), signal);
    await garbage.dropDeadBlobs(signal);
    if (this.#appliedSinceLastSweep()) {
      await blobs.sweep((name) => garbage.blobIsUsed(name), dayMs);
    }
  }

  /**
   * True when all that the log held at the last sweep is applied. A copy whose primary is away may
   * hold, for days, an entry that was acknowledged and is not known to be committed here: nothing
   * says yet that its blob is used. A tail is never applied: its copy applies the same entries later.
   */
  #appliedSinceLastSweep(): boolean {
    let all = true;
    const { log } = this.#parts;
    for (const [shard, { damaged, commitMark, lastLsn }] of log.shards) {
      if (log.tails.state(shard) !== undefined) all = false;
      if (!damaged && commitMark < (this.#loggedAtSweep.get(shard) ?? lastLsn)) all = false;
      this.#loggedAtSweep.set(shard, lastLsn);
    }
    return all;
  }

  /** Rewrites segments under half live, a few an hour. */
  async #collect(): Promise<void> {
    const { log, garbage, room } = this.#parts;
    const full = room.level === "noMail";
    // On a full disk, who comes back too late is copied anew: there is no room for the window.
    log.resizeWindow(full ? 0 : undefined);
    const collectable = log.collectable();
    if (collectable.length === 0) return;
    const live = await garbage.measure(this.#stopping.signal);
    const chosen = chooseGarbage(collectable, live, segmentsPerRun);
    if (!full) {
      if (chosen.length > 0) await log.rewrite(chosen, garbage);
      return;
    }
    // One by one: each gives more room than its copies take, once it is gone.
    for (const segment of chosen) {
      if (live.of(segment) > room.figures.freeBytes / 2) return;
      await log.rewrite([segment], garbage);
      await room.measure();
    }
  }

  async #tick(): Promise<void> {
    const { engine, log } = this.#parts;
    const { signal } = this.#stopping;
    const now = engine.clock.monotonicMs();
    logConfirmations(engine, confirmAfterMs);
    const { end } = log;
    const moved =
      end.segment !== this.#checkpointed.segment || end.offset !== this.#checkpointed.offset;
    const rolled = end.segment !== this.#checkpointed.segment;
    if (moved && (rolled || now - this.#checkpointMs >= this.#checkpointEveryMs)) {
      await log.checkpoint();
      this.#checkpointed = end;
      this.#checkpointMs = now;
    }
    if (this.#holds > 0) return;
    if (now - this.#sweepMs >= sweepEveryMs) {
      await sweepGone(engine, signal);
      this.#sweepMs = now;
    }
    const full = this.#parts.room.level === "noMail";
    if (now - this.#expireMs >= (full ? sweepEveryMs : expireEveryMs)) {
      await this.sweepNow();
      await this.#collect();
      this.#expireMs = now;
    }
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error("store upkeep", { cause: error });
}
