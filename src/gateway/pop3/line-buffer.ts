// Cuts a byte stream into lines under a limit that may differ from line to line. Holds at most one
// chunk and one unfinished line; the caller reads no more from the socket while lines are left.

const lineFeed = 0x0a;
const carriageReturn = 0x0d;

export type BufferedLine =
  | { readonly kind: "line"; readonly bytes: Uint8Array }
  /** Told once, when the line has ended; its bytes were dropped on the way. */
  | { readonly kind: "tooLong" };

export class LineBuffer {
  #bytes: Buffer = Buffer.alloc(0);
  /** Bytes of `#bytes` known to hold no line end. */
  #scanned = 0;
  #dropping = false;

  push(chunk: Uint8Array): void {
    this.#bytes =
      this.#bytes.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#bytes, chunk]);
  }

  /** Forgets everything, unfinished lines too. RFC 2595 §4, RFC 8314: nothing said before TLS counts. */
  clear(): void {
    this.#bytes = Buffer.alloc(0);
    this.#scanned = 0;
    this.#dropping = false;
  }

  /**
   * The next whole line without its CRLF (a bare LF ends a line too), or undefined when more bytes
   * are needed. `lineBytesMax` is asked with the line's first bytes and counts the line end.
   */
  next(lineBytesMax: (start: Uint8Array) => number): BufferedLine | undefined {
    const end = this.#bytes.indexOf(lineFeed, this.#scanned);
    const length = end < 0 ? this.#bytes.length : end + 1;
    if (!this.#dropping && length > lineBytesMax(this.#bytes.subarray(0, 8))) this.#dropping = true;
    if (end < 0) {
      if (this.#dropping) this.#bytes = Buffer.alloc(0);
      this.#scanned = this.#bytes.length;
      return undefined;
    }
    const stop = end > 0 && this.#bytes[end - 1] === carriageReturn ? end - 1 : end;
    const bytes = this.#bytes.subarray(0, stop);
    this.#bytes = this.#bytes.subarray(end + 1);
    this.#scanned = 0;
    if (!this.#dropping) return { kind: "line", bytes };
    this.#dropping = false;
    return { kind: "tooLong" };
  }
}
