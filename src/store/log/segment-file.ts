// A segment file's name and first bytes, and walking through its records. Leaves what the records
// mean to recovery and to the index of the log window.

import { asBuffer, readU48, writeU48 } from "../../lib/bytes.ts";
import { crc32c } from "../../lib/crc32c.ts";
import type { DiskFile } from "../../lib/disk.ts";
import { MailError } from "../../mail/errors.ts";
import { epoch, lsn, shardId, storeId, type StoreId } from "../../mail/ids.ts";
import {
  contentIntact,
  decodeHeader,
  encodeRecord,
  headerBytes,
  opIdNone,
  type RecordHeader,
  recordBytesMax,
  recordType,
} from "./record.ts";
import type { Position } from "./types.ts";

export const segmentHeaderBytes = 64;
/** 1: the first. 2: records `abandon`, `tailEntry` and `tailMark`, which a program of 1 would take for damage. */
export const formatVersion = 2;

const magic = Buffer.from("PABALSEG", "latin1");
const saltBytes = 16;
const readAheadBytes = 1_048_576;

export interface SegmentHeader {
  readonly segment: number;
  readonly storeId: StoreId;
  readonly createdMs: number;
  /** 16 random bytes: no mail can contain a group record of this segment by intent. */
  readonly salt: Uint8Array;
}

export function segmentPath(folder: string, segment: number): string {
  return `${folder}/${segment.toString().padStart(10, "0")}.seg`;
}

/** The number in a file name, or undefined when the name is not a segment's. */
export function segmentOfName(name: string): number | undefined {
  const digits = /^(\d{10})\.seg$/.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const buffer = Buffer.alloc(segmentHeaderBytes);
  magic.copy(buffer, 0);
  buffer.writeUInt32BE(formatVersion, 8);
  buffer.writeUInt32BE(header.segment, 12);
  buffer.write(header.storeId, 16, 16, "hex");
  buffer.set(header.salt, 32);
  writeU48(buffer, header.createdMs, 48);
  buffer.writeUInt32BE(crc32c(buffer.subarray(0, 60)), 60);
  return buffer;
}

/**
 * Undefined when the bytes are no intact header.
 * @throws {MailError} INVALID when a newer Pabal wrote it.
 */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeader | undefined {
  const buffer = asBuffer(bytes);
  if (buffer.byteLength < segmentHeaderBytes) return undefined;
  if (!buffer.subarray(0, 8).equals(magic)) return undefined;
  if (buffer.readUInt32BE(60) !== crc32c(buffer.subarray(0, 60))) return undefined;
  refuseNewer("segment", buffer.readUInt32BE(8));
  return {
    segment: buffer.readUInt32BE(12),
    storeId: storeId(buffer.toString("hex", 16, 32)),
    salt: Uint8Array.from(buffer.subarray(32, 32 + saltBytes)),
    createdMs: readU48(buffer, 48),
  };
}

/** @throws {MailError} INVALID when `version` is newer than this program's. */
export function refuseNewer(what: string, version: number): void {
  if (version <= formatVersion) return;
  const why = `the ${what} has format ${version}, this Pabal knows ${formatVersion}: start the newer Pabal that wrote it`;
  throw new MailError({ code: "INVALID", why });
}

export function encodeGroup(salt: Uint8Array, position: Position): Buffer {
  const head = Buffer.alloc(saltBytes + 8);
  head.set(salt, 0);
  head.writeUInt32BE(position.segment, saltBytes);
  head.writeUInt32BE(position.offset, saltBytes + 4);
  return encodeRecord(
    {
      type: recordType.group,
      shard: shardId(0),
      kind: 0,
      epoch: epoch(0),
      lsn: lsn(0),
      commitMark: lsn(0),
      opId: opIdNone,
      prevHash: 0,
    },
    head,
  );
}

export const groupBytes = headerBytes + saltBytes + 8;

/** True when an intact group record of this very place begins at `at` in `buffer`. */
export function isGroupAt(
  buffer: Buffer,
  at: number,
  salt: Uint8Array,
  position: Position,
): boolean {
  if (at < 0 || at + groupBytes > buffer.byteLength) return false;
  const expected = encodeGroup(salt, position);
  return buffer.subarray(at, at + groupBytes).equals(expected);
}

/** Offset of the first group record at or behind `from`, or undefined. Reads to the end of the file. */
export async function findGroup(
  file: DiskFile,
  segment: number,
  salt: Uint8Array,
  from: number,
): Promise<number | undefined> {
  const size = await file.size();
  for (let base = from; base < size; base += readAheadBytes) {
    const chunk = asBuffer(await file.read(base, readAheadBytes + groupBytes));
    let found = chunk.indexOf(salt);
    while (found >= 0) {
      const start = found - headerBytes;
      const position = { segment, offset: base + start };
      if (isGroupAt(chunk, start, salt, position)) return base + start;
      found = chunk.indexOf(salt, found + 1);
    }
  }
  return undefined;
}

/** One record of a walk; `buffer` is only good until the next one. */
export interface WalkedRecord {
  readonly header: RecordHeader;
  readonly buffer: Buffer;
  /** Where the record begins in `buffer`. */
  readonly at: number;
  /** Where it begins in the file. */
  readonly offset: number;
}

export interface WalkEnd {
  readonly kind: "end" | "bad";
  /** End of the last good record. */
  readonly offset: number;
  /** Present when only head or body are bad: whose record it is can be trusted. */
  readonly header?: RecordHeader;
}

/**
 * Visits the intact records from `from` to the end of the file or the first bad one. With
 * `headersOnly` the content's checksum is not looked at.
 */
export async function walkSegment(
  file: DiskFile,
  from: number,
  headersOnly: boolean,
  visit: (record: WalkedRecord) => void | Promise<void>,
): Promise<WalkEnd> {
  let base = from;
  let buffer = asBuffer(await file.read(base, readAheadBytes));
  let at = 0;
  for (;;) {
    const header = decodeHeader(buffer, at);
    const whole = typeof header === "object" && at + header.length <= buffer.byteLength;
    if (header === "bad") return { kind: "bad", offset: base + at };
    if (typeof header === "object" && whole) {
      if (!headersOnly && !contentIntact(buffer, at, header.length)) {
        return { kind: "bad", offset: base + at, header };
      }
      const waiting = visit({ header, buffer, at, offset: base + at });
      if (waiting !== undefined) await waiting;
      at += header.length;
      continue;
    }
    const left = buffer.byteLength - at;
    base += at;
    at = 0;
    // Longer than any record, so a second short read means that the file ends inside this one.
    buffer = asBuffer(await file.read(base, Math.max(readAheadBytes, recordBytesMax)));
    if (buffer.byteLength === 0) return { kind: "end", offset: base };
    if (buffer.byteLength === left) return { kind: "bad", offset: base };
  }
}
