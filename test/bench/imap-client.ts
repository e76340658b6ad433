// A raw IMAP client for measuring: sends a command and waits for its tagged line, looking at as little
// as possible of what comes between, so that the server is what is measured.

import { connect, type Socket } from "node:net";

export interface ImapAnswer {
  readonly ok: boolean;
  readonly bytes: number;
  readonly ms: number;
  /** The last bytes, with the tagged line. */
  readonly tail: string;
}

const tailBytes = 4096;
/** No answer takes this long, unless something is wrong: then the run ends with an error. */
const answerWithinMs = 60_000;

export class ImapClient {
  readonly #socket: Socket;
  #serial = 0;
  #mark = "";
  #tail = "";
  #bytes = 0;
  #done: (() => void) | undefined;
  #failed: Error | undefined;
  #onBytes: ((text: string) => void) | undefined;

  static async open(port: number): Promise<ImapClient> {
    const client = new ImapClient(connect({ port, host: "127.0.0.1", noDelay: true }));
    await client.#until("* ");
    return client;
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("connection closed by the server")));
  }

  #fail(error: Error): void {
    this.#failed ??= error;
    this.#done?.();
  }

  /** Sends one command without literal; resolves at its tagged line. */
  command(text: string): Promise<ImapAnswer> {
    return this.#ask(text);
  }

  async #ask(command: string | Buffer): Promise<ImapAnswer> {
    const tag = `b${++this.#serial}`;
    const from = performance.now();
    if (typeof command === "string") this.#socket.write(`${tag} ${command}\r\n`);
    else {
      this.#socket.cork();
      this.#socket.write(`${tag} `);
      this.#socket.write(command);
      this.#socket.write("\r\n");
      this.#socket.uncork();
    }
    await this.#until(`${tag} `);
    return {
      ok: this.#tail.includes(`${tag} OK`),
      bytes: this.#bytes,
      ms: performance.now() - from,
      tail: this.#tail,
    };
  }

  /** APPEND with a non-synchronising literal. */
  async append(mailbox: string, message: Buffer): Promise<ImapAnswer> {
    const head = Buffer.from(`APPEND ${mailbox} {${message.length}+}\r\n`);
    return this.#ask(Buffer.concat([head, message]));
  }

  /** MULTIAPPEND: all messages in one command. RFC 3502 */
  async appendMany(
    mailbox: string,
    messages: readonly { readonly flags: string; readonly bytes: Buffer }[],
  ): Promise<ImapAnswer> {
    const parts = messages.flatMap(({ flags, bytes }) => [
      Buffer.from(` ${flags} {${bytes.length}+}\r\n`),
      bytes,
    ]);
    return this.#ask(Buffer.concat([Buffer.from(`APPEND ${mailbox}`), ...parts]));
  }

  /** Starts IDLE; `onText` gets what the server says from then on. */
  async idle(onText: (text: string) => void): Promise<void> {
    this.#socket.write(`b${++this.#serial} IDLE\r\n`);
    await this.#until("+ ");
    this.#onBytes = onText;
  }

  close(): void {
    this.#socket.destroy();
  }

  async #until(mark: string): Promise<void> {
    this.#mark = mark;
    this.#tail = "\r\n";
    this.#bytes = 0;
    const timer = setTimeout(() => this.#fail(new Error(`no "${mark}" in time`)), answerWithinMs);
    await new Promise<void>((done) => {
      this.#done = done;
      if (this.#failed !== undefined) done();
    });
    clearTimeout(timer);
    this.#done = undefined;
    if (this.#failed !== undefined) throw this.#failed;
  }

  #take(chunk: Buffer): void {
    this.#bytes += chunk.length;
    const last = chunk.length > tailBytes ? chunk.subarray(chunk.length - tailBytes) : chunk;
    const text = last.toString("latin1");
    if (this.#onBytes !== undefined) {
      this.#onBytes(text);
      return;
    }
    this.#tail = (this.#tail + text).slice(-tailBytes);
    const at = this.#tail.lastIndexOf(`\r\n${this.#mark}`);
    if (at !== -1 && this.#tail.endsWith("\r\n") && this.#tail.length > at + 2 + this.#mark.length)
      this.#done?.();
  }
}

/** The answer, if it is OK. */
export async function expectOk(answer: Promise<ImapAnswer>): Promise<ImapAnswer> {
  const given = await answer;
  if (!given.ok) throw new Error(`not OK: ${given.tail.slice(-300)}`);
  return given;
}
