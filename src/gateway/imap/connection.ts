// One client's socket under its session: bytes in and out, back-pressure, TLS, deadlines. Knows no
// IMAP but the session's life. Counting and the shared timer are the listener's business.

import { setMaxListeners } from "node:events";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { AssertionFailure } from "../../lib/assert.ts";
import type { AccountId } from "../../mail/ids.ts";
import { channelBindingOf } from "../sasl/channel-binding.ts";
import type { ChannelBinding } from "../sasl/channel-binding.ts";
import type { GatewayServices } from "../services.ts";
import { serveSession } from "./dispatch.ts";
import { Deflater, Inflater } from "./compression.ts";
import type { ImapLimits } from "./limits.ts";
import { Session } from "./session.ts";
import type { SessionHost } from "./session.ts";

/** What the listener does for a connection. */
export interface ConnectionOwner {
  readonly services: GatewayServices;
  readonly limits: ImapLimits;
  claimUser(account: AccountId, address: string): boolean;
  releaseUser(account: AccountId, address: string): void;
  /** The socket is closed and its session has ended. */
  closed(connection: Connection): void;
}

export class Connection implements SessionHost {
  readonly address: string;
  readonly session: Session;
  readonly #owner: ConnectionOwner;
  readonly #gone = new AbortController();
  readonly #onData = (chunk: Uint8Array): void => {
    if (this.#inflater === undefined) this.session.receive(chunk);
    else if (!this.#inflater.push(chunk)) this.#socket.pause();
  };
  readonly #onEnd = (): void => {
    if (this.#inflater === undefined) this.session.input.end();
    else this.#inflater.end();
  };
  /** RFC 4978: both are there, or neither. */
  #deflater: Deflater | undefined;
  #inflater: Inflater | undefined;
  #socket: Socket;
  #user: AccountId | undefined;
  #served = false;
  #closed = false;
  /** Once set, the connection is cut when this time has passed. */
  #cutAtMs: number | undefined;
  #keepAliveAtMs = 0;
  #takenBytes = 0;
  #takenAtMs = 0;

  constructor(owner: ConnectionOwner, socket: Socket, address: string) {
    this.#owner = owner;
    this.#socket = socket;
    this.address = address;
    // A command may wait for many things at once: the groups of a member, say.
    setMaxListeners(0, this.#gone.signal);
    this.session = new Session(owner.services, owner.limits, this, this.#gone.signal);
    // Errors are followed by close, which ends everything; a reset client is no news.
    socket.on("error", ignore);
    socket.once("close", () => this.#onClose());
  }

  /** Greets and serves, with TLS first when `implicitTls`. */
  start(implicitTls: boolean): void {
    this.#serve(implicitTls).catch((error: unknown) => {
      this.destroy();
      if (error instanceof AssertionFailure) {
        // Our bug: the process ends, the peers take over (lib/assert.ts).
        setImmediate(() => {
          throw error;
        });
        return;
      }
      if (!this.#gone.signal.aborted) {
        this.#owner.services.log.error(
          { err: error, address: this.address },
          "imap session failed",
        );
      }
    });
  }

  /** Called about once a second by the listener's timer. */
  tick(nowMs: number): void {
    if (this.#cutAtMs !== undefined) {
      if (nowMs > this.#cutAtMs) this.destroy();
      return;
    }
    if (this.#served) {
      // The client may still be taking what was written; then only its hang-up is waited for.
      if (this.pendingBytes() > 0) this.#checkProgress(nowMs);
      else this.#cutAtMs = nowMs + this.#owner.limits.closeGraceMs;
      return;
    }
    if (nowMs > this.session.deadlineMs) {
      const slow = this.session.user === undefined ? "Login took too long" : "Idle for too long";
      this.end(slow, nowMs + this.#owner.limits.closeGraceMs);
      return;
    }
    this.#checkProgress(nowMs);
    this.#keepAlive(nowMs);
    this.session.tick(nowMs);
  }

  /** Tells the session to end, and cuts it if it has not by `cutAtMs`. */
  end(text: string, cutAtMs: number): void {
    this.session.endWith(text);
    this.#cutAtMs = cutAtMs;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  write(bytes: Uint8Array): void {
    if (this.#socket.destroyed || !this.#socket.writable) return;
    this.#socket.write(this.#deflater === undefined ? bytes : this.#deflater.deflate(bytes));
  }
  pendingBytes(): number {
    return this.#socket.writableLength;
  }
  onDrain(run: () => void): void {
    if (this.#socket.writableLength === 0) run();
    else this.#socket.once("drain", run);
  }
  pause(): void {
    this.#inflater?.pause();
    this.#socket.pause();
  }
  resume(): void {
    this.#inflater?.resume();
    this.#socket.resume();
  }
  secure(): boolean {
    return this.#socket instanceof TLSSocket;
  }
  channelBinding(): ChannelBinding {
    return channelBindingOf(this.#socket);
  }
  claimUser(account: AccountId): boolean {
    if (!this.#owner.claimUser(account, this.address)) return false;
    this.#user = account;
    this.#owner.services.memory?.leave(this);
    return true;
  }

  releaseUser(): void {
    this.#releaseUser();
    this.#owner.services.memory?.enter(this);
  }

  compressed(): boolean {
    return this.#deflater !== undefined;
  }
  startCompression(held: Uint8Array): void {
    const { session } = this;
    this.#deflater = new Deflater();
    this.#inflater = new Inflater({
      data: (bytes) => session.receive(bytes),
      drain: () => this.#socket.resume(),
      ended: () => session.input.end(),
      failed: (why) => session.endWith(why),
      bounded: () => session.input.streaming,
    });
    if (held.length > 0) this.#onData(held);
  }
  endCompression(): void {
    this.#deflater = undefined;
    this.#inflater?.close();
    this.#inflater = undefined;
  }

  /** Memory is short: nobody is logged in, and the client says nothing. */
  evict(): boolean {
    if (this.session.user !== undefined || !this.session.waits) return false;
    const { services, limits } = this.#owner;
    const text = "[UNAVAILABLE] The server is short of memory, connect again later";
    this.end(text, services.clock.monotonicMs() + limits.closeGraceMs);
    return true;
  }

  /** RFC 9051 §6.2.1: what was written before goes out in the clear, all else is encrypted. */
  async startTls(): Promise<void> {
    const plain = this.#socket;
    plain.off("data", this.#onData).off("end", this.#onEnd);
    await new Promise<void>((resolve, reject) => {
      plain.write("", (error) => {
        if (error === null || error === undefined) resolve();
        else reject(error);
      });
    });
    await this.#encrypt(plain);
    this.#listen();
  }

  async #serve(implicitTls: boolean): Promise<void> {
    if (implicitTls) await this.#encrypt(this.#socket);
    this.#listen();
    await serveSession(this.session);
    this.#served = true;
    this.#releaseUser();
    this.#socket.end();
    // Nothing is read any more, but the end of the stream must be seen.
    this.#socket.off("data", this.#onData).resume();
  }

  #listen(): void {
    this.#socket.on("data", this.#onData).on("end", this.#onEnd);
  }

  async #encrypt(plain: Socket): Promise<void> {
    const { services, limits } = this.#owner;
    const secureContext = services.secureContext();
    if (secureContext === undefined) throw new Error("there is no TLS context");
    const encrypted = new TLSSocket(plain, { isServer: true, secureContext });
    this.#socket = encrypted;
    encrypted.on("error", ignore);
    encrypted.once("close", () => this.#onClose());
    await new Promise<void>((resolve, reject) => {
      const timer = services.clock.after(limits.tlsHandshakeMs, () => encrypted.destroy());
      encrypted.once("secure", () => {
        timer.cancel();
        resolve();
      });
      encrypted.once("close", () => {
        timer.cancel();
        reject(new Error("TLS handshake failed"));
      });
    });
  }

  /** RFC 9051 §5.4 leaves it to us: output that nobody takes for minutes ends the connection. */
  #checkProgress(nowMs: number): void {
    const pending = this.#socket.writableLength;
    const taken = this.#socket.bytesWritten - pending;
    if (pending === 0 || taken !== this.#takenBytes || this.#takenAtMs === 0) {
      this.#takenBytes = taken;
      this.#takenAtMs = nowMs;
    } else if (nowMs - this.#takenAtMs > this.#owner.limits.outputStuckMs) {
      this.destroy();
    }
  }

  #keepAlive(nowMs: number): void {
    const { onKeepAlive } = this.session;
    if (onKeepAlive === undefined) {
      this.#keepAliveAtMs = 0;
    } else if (this.#keepAliveAtMs === 0) {
      this.#keepAliveAtMs = nowMs + this.#owner.limits.idleKeepAliveMs;
    } else if (nowMs > this.#keepAliveAtMs) {
      this.#keepAliveAtMs = 0;
      onKeepAlive();
    }
  }

  #releaseUser(): void {
    if (this.#user !== undefined) this.#owner.releaseUser(this.#user, this.address);
    this.#user = undefined;
  }

  #onClose(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#gone.abort(new Error("connection closed"));
    this.#inflater?.close();
    this.session.input.end();
    this.#socket.destroy();
    this.#releaseUser();
    const { user } = this.session;
    this.#owner.services.log.debug(
      { user: user?.name, address: this.address, polite: this.#served },
      "imap connection closed",
    );
    this.#owner.closed(this);
  }
}

function ignore(): void {
  // The close that follows is what counts.
}
