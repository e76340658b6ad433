// Turns a stored message into the lines of a multi-line reply: dots stuffed, bare LF made CRLF, cut
// after the header and some lines for TOP. Works chunk by chunk and keeps no more than a few flags.

const lineFeed = 0x0a;
const carriageReturn = 0x0d;
const dot = 0x2e;

/** RFC 1939 §3: a line that starts with the termination octet gets another one in front. */
export class DotStuffer {
  #atLineStart = true;
  #afterReturn = false;

  /** The chunk as it goes out; the same bytes, not copied, when nothing must change. */
  push(chunk: Uint8Array): Uint8Array {
    if (chunk.length === 0) return chunk;
    const out = this.#mustChange(chunk) ? this.#changed(chunk) : chunk;
    const last = chunk[chunk.length - 1];
    this.#atLineStart = last === lineFeed;
    this.#afterReturn = last === carriageReturn;
    return out;
  }

  /** What ends the reply: a line end if the last line has none, then the dot. */
  end(): Uint8Array {
    if (this.#atLineStart) return Buffer.from(".\r\n");
    return Buffer.from(this.#afterReturn ? "\n.\r\n" : "\r\n.\r\n");
  }

  #mustChange(chunk: Uint8Array): boolean {
    if (this.#atLineStart && chunk[0] === dot) return true;
    if (chunk[0] === lineFeed && !this.#afterReturn) return true;
    for (let at = chunk.indexOf(lineFeed); at >= 0; at = chunk.indexOf(lineFeed, at + 1)) {
      if (chunk[at + 1] === dot) return true;
      if (at > 0 && chunk[at - 1] !== carriageReturn) return true;
    }
    return false;
  }

  #changed(chunk: Uint8Array): Uint8Array {
    const out = Buffer.allocUnsafe(2 * chunk.length); // At worst each byte gets one more.
    let length = 0;
    let atLineStart = this.#atLineStart;
    let afterReturn = this.#afterReturn;
    for (const byte of chunk) {
      if (byte === dot && atLineStart) out[length++] = dot;
      else if (byte === lineFeed && !afterReturn) out[length++] = carriageReturn;
      out[length++] = byte;
      atLineStart = byte === lineFeed;
      afterReturn = byte === carriageReturn;
    }
    return out.subarray(0, length);
  }
}

/** RFC 1939 §7 TOP: the header, the empty line, and so many lines of the body. */
export class TopCutter {
  #inHeader = true;
  #linesLeft: number;
  /** True while the current line holds nothing but perhaps a CR. */
  #lineEmpty = true;

  constructor(lines: number) {
    this.#linesLeft = lines;
  }

  /** True once nothing more is wanted. */
  get done(): boolean {
    return !this.#inHeader && this.#linesLeft <= 0;
  }

  /** The part of the chunk that is wanted. */
  push(chunk: Uint8Array): Uint8Array {
    for (let at = 0; at < chunk.length; at++) {
      if (this.done) return chunk.subarray(0, at);
      const byte = chunk[at];
      if (byte !== lineFeed) {
        if (byte !== carriageReturn) this.#lineEmpty = false;
        continue;
      }
      if (!this.#inHeader) this.#linesLeft--;
      else if (this.#lineEmpty) this.#inHeader = false;
      this.#lineEmpty = true;
    }
    return chunk;
  }
}
