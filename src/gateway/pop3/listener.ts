// A POP3 listener: accepts within its limits, runs a connection each, and drains when it is closed.

import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { AssertionFailure } from "../../lib/assert.ts";
import { ProxiedSockets } from "../proxied-socket.ts";
import type { GatewayServices, Listener } from "../services.ts";
import { Admission, shortOfMemory } from "./admission.ts";
import { Pop3Connection } from "./connection.ts";
import type { Pop3Limits } from "./limits.ts";

export interface Pop3Options {
  readonly services: GatewayServices;
  readonly limits: Pop3Limits;
  readonly address: string;
  /** 0: a free one. */
  readonly port: number;
  /** TLS from the first byte (995), or STLS on request (110). RFC 8314 §3.2 */
  readonly implicitTls: boolean;
  /** Networks (`10.0.0.0/8`) and addresses whose PROXY headers are believed. */
  readonly trustedProxies?: readonly string[];
}

/**
 * Listens and serves. Rejects when the address can't be had (`EADDRINUSE`, …). On `close`, sessions
 * may finish until its signal aborts; then each is told so before its next command.
 */
export async function startPop3(options: Pop3Options): Promise<Listener> {
  const listener = new Pop3Listener(options);
  await listener.listen();
  return listener;
}

/** How long sessions have to take their last reply once they were told to end. */
const endMs = 1_000;

class Pop3Listener implements Listener {
  readonly #options: Pop3Options;
  readonly #server: Server;
  readonly #connections = new Set<Pop3Connection>();
  readonly #admission: Admission;
  readonly #sockets: ProxiedSockets;

  constructor(options: Pop3Options) {
    this.#options = options;
    this.#sockets = new ProxiedSockets(options.services, options.trustedProxies);
    this.#admission = new Admission(options.limits, (address) => this.#sockets.isProxy(address));
    // Half-open: a client may send all its commands, end its direction, and still read the replies.
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.#options.services.counters?.watch(socket);
      this.#sockets.accept(socket, (address) => this.#accept(socket, address));
    });
  }

  get port(): number {
    const bound = this.#server.address();
    return bound !== null && typeof bound === "object" ? bound.port : 0;
  }

  async listen(): Promise<void> {
    const { address, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ host: address, port }, () => {
        this.#server.removeListener("error", reject);
        resolve();
      });
    });
    this.#server.on("error", (error) => {
      this.#options.services.log.error({ err: error, protocol: "pop3" }, "listener failed");
    });
  }

  async close(signal: AbortSignal): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    this.#sockets.close();
    const shutdown = (): void => {
      for (const connection of this.#connections) connection.shutdown();
      this.#options.services.clock.after(endMs, () => {
        for (const connection of this.#connections) connection.destroy();
      });
    };
    if (signal.aborted) shutdown();
    else signal.addEventListener("abort", shutdown, { once: true });
    await closed; // The server closes with its last connection.
    signal.removeEventListener("abort", shutdown);
  }

  #accept(socket: Socket, address: string): void {
    const { services, limits, implicitTls } = this.#options;
    const full = services.memory?.refuses() === true;
    const refusal = full ? shortOfMemory : this.#admission.admit(address);
    if (refusal !== undefined) {
      socket.on("error", () => {}); // The client may be gone before it reads why.
      if (implicitTls) socket.destroy();
      else socket.end(`${refusal}\r\n`, () => socket.destroy());
      return;
    }
    const connection = new Pop3Connection({ services, limits, socket, address, implicitTls });
    this.#connections.add(connection);
    services.memory?.enter(connection);
    socket.once("close", () => {
      this.#connections.delete(connection);
      services.memory?.leave(connection);
      this.#admission.leave(address);
    });
    connection.run().catch((error: unknown) => {
      // One session ends, the process lives; but a broken assertion is for nobody to survive.
      services.log.error({ err: error, address, protocol: "pop3" }, "session failed");
      if (error instanceof AssertionFailure) queueMicrotask(() => rethrow(error));
    });
  }
}

function rethrow(error: Error): never {
  throw error;
}
