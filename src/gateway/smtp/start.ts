// Starts an SMTP, submission or LMTP listener, and ends it politely.

import type { SMTPConnection } from "smtp-server/lib/smtp-connection.js";
import { TrustedNetworks } from "../proxy-protocol.ts";
import type { GatewayServices, Listener } from "../services.ts";
import { PabalConnection } from "./connection.ts";
import { type SmtpKind, SmtpListenerContext } from "./context.ts";
import type { SmtpLimits } from "./limits.ts";
import { PabalSmtpServer } from "./server.ts";

export interface SmtpOptions {
  readonly services: GatewayServices;
  readonly kind: SmtpKind;
  readonly limits: SmtpLimits;
  readonly address: string;
  readonly port: number;
  readonly implicitTls: boolean;
  /** Networks (`10.0.0.0/8`) and addresses whose XCLIENT and PROXY headers are believed. */
  readonly trustedProxies?: readonly string[];
}

/** Resolves once the port is bound. Rejects with the listen error (EADDRINUSE …). */
export async function startSmtp(options: SmtpOptions): Promise<Listener> {
  const { services, kind, limits } = options;
  const proxies = new TrustedNetworks(options.trustedProxies ?? []);
  const context = new SmtpListenerContext(kind, services, limits, proxies);
  const server = new PabalSmtpServer(context, options.implicitTls);
  try {
    await new Promise<void>((done, fail) => {
      server.once("error", fail);
      server.listen(options.port, options.address, () => done());
    });
  } catch (error) {
    context.stop();
    throw error;
  }
  server.removeAllListeners("error");
  server.server.on("connection", (socket) => services.counters?.watch(socket));
  // Failed handshakes and resets of single connections; the connection has ended already.
  server.on("error", (error: Error) =>
    services.log.debug({ err: error }, "smtp connection failed"),
  );
  const bound = server.server.address();
  return {
    port: typeof bound === "object" && bound !== null ? bound.port : options.port,
    close: (signal) => drain(server, context, signal),
  };
}

const goodbye = "4.3.2 Server shutting down";
/** Time for the answers of deliveries that were broken off. */
const lastReplyMs = 500;

/** Idle sessions end at once with 421, those with a message under way when it is answered or `signal` aborts. */
async function drain(
  server: PabalSmtpServer,
  context: SmtpListenerContext,
  signal: AbortSignal,
): Promise<void> {
  context.drain();
  const closed = new Promise<void>((done) => {
    server.close(done);
  });
  for (const connection of server.connections) {
    if (connection instanceof PabalConnection && connection.idle) connection.send(421, goodbye);
  }
  const end = (): void => {
    const delivering = new Set<unknown>();
    for (const connection of server.connections) {
      if (connection instanceof PabalConnection && connection.delivering)
        delivering.add(connection);
    }
    // Deliveries under way stop waiting: their clients get a 451 and the 421 behind it.
    context.stop();
    const cut = (connection: SMTPConnection): void => {
      connection.send(421, goodbye);
      // What is written goes out before; a client that does not read it is cut off soon after.
      connection._socket.destroySoon();
    };
    for (const connection of server.connections) if (!delivering.has(connection)) cut(connection);
    context.services.clock.after(lastReplyMs, () => {
      for (const connection of server.connections) cut(connection);
    });
  };
  if (signal.aborted) end();
  else signal.addEventListener("abort", end, { once: true });
  await closed;
  signal.removeEventListener("abort", end);
  context.stop();
}
