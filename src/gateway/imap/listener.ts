// The IMAP listener: accepts, counts connections per address and user, runs the one timer that all
// sessions share, and drains. RFC 9051; IMAPS (RFC 8314 §3.2) with `implicitTls`.

import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import type { Timer } from "../../lib/clock.ts";
import type { AccountId } from "../../mail/ids.ts";
import { ProxiedSockets } from "../proxied-socket.ts";
import type { GatewayServices, Listener } from "../services.ts";
import { addressGroup, isLoopback } from "./client-address.ts";
import { Connection } from "./connection.ts";
import type { ConnectionOwner } from "./connection.ts";
import { defaultImapLimits } from "./limits.ts";
import type { ImapLimits } from "./limits.ts";

export interface ImapOptions {
  readonly services: GatewayServices;
  /** What is absent has its default. */
  readonly limits?: Partial<ImapLimits>;
  /** Address to listen on. */
  readonly address: string;
  /** 0: any free port. */
  readonly port: number;
  /** TLS before the greeting (port 993). */
  readonly implicitTls: boolean;
  /** Addresses that connection limits don't count; loopback when absent. */
  readonly limitExempt?: (address: string) => boolean;
  /** Networks (`10.0.0.0/8`) and addresses whose PROXY headers are believed. */
  readonly trustedProxies?: readonly string[];
}

/** Starts listening. Rejects when the port can't be had. */
export async function startImap(options: ImapOptions): Promise<Listener> {
  const listener = new ImapListener(options);
  await listener.listen();
  return listener;
}

const tickMs = 1000;

class ImapListener implements Listener, ConnectionOwner {
  readonly services: GatewayServices;
  readonly limits: ImapLimits;
  readonly #options: ImapOptions;
  readonly #server: Server;
  readonly #exempt: (address: string) => boolean;
  readonly #sockets: ProxiedSockets;
  readonly #connections = new Set<Connection>();
  readonly #perAddress = new Counts<string>();
  readonly #perUser = new Counts<AccountId>();
  #timer: Timer | undefined;
  #onEmpty: (() => void) | undefined;

  constructor(options: ImapOptions) {
    this.#options = options;
    this.services = options.services;
    this.limits = { ...defaultImapLimits, ...options.limits };
    this.#sockets = new ProxiedSockets(options.services, options.trustedProxies);
    const exempt = options.limitExempt ?? isLoopback;
    this.#exempt = (address) => exempt(address) || this.#sockets.isProxy(address);
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.services.counters?.watch(socket);
      this.#sockets.accept(socket, (address) => this.#accept(socket, address));
    });
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  async listen(): Promise<void> {
    const server = this.#server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#options.port, this.#options.address, () => {
        server.off("error", reject);
        resolve();
      });
    });
    // Out of file descriptors and the like: the listener lives on.
    server.on("error", (error) => this.services.log.error({ err: error }, "imap listener error"));
    this.#scheduleTick();
  }

  async close(signal: AbortSignal): Promise<void> {
    this.#server.close();
    this.#sockets.close();
    const text = "The server is shutting down, connect again";
    for (const { session } of this.#connections) session.endWhenQuiet(text);
    const onAbort = (): void => {
      const cutAtMs = this.services.clock.monotonicMs() + tickMs;
      for (const connection of this.#connections) connection.end(text, cutAtMs);
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    if (this.#connections.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve;
      });
    }
    signal.removeEventListener("abort", onAbort);
    this.#timer?.cancel();
  }

  claimUser(account: AccountId, address: string): boolean {
    return this.#exempt(address) || this.#perUser.add(account, this.limits.connectionsPerUserMax);
  }
  releaseUser(account: AccountId, address: string): void {
    if (!this.#exempt(address)) this.#perUser.remove(account);
  }

  closed(connection: Connection): void {
    this.#connections.delete(connection);
    this.services.memory?.leave(connection);
    const { address } = connection;
    if (!this.#exempt(address)) this.#perAddress.remove(addressGroup(address));
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  #accept(socket: Socket, address: string): void {
    if (this.services.memory?.refuses() === true) {
      return this.#refuse(socket, "[UNAVAILABLE] The server is short of memory, try again");
    }
    const tooMany = this.#connections.size >= this.limits.connectionsMax;
    const most = this.limits.connectionsPerAddressMax;
    if (tooMany || (!this.#exempt(address) && !this.#perAddress.add(addressGroup(address), most))) {
      this.#refuse(socket, "[LIMIT] Too many connections");
      return;
    }
    const connection = new Connection(this, socket, address);
    this.#connections.add(connection);
    this.services.memory?.enter(connection);
    connection.start(this.#options.implicitTls);
  }

  /** RFC 9051 §7.1.5: BYE as the greeting. */
  #refuse(socket: Socket, why: string): void {
    socket.on("error", () => socket.destroy());
    if (this.#options.implicitTls) socket.destroy();
    else socket.end(`* BYE ${why}\r\n`, () => socket.destroy());
  }

  #scheduleTick(): void {
    this.#timer = this.services.clock.after(tickMs, () => {
      this.#scheduleTick();
      const nowMs = this.services.clock.monotonicMs();
      for (const connection of this.#connections) connection.tick(nowMs);
    });
  }
}

/** How often each key is held. */
class Counts<Key> {
  readonly #counts = new Map<Key, number>();

  /** False when `key` is held `most` times already. */
  add(key: Key, most: number): boolean {
    const count = this.#counts.get(key) ?? 0;
    if (count >= most) return false;
    this.#counts.set(key, count + 1);
    return true;
  }
  remove(key: Key): void {
    const count = this.#counts.get(key) ?? 0;
    if (count <= 1) this.#counts.delete(key);
    else this.#counts.set(key, count - 1);
  }
}
