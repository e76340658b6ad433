// Starts an SMTP, submission or LMTP listener over smtp-server.

import type { Socket } from "node:net";
import type { SecureContext, TLSSocket } from "node:tls";
import { SMTPServer } from "smtp-server";
import type { SMTPConnectionOptions } from "smtp-server/lib/smtp-connection.js";
import { unreachable } from "../../lib/assert.ts";
import type { GatewayServices, Listener } from "../services.ts";
import { PabalConnection } from "./connection.ts";
import { type SmtpKind, SmtpListenerContext } from "./context.ts";
import type { SmtpLimits } from "./limits.ts";

export interface SmtpOptions {
  readonly services: GatewayServices;
  readonly kind: SmtpKind;
  readonly limits: SmtpLimits;
  readonly address: string;
  readonly port: number;
  readonly implicitTls: boolean;
  /** Addresses whose XCLIENT and PROXY headers are believed. */
  readonly trustedProxies?: readonly string[];
}

/** Resolves once the port is bound. Rejects with the listen error (EADDRINUSE …). */
export async function startSmtp(options: SmtpOptions): Promise<Listener> {
  const context = new SmtpListenerContext(options.kind, options.services, options.limits);
  const server = new PabalSmtpServer(context, options);
  await new Promise<void>((done, fail) => {
    server.once("error", fail);
    server.listen(options.port, options.address, () => done());
  });
  server.removeAllListeners("error");
  // Failed handshakes and resets of single connections; the connection has ended already.
  server.on("error", (error: Error) =>
    options.services.log.debug({ err: error }, "smtp connection failed"),
  );
  const bound = server.server.address();
  return {
    port: typeof bound === "object" && bound !== null ? bound.port : options.port,
    close: async (signal) => drain(server, context, signal),
  };
}

class PabalSmtpServer extends SMTPServer {
  readonly #context: SmtpListenerContext;

  constructor(
    context: SmtpListenerContext,
    { services, kind, limits, implicitTls, trustedProxies }: SmtpOptions,
  ) {
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
      hideSTARTTLS: services.secureContext() === undefined,
      disabledCommands:
        services.secureContext() === undefined ? ["STARTTLS", "XFORWARD"] : ["XFORWARD"],
      useProxy: [...(trustedProxies ?? [])],
      useXClient: trustedProxies !== undefined && trustedProxies.length > 0,
      size: limits.messageBytesMax,
      socketTimeout: limits.commandTimeoutMs,
      closeTimeout: 3_600_000, // `drain` ends what does not end by itself.
      maxCommandLength: limits.authLineBytesMax,
      minVersion: "TLSv1.2",
      banner: "",
    });
    this.#context = context;
    this.secureContext = new CurrentContext(services.secureContext);
    this.onAuth = (auth, session, callback) => {
      this.#verify(auth.username ?? "", auth.password ?? "", session.remoteAddress).then(
        (verdict) => {
          if (verdict.row !== undefined) context.setUser(session, verdict.row);
          if (verdict.row === undefined)
            callback(Object.assign(new Error(verdict.text), { responseCode: verdict.code }));
          else callback(null, { user: verdict.row.name });
        },
        (error: unknown) => {
          services.log.error({ err: error }, "authentication failed");
          callback(
            Object.assign(new Error("4.7.0 Temporary authentication failure"), {
              responseCode: 454,
            }),
          );
        },
      );
    };
  }

  override connect(socket: Socket | TLSSocket, options?: SMTPConnectionOptions | null): void {
    const connection = new PabalConnection(this.#context, this, socket, options);
    this.connections.add(connection);
    connection.on("error", (error: Error) => this._onError(error));
    connection.init();
  }

  async #verify(login: string, password: string, address: string) {
    const verdict = await this.#context.services.auth.verify(
      login,
      password,
      address,
      this.#context.signal,
    );
    switch (verdict.kind) {
      case "ok":
        return { row: verdict.row, code: 235, text: "" };
      case "refused":
        return { row: undefined, code: 535, text: "5.7.8 Wrong user name or password" };
      case "disabled":
        return { row: undefined, code: 535, text: "5.7.13 Account disabled" };
      case "unavailable":
        return { row: undefined, code: 454, text: "4.7.0 Can't verify now, try again" };
      default:
        return unreachable(verdict);
    }
  }
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

/** Idle sessions end at once with 421, those with a message under way when it is answered or `signal` aborts. */
async function drain(
  server: PabalSmtpServer,
  context: SmtpListenerContext,
  signal: AbortSignal,
): Promise<void> {
  const closed = new Promise<void>((done) => {
    server.close(done);
  });
  for (const connection of server.connections) {
    if (connection instanceof PabalConnection && connection.idle)
      connection.send(421, "4.3.2 Server shutting down");
  }
  const end = (): void => {
    context.stop();
    for (const connection of server.connections) {
      connection.send(421, "4.3.2 Server shutting down");
      connection._socket.destroy();
    }
  };
  if (signal.aborted) end();
  else signal.addEventListener("abort", end, { once: true });
  await closed;
  signal.removeEventListener("abort", end);
  context.stop();
}
