// The form of one record: a fixed header with two checksums, then head and body. The header's own
// checksum covers the other one, so a flipped bit in a body still leaves known whose body it was.
// Knows no file and no order of records; chains and replay are in shard-table.ts and recovery.ts.

import { assert } from "../../lib/assert.ts";
import {
  asBuffer,
  readU16,
  readU32,
  readU48,
  readU53,
  writeU16,
  writeU32,
  writeU48,
  writeU53,
} from "../../lib/bytes.ts";
import { crc32c } from "../../lib/crc32c.ts";
import { epoch, lsn, opId, shardId, shardMax } from "../../mail/ids.ts";
import type { Epoch, Lsn, OpId, ShardId } from "../../mail/ids.ts";
import type { ChainHash, RawEntry } from "./types.ts";

/** Numbers are part of the format: never reused. */
export const recordType = {
  /** One entry of a shard's log. */
  entry: 1,
  /** Epoch, sealed epoch and configuration of a shard. */
  config: 2,
  /** The shard's log goes on behind (lsn, prevHash); what it held above is void. */
  cut: 3,
  /** The copy was made anew: the shard's log goes on behind (lsn, prevHash), all before is applied. */
  restart: 4,
  /** The shard's commit mark. */
  commit: 5,
  /** Opens a group: everything before it was synced when it was written. */
  group: 6,
  /** A body that garbage rewriting copied; `kind` is its part. */
  body: 7,
  /** The copy is being made anew: what it held is void, and it is no copy before a restart record. */
  abandon: 8,
  /** An entry of a tail-first log: the entry's record with another type, and so another checksum. */
  tailEntry: 9,
  /** Begin, cut or end of a shard's tail-first log; `kind` says which. */
  tailMark: 10,
} as const;

export type RecordType = (typeof recordType)[keyof typeof recordType];

export const headerBytes = 64;
/** A record is at most this long, header included; larger bodies go to blob files. */
export const recordBytesMax = 1_000_000;
export const opIdNone = opId("0".repeat(32));

const at = {
  headerCrc: 0,
  length: 4,
  contentCrc: 8,
  type: 12,
  reserved: 13,
  shard: 14,
  kind: 16,
  epoch: 18,
  lsn: 24,
  commitMark: 30,
  opId: 36,
  prevHash: 52,
  headLength: 60,
} as const;

/** What an encoder is told; absent numbers are 0. */
export interface RecordFields {
  readonly type: RecordType;
  readonly shard: ShardId;
  readonly kind: number;
  readonly epoch: Epoch;
  readonly lsn: Lsn;
  readonly commitMark: Lsn;
  readonly opId: OpId;
  readonly prevHash: ChainHash;
}

export interface RecordHeader extends Omit<RecordFields, "opId"> {
  /** Of the whole record. */
  readonly length: number;
  readonly headLength: number;
}

/** Header and head in one fresh buffer; the body goes behind it, uncopied. */
export function encodeRecord(fields: RecordFields, head: Uint8Array, body?: Uint8Array): Buffer {
  const bodyBytes = body === undefined ? 0 : body.byteLength;
  const buffer = Buffer.allocUnsafe(headerBytes + head.byteLength);
  assert(fields.shard >= 0 && fields.shard <= shardMax, "a shard is 0..4095");
  assert(fields.kind >= 0 && fields.kind <= 0xffff, "a record's kind has 16 bits");
  writeU32(buffer, buffer.byteLength + bodyBytes, at.length);
  buffer[at.type] = fields.type;
  buffer[at.reserved] = 0;
  writeU16(buffer, fields.shard, at.shard);
  writeU16(buffer, fields.kind, at.kind);
  writeU48(buffer, fields.epoch, at.epoch);
  writeU48(buffer, fields.lsn, at.lsn);
  writeU48(buffer, fields.commitMark, at.commitMark);
  assert(buffer.write(fields.opId, at.opId, 16, "hex") === 16, "an opId is 32 hex digits");
  writeU53(buffer, fields.prevHash, at.prevHash);
  writeU32(buffer, head.byteLength, at.headLength);
  buffer.set(head, headerBytes);
  let contentCrc = crc32c(buffer, 0, headerBytes);
  if (body !== undefined) contentCrc = crc32c(body, contentCrc);
  writeU32(buffer, contentCrc, at.contentCrc);
  writeU32(buffer, crc32c(buffer, 0, at.length, headerBytes), at.headerCrc);
  return buffer;
}

/**
 * The header at `offset`, or why there is none. `short` means that fewer bytes are here than a
 * header has, which may be no fault of the record.
 */
export function decodeHeader(buffer: Buffer, offset: number): RecordHeader | "short" | "bad" {
  if (offset + headerBytes > buffer.byteLength) return "short";
  const checksum = crc32c(buffer, 0, offset + at.length, offset + headerBytes);
  if (readU32(buffer, offset + at.headerCrc) !== checksum) return "bad";
  const length = readU32(buffer, offset + at.length);
  const headLength = readU32(buffer, offset + at.headLength);
  const type = decodeType(buffer.readUInt8(offset + at.type));
  const shard = readU16(buffer, offset + at.shard);
  const prevHash = readU53(buffer, offset + at.prevHash);
  if (type === undefined || shard > shardMax || !Number.isSafeInteger(prevHash)) return "bad";
  if (length > recordBytesMax || headerBytes + headLength > length) return "bad";
  return {
    type,
    shard: shardId(shard),
    kind: readU16(buffer, offset + at.kind),
    epoch: epoch(readU48(buffer, offset + at.epoch)),
    lsn: lsn(readU48(buffer, offset + at.lsn)),
    commitMark: lsn(readU48(buffer, offset + at.commitMark)),
    prevHash,
    length,
    headLength,
  };
}

/** True when head and body, which must be wholly in `buffer`, have the checksum of the header. */
export function contentIntact(buffer: Buffer, offset: number, length: number): boolean {
  const checksum = crc32c(buffer, 0, offset + headerBytes, offset + length);
  return readU32(buffer, offset + at.contentCrc) === checksum;
}

export function opIdAt(buffer: Buffer, offset: number): OpId {
  return opId(buffer.toString("hex", offset + at.opId, offset + at.opId + 16));
}

/**
 * Hash of the chain with the entry at `offset` as its newest. It covers the header's checksum, and
 * with it every byte of the record and the hash before. MurmurHash3's mixing in two lanes.
 */
export function chainHash(buffer: Buffer, offset: number): ChainHash {
  let low = 0x9747b28c;
  let high = 0x3c6ef372;
  for (let word = offset; word < offset + headerBytes; word += 4) {
    const value = readU32(buffer, word);
    low = mixIn(low, value, 0xcc9e2d51, 0x1b873593);
    high = mixIn(high, value, 0x85ebca6b, 0xc2b2ae35);
  }
  // 21 + 32 bits: a safe integer. Never 0, which stands for "no entry yet".
  return (finish(high ^ low) >>> 11) * 2 ** 32 + (finish(low) >>> 0 || 1);
}

/** Decodes an entry as shipped by a primary; views, no copies. Undefined when any byte is wrong. */
export function decodeEntry(record: Uint8Array): RawEntry | undefined {
  const buffer = asBuffer(record);
  const header = decodeHeader(buffer, 0);
  if (header === "bad" || header === "short") return undefined;
  if (header.type !== recordType.entry || header.length !== record.byteLength) return undefined;
  if (!contentIntact(buffer, 0, header.length)) return undefined;
  return {
    shard: header.shard,
    lsn: header.lsn,
    epoch: header.epoch,
    opId: opIdAt(buffer, 0),
    kind: header.kind,
    commitMark: header.commitMark,
    prevHash: header.prevHash,
    hash: chainHash(buffer, 0),
    head: buffer.subarray(headerBytes, headerBytes + header.headLength),
    body: buffer.subarray(headerBytes + header.headLength),
  };
}

/** An entry's record as it lies in a tail-first log: a fresh header, the rest uncopied. */
export function asTailRecord(record: Uint8Array): { header: Buffer; rest: Uint8Array } {
  const header = Buffer.from(record.subarray(0, headerBytes));
  retype(header, recordType.tailEntry);
  return { header, rest: record.subarray(headerBytes) };
}

/** The entry's record again, from its header on, in a fresh buffer. */
export function fromTailRecord(record: Uint8Array): Buffer {
  const copy = Buffer.from(record);
  retype(copy, recordType.entry);
  return copy;
}

function retype(buffer: Buffer, type: RecordType): void {
  buffer[at.type] = type;
  writeU32(buffer, crc32c(buffer.subarray(at.length, headerBytes)), at.headerCrc);
}

const types: readonly (RecordType | undefined)[] = [undefined, ...Object.values(recordType)];

function decodeType(value: number): RecordType | undefined {
  return types[value];
}

function mixIn(hash: number, word: number, first: number, second: number): number {
  const scaled = Math.imul(word, first);
  const turned = Math.imul((scaled << 15) | (scaled >>> 17), second);
  const mixed = hash ^ turned;
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(hash: number): number {
  const first = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  const second = Math.imul(first ^ (first >>> 13), 0xc2b2ae35);
  return (second ^ (second >>> 16)) >>> 0;
}
