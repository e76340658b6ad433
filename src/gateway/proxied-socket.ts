// Accepts sockets that may come through a load balancer: reads the PROXY header of those from listed
// networks first and says who the client is. Used by IMAP and POP3; SMTP's library has its own place.

import type { Socket } from "node:net";
import type { GatewayServices } from "./services.ts";
import { plainAddress, readProxyHeader, TrustedNetworks } from "./proxy-protocol.ts";

/** A listed peer that sends no header (health checks, a client of its own) is served after this time. */
const headerWaitMs = 250;

export class ProxiedSockets {
  readonly #services: GatewayServices;
  readonly #networks: TrustedNetworks;
  readonly #waiting = new Set<Socket>();

  /** @throws {MailError} `INVALID` for what is neither an address nor a network. */
  constructor(services: GatewayServices, trustedProxies: readonly string[] = []) {
    this.#services = services;
    this.#networks = new TrustedNetworks(trustedProxies);
  }

  /** True for a proxy's own address: limits per address don't count it. */
  isProxy(address: string): boolean {
    return this.#networks.has(address);
  }

  /** Calls `serve` with the client's address, at once unless a header is to be read. */
  accept(socket: Socket, serve: (address: string) => void): void {
    const peer = socket.remoteAddress;
    if (!this.#networks.has(peer)) return serve(plainAddress(peer ?? ""));
    const { clock, log } = this.#services;
    this.#waiting.add(socket);
    readProxyHeader(socket, { clock, waitMs: headerWaitMs }, (read) => {
      if (read.kind === "failed") {
        this.#waiting.delete(socket);
        log.info({ peer, why: read.why }, "bad proxy header");
        socket.destroy();
        return;
      }
      const proxied = read.kind === "header" && read.header.kind === "proxied";
      const address = plainAddress(proxied ? read.header.address : (peer ?? ""));
      socket.on("error", ignore);
      // Node settles how a socket is read in the next tick; TLS that begins before it hears nothing.
      setImmediate(() => {
        this.#waiting.delete(socket);
        if (!socket.destroyed) serve(address);
      });
    });
  }

  /** Drops what still waits for its header. */
  close(): void {
    for (const socket of this.#waiting) socket.destroy();
  }
}

function ignore(): void {
  // The close that follows is what counts.
}
