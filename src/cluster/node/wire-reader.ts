// Reads the packed bodies of answers and requests: numbers of variable length and text, as the
// store's ByteWriter writes them. Bytes come from a peer, so what does not fit is INVALID, not a bug.

import { malformed } from "./decode.ts";

export class WireReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array | undefined) {
    this.#bytes =
      bytes === undefined
        ? Buffer.alloc(0)
        : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Bytes not read yet. */
  get left(): number {
    return this.#bytes.byteLength - this.#at;
  }

  /** An integer 0..2^53-1. */
  varint(): number {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 49; scale *= 128) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined) break;
      this.#at += 1;
      value += (byte & 0x7f) * scale;
      if (byte >= 0x80) continue;
      if (!Number.isSafeInteger(value)) break;
      return value;
    }
    throw malformed("number");
  }

  /** A count of things that take at least one byte each. */
  count(): number {
    const count = this.varint();
    if (count > this.left) throw malformed("count");
    return count;
  }

  text(): string {
    const length = this.count();
    const text = this.#bytes.toString("utf8", this.#at, this.#at + length);
    this.#at += length;
    return text;
  }

  /** Bytes with their length in front, not copied. */
  bytes(): Buffer {
    const length = this.count();
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return bytes;
  }

  /** A safe integer of either sign, written as a double. */
  integer(): number {
    if (this.left < 8) throw malformed("number");
    const value = this.#bytes.readDoubleBE(this.#at);
    this.#at += 8;
    if (!Number.isSafeInteger(value)) throw malformed("number");
    return value;
  }

  /** Ends the reading: nothing may be left. */
  end(): void {
    if (this.left > 0) throw malformed("body");
  }
}
