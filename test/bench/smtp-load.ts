// Load for SMTP and LMTP: so many connections, each sending its next message when the last is answered.
// Commands are pipelined (MAIL, RCPT, DATA in one write), as real MTAs do. It shares the machine with
// what it measures, so a message costs it two writes from buffers made before, and nothing else.

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

/** Runs the load to its end. Rejects when a connection breaks or a command is refused. */
export async function runSmtpLoad(load: SmtpLoad): Promise<SmtpResult> {
  const run = new Run(load);
  const started = performance.now();
  await Promise.all(
    Array.from(
      { length: load.connections },
      () =>
        new Promise<void>((done, fail) => {
          new Connection(run, { done, fail }).open();
        }),
    ),
  );
  return {
    delivered: run.delivered,
    refused: run.latencies.length - run.delivered,
    seconds: (performance.now() - started) / 1000,
    latencies: Float64Array.from(run.latencies).sort(),
  };
}

/** Header and text of about `bytes` bytes, as a typical mail has them, without the lone dot. */
export function messageBody(bytes: number): Buffer {
  const head =
    "From: Bench <bench@bench.test>\r\nTo: You <you@pabal.test>\r\nDate: Sun, 22 Nov 2026 16:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n";
  const line =
    "The relay post rides on: horse after horse, station after station, night and day.\r\n";
  return Buffer.from(
    head + line.repeat(Math.max(1, Math.floor((bytes - head.length - 120) / line.length))),
  );
}

const digits = 12;
const zeros = "0".repeat(digits);

let runs = 0;

/** What all connections of a run share. */
class Run {
  readonly load: SmtpLoad;
  /** In every Message-ID: no message of one run is taken for another's repetition. */
  readonly id = `${Date.now().toString(36)}.${++runs}`;
  readonly envelopes: readonly Buffer[];
  readonly body: Buffer;
  readonly latencies: number[] = [];
  delivered = 0;
  readonly #endMs: number;
  #serial = 0;

  constructor(load: SmtpLoad) {
    this.load = load;
    this.envelopes = load.users.map((user) =>
      Buffer.from(`MAIL FROM:<bench@bench.test>\r\nRCPT TO:<${user}>\r\nDATA\r\n`),
    );
    this.body = messageBody(load.messageBytes);
    this.#endMs = performance.now() + load.seconds * 1000;
  }

  /** Number of the next message; undefined when the run is over. */
  next(nowMs: number): number | undefined {
    const { messages } = this.load;
    const over = messages === undefined ? nowMs >= this.#endMs : this.#serial >= messages;
    return over ? undefined : this.#serial++;
  }
}

interface Ending {
  readonly done: () => void;
  readonly fail: (error: Error) => void;
}

/** What the next reply answers, in the order of a connection's life. */
type Step = "greeting" | "hello" | "mail" | "rcpt" | "data" | "message" | "quit";

/** A connection and what it has to send: its buffers are written again only after their reply. */
class Connection {
  readonly #run: Run;
  readonly #ending: Ending;
  readonly #message: Buffer;
  #socket: Socket | undefined;
  #step: Step = "greeting";
  #over = false;
  #serial = 0;
  #fromMs = 0;
  /** Of the reply line being read: its first byte, how many came, whether it is not the last line. */
  #digit = 0;
  #column = 0;
  #more = false;

  constructor(run: Run, ending: Ending) {
    this.#run = run;
    this.#ending = ending;
    const head = `Subject: bench ${zeros}\r\nMessage-ID: <${zeros}.${run.id}@bench.test>\r\n`;
    this.#message = Buffer.concat([Buffer.from(head), run.body, Buffer.from(".\r\n")]);
  }

  open(): void {
    const { fail } = this.#ending;
    const socket = connect({
      port: this.#run.load.port,
      host: "127.0.0.1",
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafe(4096),
        callback: (count, bytes) => this.#read(count, bytes),
      },
    });
    socket.setTimeout(replyWithinMs, () => socket.destroy(new Error("no reply in a minute")));
    socket.on("error", fail);
    socket.on("close", () => {
      if (this.#socket === socket) fail(new Error("connection closed by the server"));
    });
    this.#socket = socket;
    this.#step = "greeting";
  }

  /** Finds the ends of replies in what came; keeps nothing of it. */
  #read(count: number, bytes: Uint8Array): boolean {
    for (let at = 0; at < count; at++) {
      const byte = bytes[at] ?? 0;
      if (byte === 0x0a) {
        if (!this.#more) this.#reply(this.#digit);
        this.#column = 0;
      } else {
        if (this.#column === 0) this.#digit = byte - 0x30;
        else if (this.#column === 3) this.#more = byte === 0x2d;
        this.#column++;
      }
    }
    return true;
  }

  #reply(digit: number): void {
    switch (this.#step) {
      case "greeting":
        this.#step = "hello";
        this.#write(`${this.#run.load.lmtp ? "LHLO" : "EHLO"} bench.test\r\n`);
        return;
      case "hello":
        this.#next();
        return;
      case "mail":
        this.#expect(digit === 2, "rcpt");
        return;
      case "rcpt":
        this.#expect(digit === 2, "data");
        return;
      case "data":
        this.#expect(digit === 3, "message");
        this.#send();
        return;
      case "message":
        this.#run.latencies.push(performance.now() - this.#fromMs);
        if (digit === 2) this.#run.delivered++;
        if (this.#run.load.reconnect) this.#quit();
        else this.#next();
        return;
      case "quit":
        this.#close();
        if (this.#over) this.#ending.done();
        else this.open();
    }
  }

  #next(): void {
    this.#fromMs = performance.now();
    const serial = this.#run.next(this.#fromMs);
    if (serial === undefined) {
      this.#over = true;
      this.#quit();
      return;
    }
    this.#serial = serial;
    this.#step = "mail";
    const { envelopes } = this.#run;
    this.#write(envelopes[serial % envelopes.length] ?? "");
  }

  #send(): void {
    let rest = this.#serial;
    const subjectEnd = "Subject: bench ".length + digits;
    const idEnd = subjectEnd + "\r\nMessage-ID: <".length + digits;
    for (let at = 1; at <= digits; at++) {
      const digit = 0x30 + (rest % 10);
      this.#message[subjectEnd - at] = digit;
      this.#message[idEnd - at] = digit;
      rest = Math.floor(rest / 10);
    }
    this.#write(this.#message);
  }

  #quit(): void {
    this.#step = "quit";
    this.#write("QUIT\r\n");
  }

  #expect(isSo: boolean, then: Step): void {
    if (!isSo) this.#socket?.destroy(new Error(`refused at ${this.#step}`));
    this.#step = then;
  }

  #write(bytes: Buffer | string): void {
    this.#socket?.write(bytes);
  }

  #close(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.destroy();
  }
}
