// Making this node's copy of a shard anew from the pieces of another's. The old copy is given up in
// the log first, so that a crash anywhere leaves a copy that is known to be none.

import { crc32c } from "../lib/crc32c.ts";
import { asBuffer } from "../lib/bytes.ts";
import { unreachable } from "../lib/assert.ts";
import { MailError, isMailError } from "../mail/errors.ts";
import { lsn as makeLsn } from "../mail/ids.ts";
import type { ShardId } from "../mail/ids.ts";
import { bodyTag } from "./apply-rows.ts";
import type { Engine } from "./engine.ts";
import type { BlobStore, BlobWriter } from "./log/blob-store.ts";
import type { CommitGroup, SegmentLog } from "./log/types.ts";
import { putPlace } from "./rows.ts";
import type { CopyPiece, CopyPoint } from "./shard-copy.ts";
import { mayBelong, wipeShard } from "./shard-rows.ts";

export interface ImportParts {
  readonly engine: Engine;
  readonly log: SegmentLog;
  readonly blobs: BlobStore;
  readonly hold: () => Promise<() => void>;
  /** Hears of each piece that was taken in, and of how many bodies came without their bytes. */
  readonly onPiece?: (piece: CopyPiece, lostBodies: number) => void;
}

/** Bodies that may be on their way to the disk. */
const unsyncedBytesMax = 4 * 1024 * 1024;
const rowBytesMax = 64 * 1024 * 1024;

/** @see ShardCopies.importShard */
export async function importShard(
  parts: ImportParts,
  shard: ShardId,
  pieces: AsyncIterable<CopyPiece>,
  signal: AbortSignal,
): Promise<CopyPoint> {
  const release = await parts.hold();
  const intake = new Intake(parts, shard);
  try {
    for await (const piece of pieces) {
      signal.throwIfAborted();
      // Until something comes, an old copy is better than none.
      if (piece.kind === "begin") await giveUp(parts, shard, signal);
      await intake.take(piece);
      parts.onPiece?.(piece, intake.lostBodies);
    }
    const point = await intake.finish();
    await parts.engine.rows.flush();
    await parts.engine.unconfirmed.load(shard);
    await parts.log.restart(shard, point.lsn, point.hash).durable;
    await parts.log.checkpoint();
    parts.engine.feed.restart(shard);
    return point;
  } finally {
    await intake.abandon();
    release();
  }
}

/** From here on this node has no copy, until `restart`. */
async function giveUp(parts: ImportParts, shard: ShardId, signal: AbortSignal): Promise<void> {
  const { engine, log } = parts;
  await engine.dropShard(shard);
  await log.abandon(shard).durable;
  await log.checkpoint();
  const others = [...log.shards.keys()].filter((other) => other !== shard);
  await wipeShard(engine.rows, shard, others, signal);
}

class Intake {
  readonly #parts: ImportParts;
  readonly #shard: ShardId;
  #point: CopyPoint | undefined;
  #complete = false;
  #rows = 0;
  #bodies = 0;
  #lost = 0;
  /** The beginning of a row whose rest is in the next piece. */
  #rest: Buffer = Buffer.alloc(0);
  #group: CommitGroup | undefined;
  #unsyncedBytes = 0;
  #blob: OpenBlob | undefined;

  constructor(parts: ImportParts, shard: ShardId) {
    this.#parts = parts;
    this.#shard = shard;
  }

  get lostBodies(): number {
    return this.#lost;
  }

  async take(piece: CopyPiece): Promise<void> {
    if (piece.kind === "begin") {
      if (this.#point !== undefined || piece.shard !== this.#shard) throw badCopy("its beginning");
      this.#point = piece.point;
      return;
    }
    if (this.#point === undefined || this.#complete) throw badCopy("the order of its pieces");
    if (this.#blob !== undefined && piece.kind !== "blobBytes") throw badCopy("a blob's end");
    switch (piece.kind) {
      case "rows":
        return this.#takeRows(asBuffer(piece.bytes));
      case "bodies":
        return this.#takeBodies(piece);
      case "blob":
        return this.#openBlob(piece);
      case "blobBytes":
        return this.#takeBlob(piece.bytes, piece.last);
      case "end":
        if (piece.rows !== this.#rows || piece.bodies !== this.#bodies) throw badCopy("its count");
        this.#complete = this.#rest.length === 0;
        return;
      default:
        return unreachable(piece);
    }
  }

  /** Resolves once all bodies are on the disk. */
  async finish(): Promise<CopyPoint> {
    if (this.#point === undefined || !this.#complete) {
      throw new MailError({ code: "UNAVAILABLE", why: "the copy was cut off" });
    }
    await this.#group?.durable;
    return { lsn: makeLsn(this.#point.lsn), hash: this.#point.hash };
  }

  /** Leaves nothing half open; no harm after `finish`. */
  async abandon(): Promise<void> {
    await this.#blob?.writer?.abort();
    this.#blob = undefined;
  }

  async #takeRows(bytes: Buffer): Promise<void> {
    const { rows } = this.#parts.engine;
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let at = 0;
    while (at + 8 <= all.length) {
      const keyBytes = all.readUInt32BE(at);
      const valueBytes = all.readUInt32BE(at + 4);
      const end = at + 8 + keyBytes + valueBytes;
      if (end - at > rowBytesMax) throw badCopy("a row's length");
      if (end > all.length) break;
      const key = all.subarray(at + 8, at + 8 + keyBytes);
      if (!mayBelong(key, this.#shard)) throw badCopy("a row of something else");
      rows.put(key, all.subarray(at + 8 + keyBytes, end));
      this.#rows++;
      at = end;
    }
    this.#rest = all.subarray(at);
    if (rows.full) await rows.room();
  }

  async #takeBodies(piece: Extract<CopyPiece, { kind: "bodies" }>): Promise<void> {
    const { log, engine } = this.#parts;
    let at = 0;
    for (const { lsn, part, length, crc } of piece.bodies) {
      this.#bodies++;
      const tag = bodyTag(this.#shard, part);
      if (crc === undefined) {
        this.#lost++;
        putPlace(engine.rows, tag, lsn, { kind: "lost", length });
        continue;
      }
      const bytes = piece.bytes.subarray(at, at + length);
      at += length;
      if (bytes.length !== length || crc32c(bytes) !== crc) throw badCopy("a body's checksum");
      const id = { shard: this.#shard, lsn: makeLsn(lsn), part };
      const { location, group } = await this.#append(() => log.appendBody(id, bytes));
      this.#group = group;
      putPlace(engine.rows, tag, lsn, { kind: "segment", location, offset: 0, length });
      this.#unsyncedBytes += length;
      if (this.#unsyncedBytes >= unsyncedBytesMax) await this.#sync();
    }
    if (engine.rows.full) await engine.rows.room();
  }

  /** The log's queue may be full of other shards' entries: those go first. */
  async #append<T>(append: () => T): Promise<T> {
    for (;;) {
      try {
        return append();
      } catch (error) {
        if (!isMailError(error, "BUSY")) throw error;
        await this.#parts.log.settled();
      }
    }
  }

  async #sync(): Promise<void> {
    await this.#group?.durable;
    this.#unsyncedBytes = 0;
  }

  async #openBlob(piece: Extract<CopyPiece, { kind: "blob" }>): Promise<void> {
    const { lsn, part, name, length, sha256 } = piece;
    const info = { name, bytes: length, sha256 };
    this.#bodies++;
    const here = await this.#parts.blobs.isComplete(info);
    const writer = here ? undefined : await this.#parts.blobs.create(name);
    this.#blob = { lsn, part, ...info, writer };
  }

  async #takeBlob(bytes: Uint8Array, last: boolean): Promise<void> {
    const blob = this.#blob;
    if (blob === undefined) throw badCopy("a blob's beginning");
    const { writer, lsn, part, name, bytes: length, sha256 } = blob;
    if (writer !== undefined) {
      if (writer.bytes + bytes.length > length) throw badCopy("a blob's length");
      await writer.write(bytes);
    }
    if (!last) return;
    this.#blob = undefined;
    const tag = bodyTag(this.#shard, part);
    const whole = writer === undefined || (await writer.finishIf({ name, bytes: length, sha256 }));
    if (!whole) this.#lost++;
    const place = whole
      ? ({ kind: "blob", id: name, length, sha256 } as const)
      : ({ kind: "lost", length } as const);
    putPlace(this.#parts.engine.rows, tag, lsn, place);
  }
}

interface OpenBlob {
  readonly lsn: number;
  readonly part: number;
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
  /** Undefined: the blob is here already, what comes of it is passed over. */
  readonly writer: BlobWriter | undefined;
}

function badCopy(what: string): MailError {
  return new MailError({ code: "INVALID", why: `a copy of a shard is malformed: ${what}` });
}
