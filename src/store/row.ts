// The frame of every LevelDB value: crc32c(key + value) | version | payload. LevelDB itself does not
// notice a flipped bit, nor a value that sits under the wrong key.

import { readU32, writeU32 } from "../lib/bytes.ts";
import { crc32c } from "../lib/crc32c.ts";
import { MailError } from "../mail/errors.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";

const version = 1;
/** Where a value's payload begins. */
export const rowHeaderBytes = 5;
const shared = new ByteWriter(4096);

/** Starts a row: write the payload into the writer that is returned, then call `endRow`, without waiting between. */
export function beginRow(): ByteWriter {
  shared.reset();
  shared.u32(0);
  shared.u8(version);
  return shared;
}

/** The finished value for `key`. */
export function endRow(key: Buffer): Buffer {
  const value = shared.take();
  writeU32(value, checksum(key, value), 0);
  return value;
}

/** A value without payload, for keys that say everything. */
export function emptyRow(key: Buffer): Buffer {
  beginRow();
  return endRow(key);
}

/** Reader of a value's payload. @throws MailError DAMAGED */
export function openRow(key: Buffer, value: Buffer): ByteReader {
  if (!rowIsSound(key, value)) {
    throw new MailError({ code: "DAMAGED", what: `row ${key.toString("hex")}` });
  }
  return new ByteReader(value, rowHeaderBytes);
}

/** Reader of the payload of a value that has been found sound. */
export function payloadOf(value: Buffer): ByteReader {
  return new ByteReader(value, rowHeaderBytes);
}

/** True when checksum and version are right. */
export function rowIsSound(key: Buffer, value: Buffer): boolean {
  return (
    value.length >= rowHeaderBytes &&
    readU32(value, 0) === checksum(key, value) &&
    value[4] === version
  );
}

function checksum(key: Buffer, value: Buffer): number {
  return crc32c(value, crc32c(key), 4);
}
