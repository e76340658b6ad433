// The socket of one POP3 connection, made calm: one chunk at a time is read and only when asked for,
// output is gathered into few writes and waits for a slow reader, TLS can begin in the middle, and
// one signal says when the client is gone. Knows nothing of POP3.

import { once, setMaxListeners } from "node:events";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { SecureContext } from "node:tls";
import type { Clock } from "../../lib/clock.ts";
import { channelBindingOf } from "../sasl/channel-binding.ts";
import type { ChannelBinding } from "../sasl/channel-binding.ts";

/** The client is gone, or too slow: there is nobody left to answer. */
export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
}

const gatherBytesMax = 64 * 1024;
/** How long the client may take to close after our last word. */
const lingerMs = 5_000;

export class Wire {
  readonly #clock: Clock;
  readonly #writeMs: number;
  readonly #lost = new AbortController();
  #socket: Socket;
  #chunk: Uint8Array | undefined;
  #ended = false;
  #woken = false;
  #notify: () => void = () => {};
  #output: Uint8Array[] = [];
  #outputBytes = 0;

  constructor(socket: Socket, clock: Clock, writeMs: number) {
    this.#clock = clock;
    this.#writeMs = writeMs;
    this.#socket = socket;
    // A command may wait for many things at once: the groups of a member, say.
    setMaxListeners(0, this.#lost.signal);
    this.#listen(socket);
  }

  /** Of the connection as it is now. */
  get channelBinding(): ChannelBinding {
    return channelBindingOf(this.#socket);
  }

  /** Aborts when the connection is closed, by either side. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  get encrypted(): boolean {
    return this.#socket instanceof TLSSocket;
  }

  /**
   * The next chunk; `ended` when the client sends no more, `timeout` at `deadlineMs` (monotonic),
   * `woken` when `wake` ran. @throws ConnectionLost
   */
  async read(deadlineMs: number): Promise<Uint8Array | "ended" | "timeout" | "woken"> {
    let late = false;
    const timer = this.#clock.after(deadlineMs - this.#clock.monotonicMs(), () => {
      late = true;
      this.#notify();
    });
    try {
      for (;;) {
        const chunk = this.#chunk;
        this.#chunk = undefined;
        if (chunk !== undefined) return chunk;
        if (this.#lost.signal.aborted) throw new ConnectionLost();
        if (this.#woken) return "woken";
        if (this.#ended) return "ended";
        if (late) return "timeout";
        const notified = new Promise<void>((resolve) => {
          this.#notify = resolve;
        });
        this.#socket.resume();
        await notified;
      }
    } finally {
      timer.cancel();
    }
  }

  /** Ends the wait in `read`, now and from now on. */
  wake(): void {
    this.#woken = true;
    this.#notify();
  }

  /** Queues bytes, which must not change; sends and waits once there are many. @throws ConnectionLost */
  async write(bytes: Uint8Array): Promise<void> {
    this.#output.push(bytes);
    this.#outputBytes += bytes.length;
    if (this.#outputBytes >= gatherBytesMax) await this.flush();
  }

  /** Hands what was queued to the socket and waits until the client has room for more. */
  async flush(): Promise<void> {
    if (this.#lost.signal.aborted) throw new ConnectionLost();
    if (this.#outputBytes === 0) return;
    const output = this.#output;
    this.#output = [];
    this.#outputBytes = 0;
    this.#socket.cork();
    let room = true;
    for (const bytes of output) room = this.#socket.write(bytes);
    this.#socket.uncork();
    if (!room) await this.#wait("drain", this.#writeMs);
  }

  /**
   * Shakes hands for TLS, after what was queued is sent. With `dropInput`, what came before is
   * forgotten, in whatever chunks it came. @throws ConnectionLost when the handshake fails or is late
   */
  async startTls(
    secureContext: SecureContext,
    handshakeMs: number,
    { dropInput }: { readonly dropInput: boolean },
  ): Promise<void> {
    const plain = this.#socket;
    plain.removeAllListeners("data");
    plain.removeAllListeners("end");
    if (dropInput) {
      this.#chunk = undefined;
      while (plain.read() !== null) continue;
    }
    await this.flush();
    const secure = new TLSSocket(plain, { isServer: true, secureContext });
    this.#socket = secure;
    this.#listen(secure);
    await this.#wait("secure", handshakeMs);
  }

  /** Says good-bye: what was queued goes out, then the connection closes, at the latest after a while. */
  async end(): Promise<void> {
    await this.flush();
    this.#socket.removeAllListeners("data");
    this.#socket.resume(); // Unread input would turn our FIN into a reset, and the last reply might be lost.
    this.#socket.end();
    const timer = this.#clock.after(lingerMs, () => this.destroy());
    this.#lost.signal.addEventListener("abort", () => timer.cancel(), { once: true });
  }

  destroy(): void {
    this.#socket.destroy();
    this.#lost.abort();
  }

  #listen(socket: Socket): void {
    socket.pause();
    socket.on("data", (chunk: Buffer) => {
      socket.pause();
      this.#chunk = this.#chunk === undefined ? chunk : Buffer.concat([this.#chunk, chunk]);
      this.#notify();
    });
    socket.on("end", () => {
      this.#ended = true;
      this.#notify();
    });
    const gone = (): void => {
      this.#lost.abort();
      this.#notify();
    };
    socket.on("error", gone);
    socket.on("close", gone);
  }

  async #wait(event: "drain" | "secure", limitMs: number): Promise<void> {
    const timer = this.#clock.after(limitMs, () => this.destroy());
    try {
      await once(this.#socket, event, { signal: this.#lost.signal });
    } catch (error) {
      this.destroy();
      throw new ConnectionLost(`waiting for ${event}`, { cause: error });
    } finally {
      timer.cancel();
    }
  }
}
