// A growing byte buffer for rows and entry heads: fixed and variable numbers, bytes and text, big-endian.
// What is written here, byte-reader.ts reads. Knows nothing of what the bytes mean.

import { writeU16, writeU32 } from "../lib/bytes.ts";

/** Up to here two calls into native code cost more than a loop. Its length is one byte of varint. */
const shortTextMax = 48;

/** Up to here a loop is cheaper than the native copy and the view that it makes. */
const shortCopyMax = 64;

/** Writes values one behind the other; `take` copies them out and starts again. */
export class ByteWriter {
  #bytes: Buffer;
  #length = 0;

  constructor(capacityBytes = 1024) {
    this.#bytes = Buffer.allocUnsafe(capacityBytes);
  }

  get length(): number {
    return this.#length;
  }

  reset(): void {
    this.#length = 0;
  }

  u8(value: number): void {
    this.#room(1);
    this.#bytes[this.#length++] = value;
  }

  u16(value: number): void {
    this.#room(2);
    writeU16(this.#bytes, value, this.#length);
    this.#length += 2;
  }

  u32(value: number): void {
    this.#room(4);
    writeU32(this.#bytes, value, this.#length);
    this.#length += 4;
  }

  f64(value: number): void {
    this.#room(8);
    this.#length = this.#bytes.writeDoubleBE(value, this.#length);
  }

  /** An integer 0..2^53-1 in 1 to 8 bytes, seven bits each, lowest first. */
  varint(value: number): void {
    this.#room(8);
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest & 0x7f) | 0x80;
      rest = rest < 0x8000_0000 ? rest >>> 7 : Math.floor(rest / 128);
    }
    this.#bytes[this.#length++] = rest;
  }

  raw(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Bytes with their length in front. */
  bytes(bytes: Uint8Array): void {
    this.varint(bytes.length);
    this.raw(bytes);
  }

  /** UTF-8 with its length in bytes in front. */
  text(text: string): void {
    if (text.length <= shortTextMax && this.#shortAscii(text)) return;
    const length = Buffer.byteLength(text);
    this.varint(length);
    this.#room(length);
    this.#length += this.#bytes.write(text, this.#length, "utf8");
  }

  /** Latin-1 (for ASCII that is known to be so), without a length. */
  ascii(text: string): void {
    this.#room(text.length);
    this.#length += this.#bytes.write(text, this.#length, "latin1");
  }

  /** Bytes given as hex digits, without a length. */
  hex(digits: string): void {
    this.#room(digits.length / 2);
    this.#length += this.#bytes.write(digits, this.#length, "hex");
  }

  /** Numbers with their count in front. */
  varints(values: readonly number[]): void {
    this.varint(values.length);
    for (const value of values) this.varint(value);
  }

  /** A copy of what was written; the writer is empty again. */
  take(): Buffer {
    const length = this.#length;
    const out = Buffer.allocUnsafe(length);
    if (length > shortCopyMax) this.#bytes.copy(out, 0, 0, length);
    else for (let at = 0; at < length; at++) out[at] = this.#bytes[at] ?? 0;
    this.#length = 0;
    return out;
  }

  /** False, and nothing written, when there is more than ASCII. */
  #shortAscii(text: string): boolean {
    const { length } = text;
    this.#room(1 + length);
    const bytes = this.#bytes;
    const at = this.#length + 1;
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code > 0x7f) return false;
      bytes[at + i] = code;
    }
    bytes[at - 1] = length;
    this.#length = at + length;
    return true;
  }

  #room(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#length + count));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}
