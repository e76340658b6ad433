// What one member of a shard gives another whose bytes were found damaged: bodies, blobs, rows. The
// asking side is repairs.ts; how questions travel is the cluster's.

import type { Clock } from "../lib/clock.ts";
import { MailError, isMailError } from "../mail/errors.ts";
import type { Lsn, ShardId } from "../mail/ids.ts";
import { bodyTag } from "./apply-rows.ts";
import { bodyKey } from "./keyspace.ts";
import type { BlobInfo, BlobStore } from "./log/blob-store.ts";
import { SegmentGone } from "./log/segment-reader.ts";
import type { BodyId, SegmentLog } from "./log/types.ts";
import { openRow, rowIsSound } from "./row.ts";
import { readPlace } from "./rows.ts";
import type { WriteQueue } from "./write-queue.ts";

/** Keys from `gte` on, below `lt`. */
export interface KeyRange {
  readonly gte: Buffer;
  readonly lt: Buffer;
}

/** Rows as of one entry of the giver's; undefined when the giver's are damaged, too. */
export interface GivenRows {
  readonly lsn: Lsn;
  readonly rows: readonly (readonly [Buffer, Buffer])[] | undefined;
}

/** A body as a member has it: its bytes, or the blob in which they are. */
export type GivenBody =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "blob"; readonly blob: BlobInfo };

/** The other members of a shard. Every method throws UNAVAILABLE when none can be asked now. */
export interface RepairSource {
  /** The bytes of a body; undefined when no member has them unharmed. */
  body(id: BodyId): Promise<GivenBody | undefined>;
  /** A blob as it lies there: who takes it compares its digest. */
  blob(shard: ShardId, name: string): AsyncIterable<Uint8Array>;
  /** Rows as of an entry that is not below `atLeast`. */
  rows(shard: ShardId, atLeast: Lsn, ranges: readonly KeyRange[]): Promise<GivenRows>;
}

/** Rows of one answer; more are not asked for. */
export const givenBytesMax = 64 * 1024 * 1024;
const triesMax = 4;
const lookEveryMs = 20;
const waitMs = 5000;

export interface GiverParts {
  readonly rows: WriteQueue;
  readonly log: SegmentLog;
  readonly blobs: BlobStore;
  readonly clock: Clock;
}

/** Answers out of this node's copy. */
export class RepairGiver {
  readonly #parts: GiverParts;

  constructor(parts: GiverParts) {
    this.#parts = parts;
  }

  /** Undefined when the body is damaged here. @throws {MailError} UNAVAILABLE when it is not here. */
  async body(id: BodyId): Promise<GivenBody | undefined> {
    soundCopy(this.#parts.log, id.shard);
    for (let tries = 1; ; tries++) {
      try {
        return await this.#read(id);
      } catch (error) {
        if (isMailError(error, "DAMAGED")) return undefined;
        // Rewriting moved it between the two steps.
        if (!(error instanceof SegmentGone) || tries === triesMax) throw error;
      }
    }
  }

  /** @throws {MailError} DAMAGED */
  async *blob({ name }: Pick<BlobInfo, "name">): AsyncGenerator<Uint8Array> {
    yield* this.#parts.blobs.stream(name);
  }

  /** @throws {MailError} UNAVAILABLE when this copy does not get so far in time. */
  async rows(
    shard: ShardId,
    atLeast: Lsn,
    ranges: readonly KeyRange[],
    signal: AbortSignal,
  ): Promise<GivenRows> {
    const { rows, log } = this.#parts;
    soundCopy(log, shard);
    await appliedAtLeast(this.#parts, shard, atLeast, signal);
    const taken = await rows.snapshot(() => log.state(shard).applied);
    try {
      const found: [Buffer, Buffer][] = [];
      let bytes = 0;
      for (const { gte, lt } of ranges) {
        for await (const batch of rows.rangeAt(taken.rows, gte, lt)) {
          for (const [key, value] of batch) {
            if (!rowIsSound(key, value)) return { lsn: taken.mark, rows: undefined };
            found.push([key, value]);
            bytes += key.length + value.length;
          }
          if (bytes > givenBytesMax) {
            throw new MailError({ code: "LIMIT", limit: "givenBytesMax", most: givenBytesMax });
          }
        }
      }
      return { lsn: taken.mark, rows: found };
    } finally {
      await taken.rows.close();
    }
  }

  async #read({ shard, lsn, part }: BodyId): Promise<GivenBody | undefined> {
    const key = bodyKey(bodyTag(shard, part), lsn);
    const value = await this.#parts.rows.get(key);
    if (value === undefined) throw new MailError({ code: "UNAVAILABLE", why: "no such body here" });
    const place = readPlace(openRow(key, value));
    if (place.kind === "lost") return undefined;
    if (place.kind === "blob") {
      const { id: name, length: bytes, sha256 } = place;
      return { kind: "blob", blob: { name, bytes, sha256 } };
    }
    const whole = await this.#parts.log.read(place.location);
    return { kind: "bytes", bytes: whole.subarray(place.offset, place.offset + place.length) };
  }
}

/** @throws {MailError} UNAVAILABLE unless this node's copy of the shard is one */
export function soundCopy(log: SegmentLog, shard: ShardId): void {
  const { damaged, lastLsn } = log.state(shard);
  if (!damaged && lastLsn > 0) return;
  throw new MailError({ code: "UNAVAILABLE", why: "this node has no sound copy of the shard" });
}

/** Waits until this copy has applied an entry. @throws {MailError} UNAVAILABLE when that takes too long. */
export async function appliedAtLeast(
  { log, clock }: Pick<GiverParts, "log" | "clock">,
  shard: ShardId,
  atLeast: Lsn,
  signal: AbortSignal,
): Promise<void> {
  const untilMs = clock.monotonicMs() + waitMs;
  while (log.state(shard).applied < atLeast) {
    signal.throwIfAborted();
    if (clock.monotonicMs() >= untilMs) {
      throw new MailError({ code: "UNAVAILABLE", why: "this copy is behind" });
    }
    await new Promise<void>((resolve) => {
      clock.after(lookEveryMs, resolve);
    });
  }
}
