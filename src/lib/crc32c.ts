// CRC-32C (Castagnoli), the checksum of every record on disk. One place for the native library,
// so that nobody mixes it up with zlib.crc32, which is another polynomial.

import { crc32c as native } from "@node-rs/crc32";

/**
 * CRC-32C of the bytes `from`..`end`, all by default, u32. `before` is the checksum of the bytes in
 * front, to go on from there.
 */
export function crc32c(bytes: Uint8Array, before = 0, from = 0, end = bytes.length): number {
  if (end - from <= scriptBytesMax) return inScript(bytes, before, from, end);
  return native(from === 0 && end === bytes.length ? bytes : bytes.subarray(from, end), before);
}

/** Up to here a call into native code costs more than it saves: 180 against 74 ns at 64 bytes. */
const scriptBytesMax = 128;

/** Eight bytes a step, a table for each of them ("slicing by 8"). */
function inScript(bytes: Uint8Array, before: number, from: number, end: number): number {
  let crc = ~before;
  let at = from;
  for (; at + 8 <= end; at += 8) {
    crc ^= word(bytes, at);
    crc =
      entry(7, crc & 0xff) ^
      entry(6, (crc >>> 8) & 0xff) ^
      entry(5, (crc >>> 16) & 0xff) ^
      entry(4, crc >>> 24) ^
      entry(3, bytes[at + 4] ?? 0) ^
      entry(2, bytes[at + 5] ?? 0) ^
      entry(1, bytes[at + 6] ?? 0) ^
      entry(0, bytes[at + 7] ?? 0);
  }
  for (; at < end; at++) crc = entry(0, (crc ^ (bytes[at] ?? 0)) & 0xff) ^ (crc >>> 8);
  return ~crc >>> 0;
}

function word(bytes: Uint8Array, at: number): number {
  const low = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
  return low | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
}

const polynomial = 0x82f6_3b78;
/** Table k, at k × 256: what a byte does to the checksum k bytes further on. */
const tables = makeTables();

function entry(table: number, byte: number): number {
  return tables[table * 256 + byte] ?? 0;
}

function makeTables(): Int32Array {
  const made = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ polynomial;
    made[byte] = crc;
  }
  for (let at = 256; at < made.length; at++) {
    const before = made[at - 256] ?? 0;
    made[at] = (before >>> 8) ^ (made[before & 0xff] ?? 0);
  }
  return made;
}
