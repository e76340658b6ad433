// Reads what byte-writer.ts wrote. The bytes have passed their checksum before, so a value beyond
// the end is a bug of ours (or of an other version) and ends the process.

import { assert } from "../lib/assert.ts";
import { asBuffer, readU16, readU32 } from "../lib/bytes.ts";

export class ByteReader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = asBuffer(bytes);
    this.#at = at;
  }

  get at(): number {
    return this.#at;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  u8(): number {
    const value = this.#bytes[this.#at++];
    assert(value !== undefined, "a record has all its bytes");
    return value;
  }

  u16(): number {
    const value = readU16(this.#bytes, this.#at);
    this.#at += 2;
    return value;
  }

  u32(): number {
    const value = readU32(this.#bytes, this.#at);
    this.#at += 4;
    return value;
  }

  f64(): number {
    const value = this.#bytes.readDoubleBE(this.#at);
    this.#at += 8;
    return value;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
      assert(scale <= 2 ** 49, "a varint has at most eight bytes");
    }
  }

  /** The next `count` bytes, not copied. */
  raw(count: number): Buffer {
    assert(this.#at + count <= this.#bytes.length, "a record has all its bytes");
    const out = this.#bytes.subarray(this.#at, this.#at + count);
    this.#at += count;
    return out;
  }

  /** Bytes with their length in front, not copied. */
  bytes(): Buffer {
    return this.raw(this.varint());
  }

  text(): string {
    const length = this.varint();
    assert(this.#at + length <= this.#bytes.length, "a record has all its bytes");
    const text = this.#bytes.toString("utf8", this.#at, this.#at + length);
    this.#at += length;
    return text;
  }

  varints(): number[] {
    const count = this.varint();
    assert(count <= this.#bytes.length, "a list is not longer than its record");
    const values = new Array<number>(count);
    for (let i = 0; i < count; i++) values[i] = this.varint();
    return values;
  }
}
