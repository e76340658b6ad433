// Load for SMTP and LMTP: so many connections, each sending its next message when the last is answered.
// Commands are pipelined (MAIL, RCPT, DATA in one write), as real MTAs do.

import { connect, type Socket } from "node:net";

export interface SmtpLoad {
  readonly port: number;
  readonly lmtp: boolean;
  readonly connections: number;
  readonly messageBytes: number;
  /** A new connection for each message. */
  readonly reconnect: boolean;
  readonly users: readonly string[];
  readonly seconds: number;
  /** So many messages instead, however long they take. */
  readonly messages?: number;
}

/** No reply takes this long, unless something is wrong: then the run ends with an error. */
const replyWithinMs = 60_000;

export interface SmtpResult {
  readonly delivered: number;
  readonly refused: number;
  readonly seconds: number;
  /** Milliseconds from MAIL to the last 250, ascending. */
  readonly latencies: Float64Array;
}

/** Runs the load to its end. */
export async function runSmtpLoad(load: SmtpLoad): Promise<SmtpResult> {
  const body = messageBody(load.messageBytes);
  const latencies: number[] = [];
  let [delivered, refused, serial] = [0, 0, 0];
  const started = performance.now();
  const end = started + load.seconds * 1000;
  const worker = async (): Promise<void> => {
    let session: SmtpSession | undefined;
    while (load.messages === undefined ? performance.now() < end : serial < load.messages) {
      session ??= await SmtpSession.open(load.port, load.lmtp);
      const user = load.users[serial % load.users.length] ?? "";
      const from = performance.now();
      const ok = await session.send(
        user,
        `Subject: bench ${serial++}\r\nMessage-ID: <${serial}.${from}@bench.test>\r\n`,
        body,
      );
      latencies.push(performance.now() - from);
      if (ok) delivered++;
      else refused++;
      if (load.reconnect) {
        await session.quit();
        session = undefined;
      }
    }
    await session?.quit();
  };
  await Promise.all(Array.from({ length: load.connections }, worker));
  return {
    delivered,
    refused,
    seconds: (performance.now() - started) / 1000,
    latencies: Float64Array.from(latencies).sort(),
  };
}

/** Header and text of about `bytes` bytes, as a typical mail has them. */
export function messageBody(bytes: number): Buffer {
  const head =
    "From: Bench <bench@bench.test>\r\nTo: You <you@pabal.test>\r\nDate: Sun, 22 Nov 2026 16:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n";
  const line =
    "The relay post rides on: horse after horse, station after station, night and day.\r\n";
  const text =
    head + line.repeat(Math.max(1, Math.floor((bytes - head.length - 120) / line.length)));
  return Buffer.from(`${text}.\r\n`);
}

class SmtpSession {
  readonly #socket: Socket;
  #pending = "";
  #waiting: ((line: string) => void) | undefined;
  readonly #lines: string[] = [];
  #failed: Error | undefined;

  static async open(port: number, lmtp: boolean): Promise<SmtpSession> {
    const session = new SmtpSession(connect({ port, host: "127.0.0.1", noDelay: true }));
    await session.#reply();
    session.#socket.write(`${lmtp ? "LHLO" : "EHLO"} bench.test\r\n`);
    await session.#reply();
    return session;
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => this.#take(text));
    socket.setTimeout(replyWithinMs, () => socket.destroy(new Error("no reply in a minute")));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("connection closed by the server")));
  }

  #fail(error: Error): void {
    this.#failed ??= error;
    this.#waiting?.("599 gone");
  }

  /** True when the message was answered 2yz. */
  async send(user: string, head: string, body: Buffer): Promise<boolean> {
    this.#socket.write(`MAIL FROM:<bench@bench.test>\r\nRCPT TO:<${user}>\r\nDATA\r\n`);
    await this.#reply();
    const rcpt = await this.#reply();
    const data = await this.#reply();
    if (!rcpt.startsWith("2") || !data.startsWith("3"))
      throw new Error(`refused: ${rcpt} / ${data}`);
    this.#socket.cork();
    this.#socket.write(head, "latin1");
    this.#socket.write(body);
    this.#socket.uncork();
    return (await this.#reply()).startsWith("2");
  }

  async quit(): Promise<void> {
    this.#socket.write("QUIT\r\n");
    await this.#reply();
    this.#socket.destroy();
  }

  /** The last line of the next reply. */
  async #reply(): Promise<string> {
    for (;;) {
      if (this.#failed !== undefined) throw this.#failed;
      const line =
        this.#lines.shift() ??
        (await new Promise<string>((done) => {
          this.#waiting = done;
        }));
      if (line[3] !== "-") return line;
    }
  }

  #take(text: string): void {
    this.#pending += text;
    for (let end = this.#pending.indexOf("\r\n"); end !== -1; end = this.#pending.indexOf("\r\n")) {
      const line = this.#pending.slice(0, end);
      this.#pending = this.#pending.slice(end + 2);
      const waiting = this.#waiting;
      this.#waiting = undefined;
      if (waiting === undefined) this.#lines.push(line);
      else waiting(line);
    }
  }
}
