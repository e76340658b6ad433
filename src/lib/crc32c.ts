// CRC-32C (Castagnoli), the checksum of every record on disk. One place for the native library,
// so that nobody mixes it up with zlib.crc32, which is another polynomial.

import { crc32c as native } from "@node-rs/crc32";

/** CRC-32C of `bytes`, u32. `before` is the checksum of the bytes in front, to go on from there. */
export function crc32c(bytes: Uint8Array, before = 0): number {
  return native(bytes, before);
}
