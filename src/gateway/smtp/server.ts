// smtp-server's listener with what it lacks: PROXY headers of both versions from listed networks,
// certificates that change while it runs, a deadline before the session begins.

import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import type { SecureContext, TLSSocket } from "node:tls";
import { SMTPServer } from "smtp-server";
import type { SMTPConnectionOptions } from "smtp-server/lib/smtp-connection.js";
import { readProxyHeader } from "../proxy-protocol.ts";
import { PabalConnection } from "./connection.ts";
import type { SmtpListenerContext } from "./context.ts";

/** A listed peer that sends no PROXY header (it speaks XCLIENT, or for itself) is greeted after this time. */
const proxyWaitMs = 250;

export class PabalSmtpServer extends SMTPServer {
  readonly #context: SmtpListenerContext;

  constructor(context: SmtpListenerContext, implicitTls: boolean) {
    const { services, kind, limits } = context;
    super({
      name: services.hostName,
      lmtp: kind === "lmtp",
      secure: implicitTls,
      logger: false,
      disableReverseLookup: true,
      authOptional: true,
      authMethods: [],
      hideENHANCEDSTATUSCODES: false,
      socketTimeout: limits.commandTimeoutMs,
      closeTimeout: 3_600_000, // `drain` ends what does not end by itself.
      minVersion: "TLSv1.2",
      banner: "",
    });
    this.#context = context;
    this.secureContext = new CurrentContext(services.secureContext);
    this.onConnect = (_session, callback) => callback();
    this.onSecure = (_socket, _session, callback) => callback();
    // AUTH is ours (authentication.ts); what is left is XCLIENT's LOGIN: a proxy isn't believed about it.
    this.onAuth = (_auth, _session, callback) =>
      callback(refusal(535, "5.7.8 Not allowed to act for another user"));
  }

  override connect(socket: Socket | TLSSocket, options?: SMTPConnectionOptions | null): void {
    const connection = new PabalConnection(this.#context, this, socket, options);
    this.connections.add(connection);
    connection.on("error", (error: Error) => this._onError(error));
    connection.init();
  }

  /** The guard of sockets without a session yet also has an end that no byte puts off. */
  override _acceptSocket(socket: Socket, handshake: boolean): (() => void) | false {
    const release = super._acceptSocket(socket, handshake);
    if (release === false || !this._pendingSockets.has(socket)) return release;
    const timer = this.#context.services.clock.after(this.#context.limits.tlsHandshakeMs, () =>
      this._pendingSockets.get(socket)?.destroy(),
    );
    return () => {
      timer.cancel();
      release();
    };
  }

  override _expectsProxyHeader(socket: Socket): boolean {
    return this.#context.proxies.has(socket.remoteAddress);
  }

  override _handleProxy(
    socket: Socket,
    callback: (error: Error | null, options?: { id: string; remoteAddress?: string }) => void,
  ): void {
    const id = randomBytes(8).toString("hex");
    if (!this._expectsProxyHeader(socket)) return callback(null, { id });
    const { clock, log } = this.#context.services;
    return readProxyHeader(socket, { clock, waitMs: proxyWaitMs }, (read) => {
      if (read.kind === "failed") {
        log.info({ peer: socket.remoteAddress, why: read.why }, "bad proxy header");
        socket.destroy();
        callback(new Error(read.why));
      } else if (read.kind === "header" && read.header.kind === "proxied") {
        callback(null, { id, remoteAddress: read.header.address });
      } else {
        callback(null, { id });
      }
    });
  }
}

function refusal(responseCode: number, text: string): Error {
  return Object.assign(new Error(text), { responseCode });
}

/** Gives every handshake the certificate of the moment, so that it can change without a restart. */
class CurrentContext extends Map<string, SecureContext> {
  readonly #current: () => SecureContext | undefined;
  constructor(current: () => SecureContext | undefined) {
    super();
    this.#current = current;
  }
  override get(_name: string): SecureContext | undefined {
    return this.#current();
  }
  override has(_name: string): boolean {
    return this.#current() !== undefined;
  }
}
