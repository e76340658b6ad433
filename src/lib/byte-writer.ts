// Builds protocol output as bytes in one growing buffer: no string concatenation, no piece list.
// Used by renderers that write thousands of small fields. Knows no protocol.

import { asBuffer } from "./bytes.ts";

export class ByteWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(bytes = 1024) {
    this.#buffer = Buffer.allocUnsafeSlow(bytes);
  }

  get length(): number {
    return this.#length;
  }

  /** Text of U+0000..U+00FF only, one byte each. */
  ascii(text: string): this {
    this.#reserve(text.length);
    if (text.length > 24) {
      this.#length += this.#buffer.write(text, this.#length, "latin1");
      return this;
    }
    const buffer = this.#buffer;
    let at = this.#length;
    // Below some twenty characters this beats the call into native code.
    for (let index = 0; index < text.length; index++) buffer[at++] = text.charCodeAt(index);
    this.#length = at;
    return this;
  }

  utf8(text: string): this {
    this.#reserve(text.length * 3);
    this.#length += this.#buffer.write(text, this.#length, "utf8");
    return this;
  }

  byte(value: number): this {
    this.#reserve(1);
    this.#buffer[this.#length++] = value;
    return this;
  }

  bytes(bytes: Uint8Array): this {
    this.#reserve(bytes.byteLength);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.byteLength;
    return this;
  }

  /** A whole number 0..2^53-1 in decimal digits. */
  number(value: number): this {
    this.#reserve(16);
    const buffer = this.#buffer;
    let digits = 1;
    for (let bound = 10; bound <= value; bound *= 10) digits += 1;
    let rest = value;
    let at = this.#length + digits;
    while (rest > 0x7fff_ffff) {
      const next = Math.floor(rest / 10);
      buffer[--at] = 48 + (rest - next * 10);
      rest = next;
    }
    // From here on in 32-bit arithmetic, which is several times as fast.
    let small = rest | 0;
    while (at > this.#length) {
      const next = (small / 10) | 0;
      buffer[--at] = 48 + small - next * 10;
      small = next;
    }
    this.#length += digits;
    return this;
  }

  crlf(): this {
    this.#reserve(2);
    this.#buffer[this.#length++] = 13;
    this.#buffer[this.#length++] = 10;
    return this;
  }

  /** What was written, as a view: the next write or `reset` may change it. */
  view(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** What was written, for keeps; the writer starts anew with a fresh buffer of `nextBytes`. */
  take(nextBytes = 1024): Buffer {
    const taken = this.view();
    this.#buffer = Buffer.allocUnsafeSlow(nextBytes);
    this.#length = 0;
    return taken;
  }

  /** Forgets what is behind `length`, to take back a field. */
  truncate(length: number): void {
    this.#length = Math.min(length, this.#length);
  }

  reset(): void {
    this.#length = 0;
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#buffer.byteLength) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.byteLength * 2));
    grown.set(asBuffer(this.#buffer).subarray(0, this.#length));
    this.#buffer = grown;
  }
}
