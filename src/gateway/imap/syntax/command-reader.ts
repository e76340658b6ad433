// Cuts the client's byte stream into commands, whatever the chunks: lines, kept literals inside
// them, and literals that are passed on in pieces. Pure; every byte is looked at once and copied at
// most a constant number of times. Limits and replies are the caller's (input.ts, literal-policy.ts).

import { CR, LF } from "./characters.ts";

export type ReaderEvent =
  /** A whole command without its line end; kept literals are inside as they came on the wire. */
  | { readonly kind: "command"; readonly text: Uint8Array }
  /** A line ended in a literal marker. `keep`, `stream` or `abandon` must be called before `next`. */
  | {
      readonly kind: "literal";
      /** The command so far, up to and with the marker. */
      readonly text: Uint8Array;
      readonly size: number;
      /** False for `{n+}`: the client sends without waiting. RFC 7888 §4 */
      readonly sync: boolean;
    }
  /** A piece of a streamed literal; `left` bytes of it come behind this piece. */
  | { readonly kind: "data"; readonly bytes: Uint8Array; readonly left: number }
  /** The command is longer than the limit. The reader is of no more use. */
  | { readonly kind: "tooLong"; readonly text: Uint8Array };

const nothing = new Uint8Array(0);
/** Digits of the largest literal size that is understood: below 2^53. */
const sizeDigitsMax = 15;

export class CommandReader {
  #buffer: Uint8Array = nothing;
  /** True when #buffer is ours to append to, false for a chunk taken over from the socket. */
  #owned = false;
  /** First byte of the command in hand, first byte not yet searched for LF, end of the bytes. */
  #start = 0;
  #scan = 0;
  #end = 0;
  /** Where the line in hand begins: behind the last kept literal. */
  #lineStart = 0;
  /** Bytes of a streamed literal that are still to come. */
  #stream = 0;
  /** A literal was announced and no decision made. */
  #pending: { markerEnd: number; readonly size: number } | undefined;

  /** Bytes that are held. */
  get buffered(): number {
    return this.#end - this.#start;
  }

  /** Bytes of a streamed literal that have not been handed out yet. */
  get streaming(): number {
    return this.#stream;
  }

  /** Adds bytes from the client. Bytes handed out before stay as they are. */
  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    if (this.#start === this.#end) {
      this.#buffer = chunk;
      this.#owned = false;
      this.#start = this.#scan = this.#lineStart = 0;
      this.#end = chunk.length;
      return;
    }
    const held = this.#end - this.#start;
    if (!this.#owned || this.#end + chunk.length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(2 * held, held + chunk.length, 256));
      larger.set(this.#buffer.subarray(this.#start, this.#end));
      this.#scan -= this.#start;
      this.#lineStart -= this.#start;
      if (this.#pending !== undefined) this.#pending.markerEnd -= this.#start;
      this.#buffer = larger;
      this.#owned = true;
      this.#start = 0;
      this.#end = held;
    }
    this.#buffer.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  /** Forgets everything, half lines and literals included. RFC 9051 §6.2.1 (STARTTLS) */
  clear(): void {
    this.#buffer = nothing;
    this.#start = this.#scan = this.#lineStart = this.#end = this.#stream = 0;
    this.#pending = undefined;
  }

  /** Everything that is held, between two commands. The reader is empty afterwards. */
  takeAll(): Uint8Array {
    const held = this.#held();
    this.clear();
    return held;
  }

  /**
   * The next event, or undefined until more is pushed.
   * @param limitBytes The longest command, kept literals included.
   */
  next(limitBytes: number): ReaderEvent | undefined {
    if (this.#stream > 0) return this.#nextData();
    const lineEnd = this.#findLineEnd(limitBytes);
    if (lineEnd === undefined) return undefined;
    if (lineEnd - this.#start > limitBytes) return { kind: "tooLong", text: this.#held() };
    const textEnd = this.#textEnd(lineEnd);
    const text = this.#buffer.subarray(this.#start, textEnd);
    const marker = literalMarker(this.#buffer, this.#lineStart, textEnd);
    if (marker === undefined) {
      this.#consumeTo(lineEnd + 1);
      return { kind: "command", text };
    }
    this.#pending = { markerEnd: lineEnd + 1, size: marker.size };
    return { kind: "literal", text, size: marker.size, sync: marker.sync };
  }

  /** The next line as it is, without literals: for AUTHENTICATE and IDLE. */
  nextLine(limitBytes: number): ReaderEvent | undefined {
    const lineEnd = this.#findLineEnd(limitBytes);
    if (lineEnd === undefined) return undefined;
    if (lineEnd - this.#start > limitBytes) return { kind: "tooLong", text: this.#held() };
    const text = this.#buffer.subarray(this.#start, this.#textEnd(lineEnd));
    this.#consumeTo(lineEnd + 1);
    return { kind: "command", text };
  }

  /** The announced literal becomes part of the command. */
  keep(): void {
    const { markerEnd, size } = this.#takePending();
    this.#lineStart = this.#scan = markerEnd + size;
  }
  /** The announced literal comes as `data` events; the command goes on behind it with a new text. */
  stream(): void {
    const { markerEnd, size } = this.#takePending();
    this.#consumeTo(markerEnd);
    this.#stream = size;
  }
  /** The command ends here, refused: its literal is not sent. */
  abandon(): void {
    this.#consumeTo(this.#takePending().markerEnd);
  }

  #takePending(): { readonly markerEnd: number; readonly size: number } {
    const pending = this.#pending ?? { markerEnd: this.#end, size: 0 };
    this.#pending = undefined;
    return pending;
  }

  #nextData(): ReaderEvent | undefined {
    const held = this.#end - this.#start;
    if (held === 0) return undefined;
    const size = Math.min(held, this.#stream);
    const bytes = this.#buffer.subarray(this.#start, this.#start + size);
    this.#stream -= size;
    this.#consumeTo(this.#start + size);
    return { kind: "data", bytes, left: this.#stream };
  }

  #consumeTo(position: number): void {
    this.#start = this.#scan = this.#lineStart = position;
    if (this.#start < this.#end) return;
    this.#buffer = nothing; // An idle connection holds no buffer.
    this.#start = this.#scan = this.#lineStart = this.#end = 0;
  }

  #held(): Uint8Array {
    return this.#buffer.subarray(this.#start, this.#end);
  }

  /** Index of the LF that ends the line in hand; the end of the bytes when the limit is passed. */
  #findLineEnd(limitBytes: number): number | undefined {
    if (this.#scan < this.#end) {
      const found = this.#buffer.subarray(0, this.#end).indexOf(LF, this.#scan);
      if (found >= 0) return found;
      this.#scan = this.#end;
    }
    return this.#end - this.#start > limitBytes ? this.#end : undefined;
  }

  /** RFC 9051 §2.2: lines end in CRLF; a bare LF is tolerated. */
  #textEnd(lineEnd: number): number {
    return lineEnd > this.#lineStart && this.#buffer[lineEnd - 1] === CR ? lineEnd - 1 : lineEnd;
  }
}

/** Parses `{n}` or `{n+}` at the end of a line that begins at `from`. */
function literalMarker(
  bytes: Uint8Array,
  from: number,
  end: number,
): { readonly size: number; readonly sync: boolean } | undefined {
  let at = end - 1;
  if (at < from || bytes[at] !== 0x7d) return undefined;
  at--;
  const sync = bytes[at] !== 0x2b;
  if (!sync) at--;
  const digitsEnd = at + 1;
  while (at >= from && isDigitAt(bytes, at)) at--;
  const digits = digitsEnd - at - 1;
  if (at < from || bytes[at] !== 0x7b || digits === 0) return undefined;
  if (digits > sizeDigitsMax) return { size: Number.MAX_SAFE_INTEGER, sync };
  let size = 0;
  for (let i = at + 1; i < digitsEnd; i++) size = size * 10 + (bytes[i] ?? 0) - 0x30;
  return { size, sync };
}

function isDigitAt(bytes: Uint8Array, at: number): boolean {
  const byte = bytes[at] ?? 0;
  return byte >= 0x30 && byte <= 0x39;
}
