// The piece of a stream that a scanner still needs: a view of the caller's chunk while nothing is
// carried over, else an own buffer that grows by doubling. Bounded by what the scanner keeps.

import { Buffer } from "node:buffer";

export const lf = 10;
export const cr = 13;
export const dash = 0x2d;
const empty = Buffer.alloc(0);

export class ByteWindow {
  /** Bytes at hand. Valid until the next `append` or `keepFrom`. */
  bytes: Buffer = empty;
  /** Offset of `bytes[0]` in the stream. */
  start = 0;
  #own: Buffer | undefined;
  #ownStart = 0;
  // The two bytes before `bytes[0]`, -1 before the stream's beginning.
  #before1 = -1;
  #before2 = -1;

  /** Stream offset behind the last byte at hand. */
  get end(): number {
    return this.start + this.bytes.length;
  }

  /** The byte at index `at`, which may be -1 or -2: bytes already dropped. */
  byteAt(at: number): number {
    if (at >= 0) return this.bytes[at] ?? -1;
    return at === -1 ? this.#before1 : this.#before2;
  }

  append(chunk: Buffer): void {
    const size = this.bytes.length;
    if (size === 0) {
      this.bytes = chunk;
      this.#own = undefined;
      return;
    }
    const needed = this.#ownStart + size + chunk.length;
    if (this.#own === undefined || needed > this.#own.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(1024, 2 * (size + chunk.length)));
      grown.set(this.bytes);
      this.#own = grown;
      this.#ownStart = 0;
    }
    this.#own.set(chunk, this.#ownStart + size);
    this.bytes = this.#own.subarray(this.#ownStart, this.#ownStart + size + chunk.length);
  }

  /** Drops the bytes before index `at` and stops borrowing the last chunk's memory. */
  keepFrom(at: number): void {
    const before1 = this.byteAt(at - 1);
    const before2 = this.byteAt(at - 2);
    const rest = this.bytes.length - at;
    if (rest === 0) {
      this.bytes = empty;
      this.#own = undefined;
    } else if (this.#own === undefined) {
      this.#own = Buffer.allocUnsafeSlow(Math.max(1024, 2 * rest));
      this.#own.set(this.bytes.subarray(at));
      this.#ownStart = 0;
      this.bytes = this.#own.subarray(0, rest);
    } else {
      this.#ownStart += at;
      this.bytes = this.bytes.subarray(at);
    }
    this.start += at;
    this.#before1 = before1;
    this.#before2 = before2;
  }
}

/** Number of LF from index `start` to `end`. */
export function countLf(bytes: Buffer, start: number, end: number): number {
  let count = 0;
  for (let i = start; i < end; i++) if (bytes[i] === lf) count++;
  return count;
}

/** The blanks that may follow a delimiter on its line; a CR is one, too. */
export function isTrailing(byte: number): boolean {
  return byte === 32 || byte === 9 || byte === cr;
}

/** Index of the first LF at or behind `from`, -1 when there is none; quick for short lines. */
export function indexOfLf(bytes: Buffer, from: number): number {
  const near = Math.min(bytes.length, from + 48);
  for (let i = from; i < near; i++) if (bytes[i] === lf) return i;
  return near === bytes.length ? -1 : bytes.indexOf(lf, near);
}
