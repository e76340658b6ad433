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
    readonly wait?: Promise<void>;
  };
}

const commandsWithoutYield = 100;
const lf = 0x0a;
const cr = 0x0d;

/** Speaks the interface of smtp-server's SMTPStream: `oncommand(line, next)`, `isClosed`, `_dataMode`. */
export class SmtpInput extends SMTPStream {
  readonly #lineBytesMax: () => number;
  #chunk: Buffer = Buffer.alloc(0);
  #offset = 0;
  #partial: Buffer = Buffer.alloc(0);
  #sink: DataSink | undefined;
  /** A command waits for its reply. */
  #busy = false;
  /** The sink asked to hold the client back. */
  #held = false;
  #pumping = false;
  #again = false;
  #commands = 0;
  #done: ((error?: Error) => void) | undefined;

  /** `lineBytesMax` is asked for each line: an authentication exchange may have longer ones. */
  constructor(lineBytesMax: () => number) {
    super();
    this.#lineBytesMax = lineBytesMax;
  }

  /** Bytes from here on go to `sink` until it says that they ended. Called from within `oncommand`. */
  startData(sink: DataSink): void {
    this.#sink = sink;
    this._dataMode = true; // smtp-server tells a slow client from a slow handler by it.
    this.#pump();
  }

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

  #pump(): void {
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
    } finally {
      this.#pumping = false;
    }
  }

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
    if (ended) {
      this.#sink = undefined;
      this._dataMode = false;
    }
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
    if (end === -1) {
      const rest = this.#chunk.subarray(this.#offset);
      this.#partial =
        this.#partial.length === 0 ? Buffer.from(rest) : Buffer.concat([this.#partial, rest]);
      if (this.#partial.length > this.#lineBytesMax()) return this.#fail();
      this.#offset = this.#chunk.length;
      return this.#finish();
    }
    let line = this.#chunk.subarray(this.#offset, end);
    this.#offset = end + 1;
    if (this.#partial.length > 0) {
      line = Buffer.concat([this.#partial, line]);
      this.#partial = Buffer.alloc(0);
    }
    if (line.length > this.#lineBytesMax()) return this.#fail();
    if (line.at(-1) === cr) line = line.subarray(0, -1);
    this.#busy = true;
    this.oncommand(line, () => {
      this.#busy = false;
      this.#commands++;
      if (this.#commands % commandsWithoutYield === 0) setImmediate(() => this.#pump());
      else this.#pump();
    });
    return !this.#busy && this.#commands % commandsWithoutYield !== 0;
  }

  #fail(): boolean {
    this.#partial = Buffer.alloc(0);
    return this.#finish(new Error("Command line too long (limits.smtpLineBytes)"));
  }

  #finish(error?: Error): boolean {
    const done = this.#done;
    this.#done = undefined;
    if (error === undefined) done?.();
    else done?.(error);
    return false;
  }
}
