// The bytes between DATA and the lone dot: undoes dot-stuffing, finds the end, and keeps bare CR and
// bare LF out of storage. Pure and incremental: any split into chunks gives the same result.

/** What is done with a CR or LF that is not part of a CRLF. */
export type BareNewlines = "normalise" | "reject";

export interface DataLimits {
  /** Bytes of the longest acceptable line, its CRLF apart. */
  readonly lineBytesMax: number;
  /** False for BDAT, which counts its bytes: dots mean nothing there. RFC 3030 §2 */
  readonly dots: boolean;
}

/** Faults noticed on the way; the message is read to its end all the same, then refused. */
export interface DataFaults {
  bareNewline: boolean;
  longLine: boolean;
}

/** One piece of decoded data. `consumed` bytes of the chunk were used; the rest follows the end of data. */
export interface DataStep {
  readonly bytes: Buffer;
  readonly consumed: number;
  readonly ended: boolean;
}

const cr = 0x0d;
const lf = 0x0a;
const dot = 0x2e;

const lineStart = 0;
const inLine = 1;
const afterCr = 2;
/** Behind a dot that began a line; it is not in the output. */
const afterDot = 3;
/** Behind a CR that followed such a dot; neither is in the output. */
const afterDotCr = 4;

/** RFC 5321 §4.5.2 (transparency) and §2.3.8 (only CRLF ends a line, only CRLF.CRLF ends the data). */
export class DataDecoder {
  readonly faults: DataFaults = { bareNewline: false, longLine: false };
  readonly #dots: boolean;
  readonly #lineBytesMax: number;
  #state = lineStart;
  /** Bytes of the line that earlier chunks began. */
  #lineBytes = 0;

  constructor(limits: DataLimits) {
    this.#dots = limits.dots;
    this.#lineBytesMax = limits.lineBytesMax;
  }

  /** Decodes what it can of `chunk`. Bytes pass through as a view when nothing inside had to change. */
  push(chunk: Buffer): DataStep {
    const { length } = chunk;
    const out = new Kept(chunk);
    let state = this.#state;
    let lineFrom = -this.#lineBytes;
    let i = 0;
    while (i < length) {
      let byte = chunk[i] ?? 0;
      switch (state) {
        case lineStart:
          lineFrom = i;
          state = inLine;
          if (byte !== dot || !this.#dots) continue;
          out.cut(i, i + 1);
          state = afterDot;
          break;
        case inLine:
          while (byte !== cr && byte !== lf && ++i < length) byte = chunk[i] ?? 0;
          if (i === length) continue;
          this.#endLine(i - lineFrom);
          lineFrom = i + 1;
          if (byte === cr) {
            state = afterCr;
            if (i + 1 === length || chunk[i + 1] !== lf) break;
            // The common case at once: a whole CRLF.
            state = lineStart;
            i += 2;
            continue;
          } else {
            // A bare LF becomes CRLF and begins no line: a dot behind it is neither stuffed nor the end.
            this.faults.bareNewline = true;
            out.insert(i, cr);
          }
          break;
        case afterCr:
          if (byte === lf) {
            state = lineStart;
            break;
          }
          // A bare CR becomes CRLF, and begins no line either. This byte is looked at again.
          this.faults.bareNewline = true;
          out.insert(i, lf);
          lineFrom = i;
          state = inLine;
          continue;
        case afterDot:
          if (byte !== cr) {
            // A stuffed dot; what follows it is the line.
            state = inLine;
            continue;
          }
          out.cut(i, i + 1);
          state = afterDotCr;
          break;
        default:
          if (byte === lf) {
            this.#state = lineStart;
            this.#lineBytes = 0;
            return { bytes: out.finish(i), consumed: i + 1, ended: true };
          }
          // Dot, CR, no LF: the dot was a stuffed one, and the CR is content, a bare one.
          out.insert(i, cr);
          state = afterCr;
          continue;
      }
      i++;
    }
    this.#state = state;
    this.#lineBytes = Math.max(0, length - lineFrom);
    if (state === inLine) this.#endLine(length - lineFrom);
    return { bytes: out.finish(length), consumed: length, ended: false };
  }

  /** What is to be added when counted data end here: the LF of a CR at the very end. */
  finish(): Buffer | undefined {
    if (this.#state !== afterCr) return undefined;
    this.#state = lineStart;
    this.faults.bareNewline = true;
    return Buffer.of(lf);
  }

  #endLine(bytes: number): void {
    if (bytes > this.#lineBytesMax) this.faults.longLine = true;
  }
}

/** What is kept of a chunk: a view as long as it is one piece, else a copy. */
class Kept {
  readonly #chunk: Buffer;
  #copy: Buffer | undefined;
  #copied = 0;
  /** The first piece; empty while there is none. */
  #firstFrom = 0;
  #firstEnd = 0;
  /** Where the piece begins that is not yet noted. */
  #from = 0;

  constructor(chunk: Buffer) {
    this.#chunk = chunk;
  }

  /** Leaves out the bytes from `end` up to `next`. */
  cut(end: number, next: number): void {
    this.#keep(end);
    this.#from = next;
  }

  /** Puts `byte` before the byte at `at`. */
  insert(at: number, byte: number): void {
    this.#keep(at);
    this.#from = at;
    const copy = this.#roomForRest();
    copy[this.#copied++] = byte;
  }

  finish(end: number): Buffer {
    this.#keep(end);
    return this.#copy === undefined
      ? this.#chunk.subarray(this.#firstFrom, this.#firstEnd)
      : this.#copy.subarray(0, this.#copied);
  }

  #keep(end: number): void {
    if (end <= this.#from) return;
    if (this.#copy === undefined && this.#firstEnd === this.#firstFrom) {
      this.#firstFrom = this.#from;
      this.#firstEnd = end;
      return;
    }
    const copy = this.#copy ?? this.#roomForRest();
    let to = this.#copied;
    if (end - this.#from > 32) to += this.#chunk.copy(copy, to, this.#from, end);
    else for (let i = this.#from; i < end; i++) copy[to++] = this.#chunk[i] ?? 0;
    this.#copied = to;
  }

  /** The copy, with room for one byte and all that may still be kept, and the first piece in it. */
  #roomForRest(): Buffer {
    const old = this.#copy;
    const rest = this.#chunk.length - this.#from;
    if (old === undefined) {
      const copy = Buffer.allocUnsafe(this.#chunk.length + 64);
      this.#copied = this.#chunk.copy(copy, 0, this.#firstFrom, this.#firstEnd);
      this.#copy = copy;
      return copy;
    }
    if (this.#copied + 1 + rest <= old.length) return old;
    const copy = Buffer.allocUnsafe(this.#copied + 1 + 2 * rest);
    old.copy(copy, 0, 0, this.#copied);
    this.#copy = copy;
    return copy;
  }
}
