// An SMTP or LMTP client for tests over real servers. It tells apart what a sender must tell apart:
// accepted, refused, and no answer after the final dot.

import { connect, type Socket } from "node:net";

export type SendOutcome =
  | { readonly kind: "accepted"; readonly reply: string }
  /** Refused by a reply at any step; nothing was taken. */
  | { readonly kind: "refused"; readonly reply: string }
  /** The connection ended before the final dot had left: nothing can be stored. */
  | { readonly kind: "unsent"; readonly why: string }
  /** The final dot left and no 2yz or 5yz came: nothing or one copy is stored. */
  | { readonly kind: "unknown"; readonly why: string };

export interface Envelope {
  readonly from?: string;
  readonly to: readonly string[];
  /** RFC 5322 bytes with CRLF; dots are stuffed here. */
  readonly message: Buffer;
}

export class SmtpClient {
  readonly #socket: Socket;
  readonly #timeoutMs: number;
  #text = "";
  #closed: Error | undefined;
  #wake: () => void = () => {};

  /** Connects, reads the greeting, says EHLO. */
  static async connect(port: number, timeoutMs = 40_000): Promise<SmtpClient> {
    const client = new SmtpClient(connect({ port, host: "127.0.0.1", noDelay: true }), timeoutMs);
    try {
      const greeting = await client.reply();
      if (!greeting.startsWith("220")) throw new Error(`greeted ${greeting}`);
      const ehlo = await client.command("EHLO client.test");
      if (!ehlo.startsWith("250")) throw new Error(`EHLO: ${ehlo}`);
    } catch (error) {
      client.close();
      throw error;
    }
    return client;
  }

  private constructor(socket: Socket, timeoutMs: number) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      this.#text += text;
      this.#wake();
    });
    const gone = (error?: Error): void => {
      this.#closed ??= error ?? new Error("the server closed the connection");
      this.#wake();
    };
    socket.on("error", gone);
    socket.on("end", () => gone());
    socket.on("close", () => gone());
  }

  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  /** One command and its whole reply. @throws Error when the connection ends. */
  async command(text: string): Promise<string> {
    this.#socket.write(`${text}\r\n`);
    return this.reply();
  }

  send(bytes: string | Buffer): void {
    this.#socket.write(bytes);
  }

  /** Resolves once what was sent has left this process; rejects when the connection ends. */
  async flushed(): Promise<void> {
    await new Promise<void>((done, fail) => {
      this.#socket.write("", (error) =>
        error === null || error === undefined ? done() : fail(error),
      );
    });
  }

  /** The next whole reply, its lines joined by LF. */
  async reply(): Promise<string> {
    const end = performance.now() + this.#timeoutMs;
    for (;;) {
      const match = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\n/.exec(this.#text);
      if (match !== null) {
        this.#text = this.#text.slice(match[0].length);
        return match[0].replaceAll("\r", "").trimEnd();
      }
      if (this.#closed !== undefined) throw this.#closed;
      const left = end - performance.now();
      if (left <= 0) throw new Error(`no reply in ${this.#timeoutMs} ms`);
      await new Promise<void>((done) => {
        const timer = setTimeout(done, left);
        this.#wake = () => {
          clearTimeout(timer);
          done();
        };
      });
    }
  }

  /** One transaction. Never throws; after `unsent` and `unknown` the connection is of no more use. */
  async deliver({ from = "sender@example.org", to, message }: Envelope): Promise<SendOutcome> {
    let sent = false;
    try {
      for (const line of [`MAIL FROM:<${from}>`, ...to.map((name) => `RCPT TO:<${name}>`)]) {
        const reply = await this.command(line);
        if (!reply.startsWith("250")) return await this.#refused(reply);
      }
      const go = await this.command("DATA");
      if (!go.startsWith("354")) return await this.#refused(go);
      sent = true;
      this.#socket.write(stuffed(message));
      const reply = await this.reply();
      if (reply.startsWith("4")) return { kind: "unknown", why: reply };
      return { kind: reply.startsWith("250") ? "accepted" : "refused", reply };
    } catch (error) {
      this.close();
      return { kind: sent ? "unknown" : "unsent", why: String(error) };
    }
  }

  async quit(): Promise<void> {
    await this.command("QUIT").catch(() => "");
    this.close();
  }

  close(): void {
    this.#socket.destroy();
  }

  async #refused(reply: string): Promise<SendOutcome> {
    await this.command("RSET");
    return { kind: "refused", reply };
  }
}

function stuffed(message: Buffer): Buffer {
  const text = message.toString("latin1").replaceAll(/^\./gm, "..");
  return Buffer.from(`${text}${text.endsWith("\r\n") ? "" : "\r\n"}.\r\n`, "latin1");
}
