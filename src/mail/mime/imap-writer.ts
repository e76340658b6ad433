// Writes IMAP strings, NIL, numbers and our own text into one growing buffer. It knows the rules of
// quoted strings and literals; what to write where is the caller's business.

import { Buffer } from "node:buffer";

const firstBytes = 4096;
const keptBytesMax = 64 * 1024;
/** Longer strings go as literals: some clients bound the length of a line. */
const quotedCharactersMax = 1024;

/**
 * Field text here is "binary": one character a byte, as `latin1Slice` gives it.
 * A writer may be used again after `take`.
 */
export class ImapWriter {
  #bytes = Buffer.allocUnsafeSlow(firstBytes);
  #length = 0;

  /** Bytes written since the last `take`. */
  get length(): number {
    return this.#length;
  }

  /** ASCII text of our own, as it stands. */
  text(text: string): void {
    const size = text.length;
    this.#reserve(size);
    const bytes = this.#bytes;
    let at = this.#length;
    for (let i = 0; i < size; i++) bytes[at++] = text.charCodeAt(i);
    this.#length = at;
  }

  /** Rendered bytes, as they stand. */
  bytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Repeats what was written from `start` to `end`. */
  repeat(start: number, end: number): void {
    this.#reserve(end - start);
    this.#bytes.copyWithin(this.#length, start, end);
    this.#length += end - start;
  }

  number(value: number): void {
    this.text(String(value));
  }

  /** `string`, or NIL for undefined. */
  nstring(text: string | undefined): void {
    if (text === undefined) this.text("NIL");
    else this.string(text);
  }

  /**
   * Quoted when it can be, else a literal. RFC 3501 §4.3: no 8-bit, CR, LF or NUL in a quoted string.
   * 8-bit text goes as a literal to clients of both revisions, as Dovecot does.
   */
  string(text: string): void {
    const size = text.length;
    if (size > quotedCharactersMax) {
      this.#literal(text);
      return;
    }
    this.#reserve(2 * size + 2);
    const bytes = this.#bytes;
    let at = this.#length;
    bytes[at++] = 0x22;
    for (let i = 0; i < size; i++) {
      const code = text.charCodeAt(i);
      if (code === 0x22 || code === 0x5c) {
        bytes[at++] = 0x5c;
      } else if (code >= 0x80 || code === 0 || code === 10 || code === 13) {
        this.#literal(text);
        return;
      }
      bytes[at++] = code;
    }
    bytes[at++] = 0x22;
    this.#length = at;
  }

  /** A copy of what was written; the writer is empty afterwards. */
  take(): Buffer {
    const copy = Buffer.from(this.#bytes.subarray(0, this.#length));
    this.#length = 0;
    if (this.#bytes.length > keptBytesMax) this.#bytes = Buffer.allocUnsafeSlow(firstBytes);
    return copy;
  }

  // RFC 9051 §4.3: a literal holds no NUL; it becomes U+FFFD.
  #literal(text: string): void {
    const clean = text.includes("\0") ? text.replaceAll("\0", "\u00ef\u00bf\u00bd") : text;
    this.text(`{${clean.length}}\r\n`);
    this.#reserve(clean.length);
    this.#length += this.#bytes.write(clean, this.#length, "latin1");
  }

  #reserve(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#bytes.length));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }
}

/**
 * Header text as one line: folds and tabs become spaces, runs of spaces one, none at the ends.
 * Works on binary text, so U+00A0 (a byte of UTF-8) is left alone.
 */
export function oneLine(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  let before = 0;
  for (let i = start; i < end; i++) {
    const code = text.charCodeAt(i);
    if (isBlank(code) && (code !== 32 || before === 32)) return squeeze(text);
    before = code;
  }
  return text.slice(start, end);
}

/** Space, tab, CR, LF and the other controls up to CR that mail uses as blanks. */
export function isBlank(code: number): boolean {
  return code === 32 || (code >= 9 && code <= 13);
}

function squeeze(text: string): string {
  const parts: string[] = [];
  for (const part of text.split(/[ \t\r\n\v\f]+/)) if (part !== "") parts.push(part);
  return parts.join(" ");
}

/** Removes the CR and LF of folds and whatever other bare CR or LF there is. RFC 5322 §2.2.3 */
export function unfold(text: string): string {
  return text.includes("\n") || text.includes("\r") ? text.replaceAll(/[\r\n]+/g, "") : text;
}
