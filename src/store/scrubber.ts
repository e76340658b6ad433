// Reads everything that this node keeps once a week, slowly: rows of the index, bodies, blobs, records
// of the log. What is damaged is replaced by another member's (repairs.ts), counted and told; so two
// copies never rot unnoticed. Sound bytes are compared with the other copy's, if there is one to ask. Goes
// on after a restart where it was.

import { background } from "../lib/background.ts";
import type { Clock, Timer } from "../lib/clock.ts";
import type { Disk } from "../lib/disk.ts";
import { isMailError } from "../mail/errors.ts";
import { lsn as makeLsn, shardId } from "../mail/ids.ts";
import { sumOf } from "./body-sums.ts";
import type { BodySum } from "./body-sums.ts";
import type { Engine } from "./engine.ts";
import { bodyTable, space } from "./keyspace.ts";
import type { BlobStore } from "./log/blob-store.ts";
import { scrubSegments } from "./log/scrub-log.ts";
import { SegmentGone } from "./log/segment-reader.ts";
import type { BodyId, SegmentLog } from "./log/types.ts";
import type { Repairs } from "./repairs.ts";
import { beginRow, endRow, openRow, rowIsSound } from "./row.ts";
import { readPlace } from "./rows.ts";
import type { BodyPlace } from "./rows.ts";

export interface ScrubLimits {
  /** From the end of one pass to the beginning of the next. */
  readonly everyMs: number;
  readonly bytesPerSecondMax: number;
}

export const defaultScrubLimits: ScrubLimits = {
  everyMs: 7 * 86_400_000,
  bytesPerSecondMax: 8 * 1024 * 1024,
};

export interface ScrubFigures {
  /** Bytes read in the present pass; 0 between passes. */
  readonly bytes: number;
  readonly running: boolean;
  /** Passes that came to their end since the start. */
  readonly passes: number;
  /** Wall clock of the end of the last pass; 0: never. */
  readonly finishedMs: number;
}

export type NamedSum = BodySum & { readonly id: BodyId };

/** The other copies of this node's shards, as far as this node is the one to ask. */
export interface CopyComparison {
  /** Bodies as they lie here, of any shards. */
  bodies(sums: readonly NamedSum[]): Promise<void>;
  /** Everything else: accounts, names, messages. `pace` hears of bytes that were read, and waits. */
  accounts(pace: (bytes: number) => Promise<void>, signal: AbortSignal): Promise<void>;
}

export interface ScrubberParts {
  readonly engine: Engine;
  readonly log: SegmentLog;
  readonly blobs: BlobStore;
  readonly repairs: Repairs;
  readonly disk: Disk;
  readonly clock: Clock;
}

const lookEveryMs = 60_000;
const saveEveryMs = 60_000;
const rowsPerBatch = 500;
const bodiesPerBatch = 64;
const allKeys = { gte: Buffer.alloc(0), lt: Buffer.from([0xff]) };

export class Scrubber {
  readonly #parts: ScrubberParts;
  readonly #limits: ScrubLimits;
  readonly #stopping = new AbortController();
  #comparison: CopyComparison | undefined;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  /** Of bodies that are to be compared. */
  readonly #sums: NamedSum[] = [];
  #bytes = 0;
  #passes = 0;
  #state: ScrubState = { finishedMs: 0, cursor: allKeys.gte };
  #savedMs = 0;

  constructor(parts: ScrubberParts, limits: ScrubLimits) {
    this.#parts = parts;
    this.#limits = limits;
  }

  /** Looks every minute, or as often as passes are wanted, whether a pass is due. */
  async start(): Promise<void> {
    this.#state = await readState(this.#parts.engine);
    this.#schedule();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#timer?.cancel();
    await this.#running;
  }

  get figures(): ScrubFigures {
    return {
      bytes: this.#running === undefined ? 0 : this.#bytes,
      running: this.#running !== undefined,
      passes: this.#passes,
      finishedMs: this.#state.finishedMs,
    };
  }

  /** Absent: there is no other copy, or nobody to ask. */
  set comparison(comparison: CopyComparison) {
    this.#comparison = comparison;
  }

  /** A whole pass, now. */
  async pass(): Promise<void> {
    this.#bytes = 0;
    await this.#rowsAndBodies();
    await this.#comparison?.accounts((bytes) => this.#pace(bytes), this.#stopping.signal);
    for await (const { segment, offset } of scrubSegments(
      this.#parts.disk,
      "log",
      () => this.#parts.log.end,
      (bytes) => this.#pace(bytes),
    )) {
      this.#parts.repairs.noteRecord(`record at ${segment}:${offset}`);
    }
    this.#passes++;
    this.#save({ finishedMs: this.#parts.clock.nowMs(), cursor: allKeys.gte });
  }

  #schedule(): void {
    const { clock } = this.#parts;
    this.#timer = clock.after(Math.min(lookEveryMs, this.#limits.everyMs), () => {
      const due = clock.nowMs() - this.#state.finishedMs >= this.#limits.everyMs;
      if (!due) {
        this.#schedule();
        return;
      }
      this.#running = this.pass()
        .catch((error: unknown) => {
          if (!this.#stopping.signal.aborted)
            background("scrubber", Promise.reject(asError(error)));
        })
        .finally(() => {
          this.#running = undefined;
          if (!this.#stopping.signal.aborted) this.#schedule();
        });
    });
  }

  /** In order of keys: a body's place is a row among the others, and leads to its bytes. */
  async #rowsAndBodies(): Promise<void> {
    let bodies: Placed[] = [];
    for (;;) {
      const batch = await this.#batchAt(this.#state.cursor);
      const last = batch.at(-1)?.[0];
      if (last === undefined) break;
      let bytes = 0;
      for (const [key, value] of batch) {
        bytes += key.length + value.length;
        if (!rowIsSound(key, value)) {
          await this.#parts.repairs.row(Buffer.from(key));
          continue;
        }
        if (key[0] !== space.body || key[11] !== bodyTable.location) continue;
        bodies.push({ id: bodyOf(key), place: readPlace(openRow(key, value)) });
        if (bodies.length < bodiesPerBatch) continue;
        await this.#bodies(bodies);
        bodies = [];
      }
      await this.#bodies(bodies);
      bodies = [];
      await this.#pace(bytes);
      this.#state = { ...this.#state, cursor: Buffer.concat([last, Buffer.of(0)]) };
      const nowMs = this.#parts.clock.monotonicMs();
      if (nowMs - this.#savedMs >= saveEveryMs) this.#save(this.#state);
    }
  }

  /** A new iterator each time: an old one would keep what is deleted meanwhile on the disk. */
  async #batchAt(gte: Buffer): Promise<[Buffer, Buffer][]> {
    const { rows } = this.#parts.engine;
    for await (const batch of rows.range(gte, allKeys.lt, rowsPerBatch)) return batch;
    return [];
  }

  async #bodies(placed: readonly Placed[]): Promise<void> {
    const { log, blobs, repairs } = this.#parts;
    for (const { id, place } of placed) {
      if (place.kind === "lost") await repairs.body(id); // Another member may have it after all.
      if (place.kind === "blob") {
        const { id: name, length: bytes, sha256 } = place;
        const whole = await blobs.isComplete({ name, bytes, sha256 }, (read) => this.#pace(read));
        if (!whole) await repairs.blob(name);
        else this.#note(id, sumOf(place));
      }
    }
    const inLog = placed.flatMap(({ id, place }) =>
      place.kind === "segment" ? [{ id, place, location: place.location }] : [],
    );
    try {
      const wholes = await log.readMany(inLog.map(({ location }) => location));
      for (const [at, { id, place }] of inLog.entries()) this.#note(id, sumOf(place, wholes[at]));
    } catch (error) {
      if (!isBad(error)) throw error;
      for (const { id, location } of inLog) {
        await log.read(location).catch(async (harm: unknown) => {
          if (isMailError(harm, "DAMAGED")) await repairs.body(id);
          else if (!(harm instanceof SegmentGone)) throw harm;
        });
      }
    }
    await this.#comparison?.bodies(this.#sums.splice(0));
    await this.#pace(inLog.reduce((sum, { location }) => sum + location.bodyBytes, 0));
  }

  /** A body that was read and is sound by itself. */
  #note(id: BodyId, sum: BodySum | undefined): void {
    if (this.#comparison !== undefined && sum !== undefined) this.#sums.push({ id, ...sum });
  }

  async #pace(bytes: number): Promise<void> {
    this.#stopping.signal.throwIfAborted();
    this.#bytes += bytes;
    const waitMs = (bytes * 1000) / this.#limits.bytesPerSecondMax;
    if (waitMs < 1) return;
    await new Promise<void>((resolve) => {
      this.#parts.clock.after(waitMs, resolve);
    });
    this.#stopping.signal.throwIfAborted();
  }

  #save(state: ScrubState): void {
    this.#state = state;
    this.#savedMs = this.#parts.clock.monotonicMs();
    const out = beginRow();
    out.f64(state.finishedMs);
    out.bytes(state.cursor);
    this.#parts.engine.rows.put(stateKey, endRow(stateKey));
  }
}

interface Placed {
  readonly id: BodyId;
  readonly place: BodyPlace;
}

interface ScrubState {
  readonly finishedMs: number;
  /** Rows before it were read in the present pass. */
  readonly cursor: Buffer;
}

/** Behind the node's own row. */
const stateKey = Buffer.from([space.node, 1]);

async function readState(engine: Engine): Promise<ScrubState> {
  const value = await engine.rows.get(stateKey);
  if (value === undefined || !rowIsSound(stateKey, value)) {
    return { finishedMs: 0, cursor: allKeys.gte };
  }
  const reader = openRow(stateKey, value);
  return { finishedMs: reader.f64(), cursor: Buffer.from(reader.bytes()) };
}

function bodyOf(key: Buffer): BodyId {
  const shard = shardId(key.readUInt16BE(1));
  return { shard, lsn: makeLsn(key.readUIntBE(3, 6)), part: key.readUInt16BE(9) };
}

function isBad(error: unknown): boolean {
  return isMailError(error, "DAMAGED") || error instanceof SegmentGone;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error("scrubber", { cause: error });
}
