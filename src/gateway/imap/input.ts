// The client's bytes as awaited commands, lines and literals, on top of the pure reader. Stops the
// socket when bytes come faster than commands are run. Leaves deadlines to the session, which is
// told before each wait.

import { CommandReader } from "./syntax/command-reader.ts";
import type { ReaderEvent } from "./syntax/command-reader.ts";

/** What the socket side lends. */
export interface InputGate {
  pause(): void;
  resume(): void;
}

/** Bytes held above which the socket is paused while a command runs. */
const highWaterBytes = 64 * 1024;

/** What is waited for: a new command, the rest of one, or more of a streamed literal. */
export type WaitKind = "command" | "rest" | "literal";

export type InputEvent = ReaderEvent | { readonly kind: "end" };
const end: InputEvent = { kind: "end" };

export class Input {
  readonly #reader = new CommandReader();
  readonly #gate: InputGate;
  #wake: (() => void) | undefined;
  #ended = false;
  #paused = false;
  readonly #onWait: (kind: WaitKind) => void;
  /** A literal was streamed and its command has not ended yet. */
  #insideCommand = false;

  /** @param onWait Called before each wait for bytes. */
  constructor(gate: InputGate, onWait: (kind: WaitKind) => void) {
    this.#gate = gate;
    this.#onWait = onWait;
  }

  /** Bytes from the socket. */
  push(chunk: Uint8Array): void {
    this.#reader.push(chunk);
    if (this.#wake === undefined && this.#reader.buffered > highWaterBytes && !this.#paused) {
      this.#paused = true;
      this.#gate.pause();
    }
    this.#wakeUp();
  }
  /** The client will send no more. */
  end(): void {
    this.#ended = true;
    this.#wakeUp();
  }
  /** Drops everything that is held, whole commands and halves. RFC 9051 §6.2.1 */
  clear(): void {
    this.#reader.clear();
  }
  /** Takes out everything that is held and not yet used. RFC 4978 §3 */
  takeAll(): Uint8Array {
    return this.#reader.takeAll();
  }
  /** True while the bytes that come are those of a streamed literal. */
  get streaming(): boolean {
    return this.#reader.streaming > 0;
  }
  get ended(): boolean {
    return this.#ended;
  }

  /** The next command, announced literal, piece of a literal, or end. */
  async next(limitBytes: number): Promise<InputEvent> {
    for (;;) {
      const event = this.#reader.next(limitBytes);
      if (event !== undefined) {
        if (event.kind === "command") this.#insideCommand = false;
        return event;
      }
      if (this.#ended) return end;
      await this.#more();
    }
  }
  /** The next line as it is. */
  async line(limitBytes: number): Promise<InputEvent> {
    for (;;) {
      const event = this.#reader.nextLine(limitBytes);
      if (event !== undefined) return event;
      if (this.#ended) return end;
      await this.#more();
    }
  }
  keepLiteral(): void {
    this.#reader.keep();
  }
  abandonLiteral(): void {
    this.#reader.abandon();
    this.#insideCommand = false;
  }
  /** The announced literal's bytes, in the pieces they come in. Throws InputEnded when cut off. */
  async *literal(size: number): AsyncGenerator<Uint8Array, void, void> {
    this.#reader.stream();
    this.#insideCommand = true;
    let left = size;
    while (left > 0) {
      const event = await this.next(0);
      if (event.kind !== "data") throw new InputEnded();
      left = event.left;
      yield event.bytes;
    }
  }

  /** The announced literal is to be skipped: `skipLiteral` reads it away. */
  startSkipping(): void {
    this.#reader.stream();
    this.#insideCommand = true;
  }
  /** True when the command whose literals were streamed has not ended. */
  get insideCommand(): boolean {
    return this.#insideCommand;
  }
  /** Reads away what is left of a streamed literal that nobody wants any more. */
  async skipLiteral(): Promise<void> {
    while (this.#reader.streaming > 0) {
      const event = await this.next(0);
      if (event.kind !== "data") throw new InputEnded();
    }
  }

  #more(): Promise<void> {
    const rest = this.#insideCommand || this.#reader.buffered > 0;
    this.#onWait(this.#reader.streaming > 0 ? "literal" : rest ? "rest" : "command");
    if (this.#paused) {
      this.#paused = false;
      this.#gate.resume();
    }
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

/** The client went away in the middle of a literal. */
export class InputEnded extends Error {
  override readonly name = "InputEnded";
}
