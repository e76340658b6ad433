// Bytes as numbers, big-endian, and views of bytes as Node Buffers. V8 calls a method of a Buffer by
// looking it up each time, which takes 9 ns; a function of ours is part of its caller's code and takes 1.

import { assert } from "./assert.ts";

/** The same memory as a Buffer. Copies nothing. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Reads a number of 2 bytes, which must be there. */
export function readU16(bytes: Uint8Array, at: number): number {
  const last = bytes[at + 1];
  assert(last !== undefined, "a number has all its bytes");
  return ((bytes[at] ?? 0) << 8) | last;
}

/** Reads a number of 4 bytes, which must be there. */
export function readU32(bytes: Uint8Array, at: number): number {
  const last = bytes[at + 3];
  assert(last !== undefined, "a number has all its bytes");
  const high = ((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16);
  return (high | ((bytes[at + 2] ?? 0) << 8) | last) >>> 0;
}

/** Writes an integer 0..2^16-1 as 2 bytes, for which there must be room. */
export function writeU16(bytes: Uint8Array, value: number, at: number): void {
  assert((value & 0xffff) === value && at + 2 <= bytes.length, "a number fits into its bytes");
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** Writes an integer 0..2^32-1 as 4 bytes, for which there must be room. */
export function writeU32(bytes: Uint8Array, value: number, at: number): void {
  assert(value >>> 0 === value && at + 4 <= bytes.length, "a number fits into its bytes");
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** Reads a number of 8 bytes; the caller knows that it is a safe integer. */
export function readU53(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at) * 2 ** 32 + readU32(bytes, at + 4);
}

/** Writes a safe integer as 8 bytes. */
export function writeU53(bytes: Uint8Array, value: number, at: number): void {
  writeU32(bytes, Math.floor(value / 2 ** 32), at);
  writeU32(bytes, value % 2 ** 32, at + 4);
}

/** Reads a number of 6 bytes. */
export function readU48(bytes: Uint8Array, at: number): number {
  return readU16(bytes, at) * 2 ** 32 + readU32(bytes, at + 2);
}

/** Writes an integer below 2^48 as 6 bytes. */
export function writeU48(bytes: Uint8Array, value: number, at: number): void {
  writeU16(bytes, Math.floor(value / 2 ** 32), at);
  writeU32(bytes, value % 2 ** 32, at + 2);
}
