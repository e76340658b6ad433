// A client for line protocols in tests: sends bytes, reads lines or counted bytes with a deadline,
// turns to TLS when told. Knows no protocol.

import { connect as connectTcp } from "node:net";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { constants, createDeflateRaw, createInflateRaw } from "node:zlib";

export interface LineClientOptions {
  readonly port: number;
  readonly host?: string;
  /** TLS from the first byte. The server's certificate is not checked. */
  readonly implicitTls?: boolean;
  /** How long one read may wait. Default 5 s. */
  readonly timeoutMs?: number;
}

const latin1 = "latin1";

export class LineClient {
  readonly #timeoutMs: number;
  #socket: Socket;
  #deflate: ReturnType<typeof createDeflateRaw> | undefined;
  #buffer = Buffer.alloc(0);
  #ended = false;
  #failure: Error | undefined;
  #wake: () => void = () => {};

  private constructor(socket: Socket, timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    this.#socket = socket;
    this.#listen(socket);
  }

  static async connect(options: LineClientOptions): Promise<LineClient> {
    const { port, host = "127.0.0.1", timeoutMs = 5000 } = options;
    const socket =
      options.implicitTls === true
        ? connectTls({ port, host, rejectUnauthorized: false })
        : connectTcp({ port, host });
    const event = options.implicitTls === true ? "secureConnect" : "connect";
    await opened(socket, event, timeoutMs);
    return new LineClient(socket, timeoutMs);
  }

  /** Text goes out as UTF-8, as it stands. */
  send(data: string | Uint8Array): void {
    (this.#deflate ?? this.#socket).write(data);
  }

  /** The next line without its CRLF (or bare LF), decoded as UTF-8. Rejects at the end or deadline. */
  async readLine(): Promise<string> {
    const at = await this.#until(() => {
      const index = this.#buffer.indexOf(0x0a);
      return index < 0 ? undefined : index;
    }, "a line");
    return this.#take(at + 1)
      .toString("utf8")
      .replace(/\r?\n$/, "");
  }

  /** The first line that starts so; those before it are thrown away. */
  async skipTo(prefix: string): Promise<string> {
    for (;;) {
      const line = await this.readLine();
      if (line.startsWith(prefix)) return line;
    }
  }

  async readBytes(count: number): Promise<Buffer> {
    await this.#until(() => (this.#buffer.length >= count ? true : undefined), `${count} bytes`);
    return this.#take(count);
  }

  /** Resolves when the server has ended the connection; rejects when bytes are left to read. */
  async readEnd(): Promise<void> {
    await this.#until(() => (this.#ended || this.#buffer.length > 0 ? true : undefined), "the end");
    if (this.#buffer.length > 0) throw new Error(`not the end but ${show(this.#buffer)}`);
  }

  /** What has come and was not read yet. */
  unread(): string {
    return this.#buffer.toString("utf8");
  }

  /** Bytes that wait to be sent, and a switch to stop reading: for tests of slow clients. */
  pause(): void {
    this.#socket.pause();
  }
  resume(): void {
    this.#socket.resume();
  }

  async startTls(): Promise<void> {
    if (this.#buffer.length > 0) throw new Error(`plaintext before TLS: ${show(this.#buffer)}`);
    const plain = this.#socket;
    plain.removeAllListeners();
    const secure = connectTls({ socket: plain, rejectUnauthorized: false });
    await opened(secure, "secureConnect", this.#timeoutMs);
    this.#socket = secure;
    this.#listen(secure);
  }

  /** Both directions are raw deflate from here on, as RFC 4978 has it. */
  startDeflate(): void {
    if (this.#buffer.length > 0) throw new Error(`unread before: ${show(this.#buffer)}`);
    const deflate = createDeflateRaw({ flush: constants.Z_SYNC_FLUSH });
    this.#deflate = deflate;
    deflate.on("data", (chunk: Buffer) => this.#socket.write(chunk));
    this.startInflate();
  }
  /** What the server sends is deflate from here on; what is sent to it goes as it is. */
  startInflate(): void {
    const inflate = createInflateRaw({ finishFlush: constants.Z_SYNC_FLUSH });
    for (const event of ["data", "end", "close"]) this.#socket.removeAllListeners(event);
    this.#socket.on("data", (chunk: Buffer) => inflate.write(chunk));
    inflate.on("data", (chunk: Buffer) => this.#received(chunk));
    // What came last is read before the end is seen.
    for (const event of ["end", "close"]) this.#socket.on(event, () => inflate.end());
    inflate.on("end", () => this.#finish());
    inflate.on("error", (error: Error) => this.#socket.destroy(error));
  }
  /** Plain again. */
  endDeflate(): void {
    this.#deflate = undefined;
    this.#socket.removeAllListeners("data");
    for (const event of ["end", "close"]) this.#socket.on(event, () => this.#finish());
    this.#socket.on("data", (chunk: Buffer) => this.#received(chunk));
  }

  /** Ends our direction; the server may still answer. */
  end(): void {
    this.#socket.end();
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Breaks the connection off with a reset, so that no answer can be heard any more. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }

  #listen(socket: Socket): void {
    socket.on("data", (chunk: Buffer) => this.#received(chunk));
    socket.on("end", () => this.#finish());
    socket.on("close", () => this.#finish());
    socket.on("error", (error: Error) => {
      this.#failure = error;
      this.#finish();
    });
  }

  #finish(): void {
    this.#ended = true;
    this.#wake();
  }

  #received(chunk: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    this.#wake();
  }

  #take(count: number): Buffer {
    const taken = this.#buffer.subarray(0, count);
    this.#buffer = this.#buffer.subarray(count);
    return taken;
  }

  async #until<T>(ready: () => T | undefined, what: string): Promise<T> {
    const deadline = AbortSignal.timeout(this.#timeoutMs);
    deadline.addEventListener("abort", () => this.#wake(), { once: true });
    for (;;) {
      const value = ready();
      if (value !== undefined) return value;
      const left = this.#buffer.length > 0 ? `; unread: ${show(this.#buffer)}` : "";
      if (this.#ended) {
        const why = this.#failure === undefined ? "" : ` (${this.#failure.message})`;
        throw new Error(`waiting for ${what}, but the server closed${why}${left}`);
      }
      if (deadline.aborted)
        throw new Error(`waiting for ${what}: nothing in ${this.#timeoutMs} ms${left}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

function opened(socket: Socket, event: string, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy(new Error(`no ${event} in ${timeoutMs} ms`));
    }, timeoutMs);
    socket.once("error", reject);
    socket.once("close", () => reject(new Error(`closed before ${event}`)));
    socket.once(event, () => {
      clearTimeout(timer);
      socket.removeAllListeners("error");
      socket.removeAllListeners("close");
      resolve();
    });
  });
}

function show(bytes: Buffer): string {
  return JSON.stringify(bytes.subarray(0, 200).toString(latin1));
}
