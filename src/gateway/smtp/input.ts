// The input side of an SMTP connection: splits it into command lines, message data (DATA) and counted
// pieces (BDAT), one thing at a time and in order. Stands in for smtp-server's own parser, which is
// slow on dot floods and has no BDAT. Leaves what commands mean to the connection.

import { SMTPStream } from "smtp-server/lib/smtp-stream.js";

/** Takes message bytes. Returns a promise to hold the client back until it resolves. */
export interface DataSink {
  /** @returns how many bytes were used and whether the data ended with them. */
  push(chunk: Buffer): {
    readonly consumed: number;
    readonly ended: boolean;
    readonly wait?: Promise<void> | undefined;
  };
}

/** What the connection does with the input. `next` (a field of the input) asks for the next line. */
export interface InputHandlers {
  /** A command line without its CRLF. Call `next` once when it is dealt with. */
  readonly line: (line: Buffer, next: () => void) => void;
  /** A line was longer than allowed and has been skipped. Call `next` as for a line. */
  readonly longLine: (next: () => void) => void;
  /** All that came is dealt with: replies held back must go out. RFC 2920 §3.2 */
  readonly empty: () => void;
  /** A handler or sink threw. */
  readonly failed: (error: unknown) => void;
  /** The longest acceptable line, given what has come of it. */
  readonly lineBytesMax: (begun: Buffer) => number;
}

const commandsWithoutYield = 100;
const lf = 0x0a;
const cr = 0x0d;
const nothing: Buffer = Buffer.alloc(0);

/** smtp-server pipes its socket into this, and sets `isClosed` when no more may be done. */
export class SmtpInput extends SMTPStream {
  readonly #handlers: InputHandlers;
  #chunk = nothing;
  #offset = 0;
  #partial = nothing;
  /** The rest of an overlong line is being skipped. */
  #skipping = false;
  #sink: DataSink | undefined;
  /** A command waits for its reply. */
  #busy = false;
  /** The sink asked to hold the client back. */
  #held = false;
  #pumping = false;
  #again = false;
  #commands = 0;
  #dataFed = 0;
  #done: ((error?: Error) => void) | undefined;

  constructor(handlers: InputHandlers) {
    super();
    this.#handlers = handlers;
  }

  /** Whom we wait for: the client's next command or message bytes, or ourselves. */
  get waitsFor(): "command" | "data" | "us" {
    if (this.#sink !== undefined) return this.#held ? "us" : "data";
    return this.#busy ? "us" : "command";
  }

  /** Message bytes given to sinks so far. */
  get dataFed(): number {
    return this.#dataFed;
  }

  /** Bytes from here on go to `sink` until it says that they ended. Called while a line is dealt with. */
  startData(sink: DataSink): void {
    this.#sink = sink;
    this.#pump();
  }

  /** The line is dealt with; the next one may come. */
  readonly next = (): void => {
    this.#busy = false;
    this.#commands++;
    // One client's flood of commands must not keep the others waiting.
    if (this.#commands % commandsWithoutYield === 0) setImmediate(this.#pump);
    else this.#pump();
  };

  override _write(
    chunk: Buffer,
    _encoding: BufferEncoding,
    done: (error?: Error | null) => void,
  ): void {
    this.#chunk = chunk;
    this.#offset = 0;
    this.#done = done;
    this.#pump();
  }

  readonly #pump = (): void => {
    if (this.#pumping) {
      this.#again = true;
      return;
    }
    this.#pumping = true;
    try {
      do {
        this.#again = false;
        while (this.#step());
      } while (this.#again);
    } catch (error) {
      this.isClosed = true;
      this.#handlers.failed(error);
    } finally {
      this.#pumping = false;
    }
    if (this.isClosed) this.#finish();
    else if (!this.#busy && this.#offset >= this.#chunk.length) this.#handlers.empty();
  };

  /** @returns true when there may be more to do at once. */
  #step(): boolean {
    if (this.isClosed) return this.#finish();
    if (this.#held) return false;
    if (this.#sink !== undefined) return this.#feed(this.#sink);
    if (this.#busy) return false;
    return this.#readLine();
  }

  #feed(sink: DataSink): boolean {
    if (this.#offset >= this.#chunk.length) return this.#finish();
    const { consumed, ended, wait } = sink.push(this.#chunk.subarray(this.#offset));
    this.#offset += consumed;
    this.#dataFed += consumed;
    if (ended) this.#sink = undefined;
    if (wait === undefined) return true;
    this.#held = true;
    const goOn = (): void => {
      this.#held = false;
      this.#pump();
    };
    wait.then(goOn, goOn); // A failed sink answers for itself; here it only stops holding back.
    return false;
  }

  #readLine(): boolean {
    const end = this.#chunk.indexOf(lf, this.#offset);
    const piece = this.#chunk.subarray(this.#offset, end === -1 ? undefined : end);
    this.#offset = end === -1 ? this.#chunk.length : end + 1;
    if (end === -1) {
      this.#keep(piece);
      return this.#finish();
    }
    let line = this.#partial.length === 0 ? piece : Buffer.concat([this.#partial, piece]);
    this.#partial = nothing;
    const tooLong = this.#skipping || this.#isTooLong(line);
    this.#skipping = false;
    this.#busy = true;
    if (tooLong) {
      this.#handlers.longLine(this.next);
    } else {
      if (line.at(-1) === cr) line = line.subarray(0, -1);
      this.#handlers.line(line, this.next);
    }
    return !this.#busy && this.#commands % commandsWithoutYield !== 0;
  }

  /** The beginning of a line waits for its end, as long as it is not too long. */
  #keep(piece: Buffer): void {
    if (this.#skipping || piece.length === 0) return;
    this.#partial = Buffer.concat([this.#partial, piece]);
    if (!this.#isTooLong(this.#partial)) return;
    this.#skipping = true;
    this.#partial = nothing;
  }

  #isTooLong(line: Buffer): boolean {
    // RFC 5321 §4.5.3.1.4 wants 512 at least; below that nobody needs to ask.
    return line.length > 512 && line.length > this.#handlers.lineBytesMax(line);
  }

  #finish(): boolean {
    const done = this.#done;
    this.#done = undefined;
    if (done !== undefined) {
      this.#chunk = nothing;
      this.#offset = 0;
      done();
    }
    return false;
  }
}
