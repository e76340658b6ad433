// The bytes between DATA and the lone dot: undoes dot-stuffing, finds the end, and keeps bare CR and
// bare LF out of storage. Pure and incremental: any split into chunks gives the same result.

/** What is done with a CR or LF that is not part of a CRLF. */
export type BareNewlines = "normalise" | "reject";

export interface DataLimits {
  readonly bareNewlines: BareNewlines;
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
  readonly bytes: Uint8Array;
  readonly consumed: number;
  readonly ended: boolean;
}

const cr = 0x0d;
const lf = 0x0a;
const dot = 0x2e;

const lineStart = 0;
const inLine = 1;
const afterCr = 2;
const afterDot = 3;
const afterDotCr = 4;

/** RFC 5321 §4.5.2 (transparency) and §2.3.8 (only CRLF ends a line, only CRLF.CRLF ends the data). */
export class DataDecoder {
  readonly faults: DataFaults = { bareNewline: false, longLine: false };
  readonly #limits: DataLimits;
  #state = lineStart;
  #lineBytes = 0;

  constructor(limits: DataLimits) {
    this.#limits = limits;
  }

  /** Decodes what it can of `chunk`. Bytes pass through as a view when nothing had to change. */
  push(chunk: Uint8Array): DataStep {
    const out = new Output(chunk);
    let state = this.#state;
    let line = this.#lineBytes;
    const { length } = chunk;
    for (let i = 0; i < length; i++) {
      const byte = chunk[i] ?? 0;
      if (state === inLine && byte > cr) {
        line++;
        continue;
      }
      switch (state) {
        case afterDot:
          if (byte === cr) {
            state = afterDotCr;
            out.drop(i);
            continue;
          }
          // A stuffed dot: the first dot was dropped, what follows is the line.
          state = inLine;
          break;
        case afterDotCr:
          if (byte === lf) {
            out.drop(i);
            this.#state = lineStart;
            return { bytes: out.finish(i), consumed: i + 1, ended: true };
          }
          // `.` CR without LF is content: the dropped CR comes back, as a bare one.
          state = afterCr;
          out.restoreCr(i);
          break;
        default:
          break;
      }
      if (state === afterCr) {
        if (byte === lf) {
          if (line > this.#limits.lineBytesMax) this.faults.longLine = true;
          line = 0;
          state = lineStart;
          continue;
        }
        this.faults.bareNewline = true;
        out.insert(i, lf); // A bare CR becomes CRLF, and does not start a line: no dot is undone after it.
        line = 0;
        state = inLine;
      }
      if (state === lineStart && byte === dot && this.#limits.dots) {
        out.drop(i);
        state = afterDot;
      } else if (byte === cr) {
        state = afterCr;
      } else if (byte === lf) {
        this.faults.bareNewline = true;
        out.insert(i, cr);
        line = 0;
        state = inLine;
      } else {
        state = inLine;
        line++;
      }
    }
    if (line > this.#limits.lineBytesMax) this.faults.longLine = true;
    this.#state = state;
    this.#lineBytes = line;
    return { bytes: out.finish(length), consumed: length, ended: false };
  }
}

/** The chunk with some bytes dropped or inserted: a view while nothing changed, then a copy. */
class Output {
  readonly #chunk: Uint8Array;
  #copy: Uint8Array | undefined;
  #length = 0;
  /** First byte of the chunk that is not yet in the copy. */
  #from = 0;

  constructor(chunk: Uint8Array) {
    this.#chunk = chunk;
  }

  drop(index: number): void {
    this.#take(index);
    this.#from = index + 1;
  }

  /** Puts `byte` before the byte at `index`. */
  insert(index: number, byte: number): void {
    this.#take(index);
    this.#put(byte);
  }

  /** Puts back a CR that was dropped before `index`. */
  restoreCr(index: number): void {
    this.insert(index, cr);
  }

  finish(end: number): Uint8Array {
    if (this.#copy === undefined) return this.#chunk.subarray(this.#from, end);
    this.#take(end);
    return this.#copy.subarray(0, this.#length);
  }

  #take(end: number): void {
    const run = end - this.#from;
    const copy = this.#room(run);
    if (run > 24) copy.set(this.#chunk.subarray(this.#from, end), this.#length);
    else for (let i = 0; i < run; i++) copy[this.#length + i] = this.#chunk[this.#from + i] ?? 0;
    this.#length += Math.max(0, run);
    this.#from = Math.max(this.#from, end);
  }

  #put(byte: number): void {
    this.#room(1)[this.#length] = byte;
    this.#length++;
  }

  #room(more: number): Uint8Array {
    const wanted = this.#length + more;
    const old = this.#copy;
    if (old !== undefined && wanted <= old.length) return old;
    const copy = Buffer.allocUnsafe(Math.max(wanted, this.#chunk.length + 64, 2 * this.#length));
    if (old !== undefined) copy.set(old.subarray(0, this.#length));
    this.#copy = copy;
    return copy;
  }
}
