// Reading a full copy of a shard out of a store that goes on serving: rows from one snapshot of the
// index, bodies from segments and blob files, piece by piece. What the pieces are is shard-copy.ts.

import { crc32c } from "../lib/crc32c.ts";
import { MailError, isMailError } from "../mail/errors.ts";
import { accountId, lsn as makeLsn } from "../mail/ids.ts";
import type { AccountId, Lsn, ShardId } from "../mail/ids.ts";
import { bodyTag } from "./apply-rows.ts";
import type { Location } from "./journal.ts";
import {
  accountInKey,
  accountKey,
  afterPrefix,
  bodyKey,
  bodyTable,
  space,
  table,
} from "./keyspace.ts";
import type { BlobStore } from "./log/blob-store.ts";
import { decodeEntry } from "./log/record.ts";
import { SegmentGone } from "./log/segment-reader.ts";
import type { ChainHash, SegmentLog } from "./log/types.ts";
import { openRow, rowIsSound } from "./row.ts";
import { readPlace, readQuota, readRegistrationRow } from "./rows.ts";
import type { BodyPlace } from "./rows.ts";
import type { CopiedBody, CopyPiece, CopyPoint } from "./shard-copy.ts";
import {
  accountList,
  accountPrefix,
  accountSpaces,
  numberedSpaces,
  shardPrefix,
} from "./shard-rows.ts";
import type { RowSnapshot, WriteQueue } from "./write-queue.ts";

export interface ExportParts {
  readonly rows: WriteQueue;
  readonly log: SegmentLog;
  readonly blobs: BlobStore;
  /** Stops what removes or rewrites, until the function it resolves with is called. */
  readonly hold: () => Promise<() => void>;
  /** Replaces a damaged body by another member's; true when its place is settled, one way or the other. */
  readonly mend: (tag: number, lsn: number) => Promise<boolean>;
}

const pieceBytes = 256 * 1024;
const bodiesPerPiece = 512;
const estimateBatch = 1000;

/** @see ShardCopies.exportShard */
export async function* exportShard(
  parts: ExportParts,
  shard: ShardId,
  signal: AbortSignal,
): AsyncGenerator<CopyPiece> {
  const release = await parts.hold();
  try {
    if (parts.log.state(shard).damaged) {
      throw new MailError({ code: "DAMAGED", what: `shard ${shard} on this node` });
    }
    // What is written out at checkpoints only is in the picture, too.
    await parts.log.checkpoint();
    const taken = await parts.rows.snapshot(() => standOf(parts.log, shard));
    try {
      yield* new Export(parts, shard, taken.rows, signal).pieces(taken.mark);
    } finally {
      await taken.rows.close();
    }
  } finally {
    release();
  }
}

interface Stand {
  readonly lsn: Lsn;
  /** Known at once when the log ends there. */
  readonly hash: ChainHash | undefined;
}

function standOf(log: SegmentLog, shard: ShardId): Stand {
  const { applied, lastLsn, lastHash } = log.state(shard);
  return { lsn: applied, hash: applied === lastLsn ? lastHash : undefined };
}

/** The unapplied tail is always in the log, and its first entry names the hash before it. */
async function pointOf(log: SegmentLog, shard: ShardId, stand: Stand): Promise<CopyPoint> {
  const known = stand.hash ?? (await log.hashAt(shard, stand.lsn));
  if (known !== undefined) return { lsn: stand.lsn, hash: known };
  const read = await log.readEntries(shard, makeLsn(stand.lsn + 1), 1);
  const record = read.kind === "entries" ? read.records[0] : undefined;
  const next = record === undefined ? undefined : decodeEntry(record);
  if (next === undefined) throw new MailError({ code: "UNAVAILABLE", why: "the log has moved on" });
  return { lsn: stand.lsn, hash: next.prevHash };
}

class Export {
  readonly #parts: ExportParts;
  readonly #shard: ShardId;
  readonly #snapshot: RowSnapshot;
  readonly #signal: AbortSignal;
  /** Rows that wait for a full piece. */
  #packed: Buffer[] = [];
  #packedBytes = 0;
  #rows = 0;
  #bodies = 0;

  constructor(parts: ExportParts, shard: ShardId, snapshot: RowSnapshot, signal: AbortSignal) {
    this.#parts = parts;
    this.#shard = shard;
    this.#snapshot = snapshot;
    this.#signal = signal;
  }

  async *pieces(stand: Stand): AsyncGenerator<CopyPiece> {
    const point = await pointOf(this.#parts.log, this.#shard, stand);
    yield { kind: "begin", shard: this.#shard, point, ...(await this.#estimate()) };
    for (const which of numberedSpaces) yield* this.#range(shardPrefix(which, this.#shard));
    for await (const account of this.#accounts()) {
      for (const which of accountSpaces) yield* this.#range(accountPrefix(which, account));
    }
    yield* this.#bodyRows();
    yield* this.#flush(true);
    yield { kind: "end", rows: this.#rows, bodies: this.#bodies };
  }

  async #estimate(): Promise<{ readonly accounts: number; readonly bytes: number }> {
    let accounts = 0;
    let bytes = 0;
    let keys: Buffer[] = [];
    const add = async (): Promise<void> => {
      const values = await this.#parts.rows.getManyAt(this.#snapshot, keys);
      for (const [at, key] of keys.entries()) {
        const value = values[at];
        if (value === undefined || !rowIsSound(key, value)) continue;
        bytes += readQuota(openRow(key, value)).bytes;
      }
      keys = [];
    };
    for await (const account of this.#accounts()) {
      accounts++;
      keys.push(accountKey(account, table.quota));
      if (keys.length === estimateBatch) await add();
    }
    if (keys.length > 0) await add();
    return { accounts, bytes };
  }

  /** Accounts that live here; one that has moved away may still be listed. */
  async *#accounts(): AsyncGenerator<AccountId> {
    const list = accountList(this.#shard);
    for await (const batch of this.#read(list)) {
      const accounts = batch.map(([key]) => accountId(accountInKey(key, 4)));
      const keys = accounts.map((account) => accountKey(account, table.registration));
      const values = await this.#parts.rows.getManyAt(this.#snapshot, keys);
      for (const [at, account] of accounts.entries()) {
        const key = keys[at];
        const value = values[at];
        if (key === undefined || value === undefined) continue;
        const sound = rowIsSound(key, value);
        if (!sound || readRegistrationRow(openRow(key, value)).shard === this.#shard) yield account;
      }
    }
  }

  #read(prefix: Buffer): AsyncGenerator<[Buffer, Buffer][]> {
    this.#signal.throwIfAborted();
    return this.#parts.rows.rangeAt(this.#snapshot, prefix, afterPrefix(prefix));
  }

  /** Rows as they are: a damaged one stays known as damaged by its checksum. */
  async *#range(prefix: Buffer): AsyncGenerator<CopyPiece> {
    for await (const batch of this.#read(prefix)) {
      this.#signal.throwIfAborted();
      for (const [key, value] of batch) {
        this.#pack(key, value);
        if (this.#packedBytes >= pieceBytes) yield* this.#flush(false);
      }
    }
  }

  #pack(key: Buffer, value: Buffer): void {
    const lengths = Buffer.allocUnsafe(8);
    lengths.writeUInt32BE(key.length, 0);
    lengths.writeUInt32BE(value.length, 4);
    this.#packed.push(lengths, key, value);
    this.#packedBytes += 8 + key.length + value.length;
    this.#rows++;
  }

  /** Whole pieces of the stream of rows, and with `all` what is left of it. */
  *#flush(all: boolean): Generator<CopyPiece> {
    const bytes = Buffer.concat(this.#packed, this.#packedBytes);
    this.#packed = [];
    this.#packedBytes = 0;
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const last = at + pieceBytes >= bytes.length;
      if (last && !all && at > 0) {
        this.#packed = [bytes.subarray(at)];
        this.#packedBytes = bytes.length - at;
        return;
      }
      yield { kind: "rows", bytes: bytes.subarray(at, at + pieceBytes) };
    }
  }

  /** Owners are rows like others; a place is this node's own, so what lies there goes instead. */
  async *#bodyRows(): AsyncGenerator<CopyPiece> {
    let batch: InSegment[] = [];
    let bytes = 0;
    for await (const rows of this.#read(shardPrefix(space.body, this.#shard))) {
      for (const [key, value] of rows) {
        if (key[11] !== bodyTable.location) {
          this.#pack(key, value);
          continue;
        }
        this.#bodies++;
        const name = { lsn: key.readUIntBE(3, 6), part: key.readUInt16BE(9) };
        const place = rowIsSound(key, value) ? readPlace(openRow(key, value)) : lostPlace;
        if (place.kind === "blob") {
          yield* this.#blob(name, place);
          continue;
        }
        batch.push({ place, ...name });
        bytes += place.length;
        if (bytes < pieceBytes && batch.length < bodiesPerPiece) continue;
        yield* this.#bodyPieces(batch);
        batch = [];
        bytes = 0;
      }
      if (this.#packedBytes >= pieceBytes) yield* this.#flush(false);
    }
    yield* this.#bodyPieces(batch);
  }

  async *#bodyPieces(batch: readonly InSegment[]): AsyncGenerator<CopyPiece> {
    this.#signal.throwIfAborted();
    const found = await this.#readAll(batch);
    let bodies: CopiedBody[] = [];
    let parts: Uint8Array[] = [];
    let bytes = 0;
    for (const [at, { lsn, part, place }] of batch.entries()) {
      const body = found[at] ?? (await this.#mended(lsn, part, place));
      if (bytes > 0 && bytes + place.length > pieceBytes) {
        yield { kind: "bodies", bodies, bytes: Buffer.concat(parts) };
        [bodies, parts, bytes] = [[], [], 0];
      }
      const crc = body === undefined ? undefined : crc32c(body);
      bodies.push({ lsn, part, length: place.length, crc });
      if (body === undefined) continue;
      parts.push(body);
      bytes += place.length;
    }
    if (bodies.length > 0) yield { kind: "bodies", bodies, bytes: Buffer.concat(parts) };
  }

  /** What is damaged here may be whole at another member, which may be about to leave. */
  async #mended(
    lsn: number,
    part: number,
    { kind, length }: InSegment["place"],
  ): Promise<Uint8Array | undefined> {
    const { mend, rows, log } = this.#parts;
    const tag = bodyTag(this.#shard, part);
    if (kind === "lost" || !(await mend(tag, lsn))) return undefined;
    const key = bodyKey(tag, lsn);
    const value = await rows.get(key);
    const place =
      value === undefined || !rowIsSound(key, value) ? lostPlace : readPlace(openRow(key, value));
    if (place.kind !== "segment" || place.length !== length) return undefined;
    const whole = await log.read(place.location);
    return whole.subarray(place.offset, place.offset + length);
  }

  /** The bytes of each, or undefined where they are damaged. */
  async #readAll(batch: readonly InSegment[]): Promise<readonly (Uint8Array | undefined)[]> {
    const places = batch.map(({ place }) => (place.kind === "segment" ? place : undefined));
    const locations = places.flatMap((place) => place?.location ?? []);
    const wholes = await this.#readTogether(locations);
    let next = 0;
    return places.map((place) => {
      if (place === undefined) return undefined;
      const whole = wholes[next++];
      if (whole === undefined || whole.length < place.offset + place.length) return undefined;
      return whole.subarray(place.offset, place.offset + place.length);
    });
  }

  async #readTogether(
    locations: readonly Location[],
  ): Promise<readonly (Uint8Array | undefined)[]> {
    const { log } = this.#parts;
    try {
      return await log.readMany(locations);
    } catch (error) {
      if (!isHarm(error)) throw error;
    }
    const found: (Uint8Array | undefined)[] = [];
    for (const location of locations) {
      found.push(
        await log.read(location).catch((error: unknown) => {
          if (!isHarm(error)) throw error;
          return undefined;
        }),
      );
    }
    return found;
  }

  /** As it lies here: who takes it in compares length and digest. */
  async *#blob(
    name: { readonly lsn: number; readonly part: number },
    place: Extract<BodyPlace, { kind: "blob" }>,
  ): AsyncGenerator<CopyPiece> {
    const { id, length, sha256 } = place;
    yield { kind: "blob", ...name, name: id, length, sha256 };
    let parts: Uint8Array[] = [];
    let bytes = 0;
    try {
      for await (const part of this.#parts.blobs.stream(id, 0, length)) {
        this.#signal.throwIfAborted();
        parts.push(part);
        bytes += part.length;
        if (bytes < pieceBytes) continue;
        yield { kind: "blobBytes", bytes: Buffer.concat(parts), last: false };
        [parts, bytes] = [[], 0];
      }
    } catch (error) {
      if (!isMailError(error, "DAMAGED")) throw error;
    }
    yield { kind: "blobBytes", bytes: Buffer.concat(parts), last: true };
  }
}

interface InSegment {
  readonly lsn: number;
  readonly part: number;
  readonly place: Exclude<BodyPlace, { kind: "blob" }>;
}

const lostPlace: BodyPlace = { kind: "lost", length: 0 };

/** The bytes are not what they were, or not there: nothing is removed while a copy is read. */
function isHarm(error: unknown): boolean {
  return isMailError(error, "DAMAGED") || error instanceof SegmentGone;
}
