// smtp-server's listener with what it lacks: PROXY headers of both versions from listed networks,
// certificates that change while it runs, a deadline before the session begins, logins by our directory.

import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import type { SecureContext, TLSSocket } from "node:tls";
import { SMTPServer, type SMTPServerAuthentication, type SMTPServerSession } from "smtp-server";
import type { SMTPConnectionOptions } from "smtp-server/lib/smtp-connection.js";
import { unreachable } from "../../lib/assert.ts";
import type { DirectoryRow } from "../../mail/account.ts";
import { readProxyHeader } from "../proxy-protocol.ts";
import { PabalConnection } from "./connection.ts";
import type { SmtpListenerContext } from "./context.ts";

/** A listed peer that sends no PROXY header (it speaks XCLIENT, or for itself) is greeted after this time. */
const proxyWaitMs = 250;

type AuthCallback = Parameters<SMTPServer["onAuth"]>[2];
type Verdict =
  | { readonly ok: true; readonly row: DirectoryRow }
  | { readonly ok: false; readonly code: number; readonly text: string };

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
      authMethods: ["PLAIN", "LOGIN"],
      hideENHANCEDSTATUSCODES: false,
      allowInsecureAuth: true, // connection.ts decides, per address.
      socketTimeout: limits.commandTimeoutMs,
      closeTimeout: 3_600_000, // `drain` ends what does not end by itself.
      minVersion: "TLSv1.2",
      banner: "",
    });
    this.#context = context;
    this.secureContext = new CurrentContext(services.secureContext);
    this.onConnect = (_session, callback) => callback();
    this.onSecure = (_socket, _session, callback) => callback();
    this.onAuth = (auth, session, callback) => this.#login(auth, session, callback);
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

  #login(auth: SMTPServerAuthentication, session: SMTPServerSession, callback: AuthCallback): void {
    const { log } = this.#context.services;
    const login = auth.username ?? "";
    const facts = { session: session.id, address: session.remoteAddress, login };
    this.#verify(auth, session.remoteAddress).then(
      (verdict) => {
        if (verdict.ok) {
          this.#context.setUser(session, verdict.row);
          log.info({ ...facts, user: verdict.row.name }, "smtp login");
          callback(null, { user: verdict.row.name });
        } else {
          log.info({ ...facts, code: verdict.code }, "smtp login refused");
          callback(refusal(verdict.code, verdict.text));
        }
      },
      (error: unknown) => {
        log.error({ ...facts, err: error }, "authentication failed");
        callback(refusal(454, "4.7.0 Temporary authentication failure"));
      },
    );
  }

  async #verify(auth: SMTPServerAuthentication, address: string): Promise<Verdict> {
    const login = auth.username ?? "";
    // RFC 4616 §2: nobody may act for somebody else here.
    const authzid = auth.authzid ?? "";
    if (auth.method === "XCLIENT" || (authzid !== "" && authzid !== login))
      return { ok: false, code: 535, text: "5.7.8 Not allowed to act for another user" };
    const { services, signal } = this.#context;
    const verdict = await services.auth.verify(login, auth.password ?? "", address, signal);
    switch (verdict.kind) {
      case "ok":
        return { ok: true, row: verdict.row };
      case "refused":
        return { ok: false, code: 535, text: "5.7.8 Wrong user name or password" };
      case "disabled":
        // RFC 5248 §2.4: 525 goes with X.7.13.
        return { ok: false, code: 525, text: "5.7.13 Account disabled" };
      case "unavailable":
        return { ok: false, code: 454, text: "4.7.0 Can't verify now, try again" };
      default:
        return unreachable(verdict);
    }
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
