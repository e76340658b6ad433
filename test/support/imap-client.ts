// An IMAP client for tests over real servers: tagged commands, untagged responses with their literals
// as bytes, IDLE. Exact rather than forgiving: anything unexpected is an error.

import { connect, type Socket } from "node:net";

/** One response line; each literal stands in `text` as `{n}` and in `literals` as bytes. */
export interface ImapLine {
  readonly text: string;
  readonly literals: readonly Buffer[];
}

export interface ImapReply {
  readonly status: "OK" | "NO" | "BAD";
  /** The tagged line behind the status. */
  readonly text: string;
  readonly untagged: readonly ImapLine[];
}

export class ImapClient {
  readonly #socket: Socket;
  readonly #timeoutMs: number;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #closed: Error | undefined;
  #wake: () => void = () => {};
  #serial = 0;
  /** Untagged lines that came outside of a command. */
  readonly #early: ImapLine[] = [];
  /** Hears each line as it is read, tagged ones too. */
  onLine: ((line: ImapLine) => void) | undefined;

  /** Connects and reads the greeting; logs in when a user is given. */
  static async connect(
    port: number,
    login?: { readonly user: string; readonly password: string },
    timeoutMs = 30_000,
  ): Promise<ImapClient> {
    const client = new ImapClient(connect({ port, host: "127.0.0.1", noDelay: true }), timeoutMs);
    try {
      const greeting = await client.readLine();
      if (!/^\* (?:OK|PREAUTH)/.test(greeting.text)) throw new Error(`greeted ${greeting.text}`);
      if (login !== undefined) await client.ok(`LOGIN ${login.user} ${login.password}`);
    } catch (error) {
      client.close();
      throw error;
    }
    return client;
  }

  private constructor(socket: Socket, timeoutMs: number) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    socket.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#bytes += chunk.length;
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

  /** The server has said something that nobody has read. */
  get hasUnread(): boolean {
    return this.#bytes > 0;
  }

  /** Tag of the command sent last. */
  get tag(): string {
    return `t${this.#serial}`;
  }

  /** One command; Buffers go out as literals that don't wait. @throws Error when the connection ends. */
  async command(...parts: readonly (string | Buffer)[]): Promise<ImapReply> {
    const tag = `t${++this.#serial}`;
    this.#socket.cork();
    this.#socket.write(`${tag} `);
    for (const part of parts) {
      if (typeof part === "string") this.#socket.write(part);
      else {
        this.#socket.write(`{${part.length}+}\r\n`);
        this.#socket.write(part);
      }
    }
    this.#socket.write("\r\n");
    this.#socket.uncork();
    return this.#answer(tag);
  }

  /** As `command`; anything but OK is an error. @returns the untagged lines. */
  async ok(...parts: readonly (string | Buffer)[]): Promise<ImapReply> {
    const reply = await this.command(...parts);
    if (reply.status !== "OK")
      throw new Error(`${String(parts[0])}: ${reply.status} ${reply.text}`);
    return reply;
  }

  /** Begins IDLE; resolves at the continuation. */
  async idle(): Promise<void> {
    this.#socket.write(`t${++this.#serial} IDLE\r\n`);
    for (;;) {
      const line = await this.readLine();
      if (line.text.startsWith("+")) return;
      this.#early.push(line);
    }
  }

  /** Ends IDLE. @returns what came and was not read. */
  async done(): Promise<ImapReply> {
    this.#socket.write("DONE\r\n");
    return this.#answer(`t${this.#serial}`);
  }

  /** The next untagged line that matches; others before it are dropped. */
  async untilLine(pattern: RegExp, timeoutMs = this.#timeoutMs): Promise<ImapLine> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      const line = this.#early.shift() ?? (await this.readLine(end - performance.now()));
      if (pattern.test(line.text)) return line;
    }
  }

  /** Sends bytes as they stand. */
  send(bytes: string | Buffer): void {
    this.#socket.write(bytes);
  }

  /** One response line with its literals. */
  async readLine(timeoutMs = this.#timeoutMs): Promise<ImapLine> {
    const literals: Buffer[] = [];
    let text = "";
    for (;;) {
      text += await this.#line(timeoutMs);
      const literal = /\{(\d+)\}$/.exec(text);
      if (literal === null) {
        this.onLine?.({ text, literals });
        return { text, literals };
      }
      literals.push(await this.#take(Number(literal[1]), timeoutMs));
    }
  }

  async logout(): Promise<void> {
    await this.command("LOGOUT");
    this.close();
  }

  close(): void {
    this.#socket.destroy();
  }

  async #answer(tag: string): Promise<ImapReply> {
    const untagged = this.#early.splice(0);
    for (;;) {
      const line = await this.readLine();
      if (line.text.startsWith(`${tag} `)) {
        const match = /^\S+ (OK|NO|BAD) (.*)$/s.exec(line.text);
        if (match === null) throw new Error(`no status: ${line.text}`);
        const [, status, text = ""] = match;
        return { status: status === "OK" ? "OK" : status === "NO" ? "NO" : "BAD", text, untagged };
      }
      if (line.text.startsWith("* ")) untagged.push(line);
      else if (!line.text.startsWith("+")) throw new Error(`unexpected: ${line.text}`);
    }
  }

  async #line(timeoutMs: number): Promise<string> {
    let looked = 0;
    const length = await this.#until(timeoutMs, () => {
      let offset = 0;
      for (const chunk of this.#chunks) {
        if (offset + chunk.length > looked) {
          const at = chunk.indexOf(0x0a);
          if (at >= 0) return offset + at + 1;
        }
        offset += chunk.length;
      }
      looked = offset;
      return undefined;
    });
    return (await this.#take(length, timeoutMs)).toString("latin1").replace(/\r\n$/, "");
  }

  async #take(count: number, timeoutMs: number): Promise<Buffer> {
    await this.#until(timeoutMs, () => (this.#bytes >= count ? true : undefined));
    const parts: Buffer[] = [];
    for (let missing = count; missing > 0; ) {
      const [first] = this.#chunks;
      if (first === undefined) throw new Error("bytes were counted that are not there");
      const part = first.subarray(0, missing);
      parts.push(part);
      missing -= part.length;
      if (part.length === first.length) this.#chunks.shift();
      else this.#chunks[0] = first.subarray(part.length);
    }
    this.#bytes -= count;
    const [only] = parts;
    return only !== undefined && parts.length === 1 ? only : Buffer.concat(parts);
  }

  async #until<T>(timeoutMs: number, ready: () => T | undefined): Promise<T> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      const value = ready();
      if (value !== undefined) return value;
      if (this.#closed !== undefined) throw this.#closed;
      const left = end - performance.now();
      if (left <= 0) throw new Error(`no answer in ${Math.round(timeoutMs)} ms`);
      await new Promise<void>((done) => {
        const timer = setTimeout(done, left);
        this.#wake = () => {
          clearTimeout(timer);
          done();
        };
      });
    }
  }
}

/** The value of `name` in a FETCH line such as `* 1 FETCH (UID 5 FLAGS (\Seen))`. */
export function fetchNumber(line: ImapLine, name: string): number {
  return Number(new RegExp(`\\b${name} \\(?(\\d+)`).exec(line.text)?.[1] ?? Number.NaN);
}

export function fetchFlags(line: ImapLine): readonly string[] {
  const flags = /\bFLAGS \(([^)]*)\)/.exec(line.text)?.[1] ?? "";
  return flags.split(" ").filter((flag) => flag !== "");
}
