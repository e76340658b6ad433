// AUTH on one submission connection: from its command line over challenges to the reply. RFC 4954 §4.
// The mechanisms are gateway/sasl; whether AUTH may be said now is the connection's business.

import type { Socket } from "node:net";
import type { DirectoryRow } from "../../mail/account.ts";
import { startSasl } from "../sasl/exchange.ts";
import type { SaslExchange, SaslStep } from "../sasl/exchange.ts";
import { channelBindingOf } from "../sasl/channel-binding.ts";
import { offeredMechanisms } from "../sasl/mechanisms.ts";
import type { SaslMechanism } from "../sasl/mechanisms.ts";
import { fromBase64 } from "../sasl/text.ts";
import type { SmtpListenerContext } from "./context.ts";

/** The connection: XCLIENT changes its address, STARTTLS its socket. */
export interface AuthenticationClient {
  readonly id: string;
  readonly remoteAddress: string;
  readonly secure: boolean;
  readonly _socket: Socket;
}

const malformed = "501 5.5.2 Malformed credentials";
const notBase64 = "501 5.5.2 Not base64";

export class Authentication {
  #exchange: SaslExchange | undefined;
  readonly #context: SmtpListenerContext;
  readonly #client: AuthenticationClient;
  readonly #loggedIn: (row: DirectoryRow) => void;

  constructor(
    context: SmtpListenerContext,
    client: AuthenticationClient,
    loggedIn: (row: DirectoryRow) => void,
  ) {
    this.#context = context;
    this.#client = client;
    this.#loggedIn = loggedIn;
  }

  /** What EHLO lists, where AUTH may be said at all. */
  get offered(): readonly SaslMechanism[] {
    const { services, limits } = this.#context;
    return offeredMechanisms(services.saslMechanisms, this.#client.secure && limits.channelBinding);
  }

  /** The exchange has failed. RFC 4954 §4 */
  cancel(): void {
    this.#exchange = undefined;
  }

  /** The client's next line is a response. */
  get waits(): boolean {
    return this.#exchange !== undefined;
  }

  /** @param line the command line; @returns the reply */
  begin(line: string): string | Promise<string> {
    const [, name = "", initial, ...more] = line.trim().split(/\s+/);
    if (name === "" || more.length > 0)
      return "501 5.5.4 Syntax: AUTH mechanism [initial-response]";
    const { offered } = this;
    const mechanism = offered.find((each) => each === name.toUpperCase());
    if (mechanism === undefined) return "504 5.5.4 The mechanism is not supported";
    const { services, signal } = this.#context;
    const { remoteAddress: address, _socket: socket } = this.#client;
    const { first, exchange } = startSasl(mechanism, {
      auth: services.auth,
      address,
      binding: channelBindingOf(socket),
      bindingOffered: offered.includes("SCRAM-SHA-256-PLUS"),
      signal,
    });
    this.#exchange = exchange;
    if (initial === undefined) return challenge(first);
    // RFC 4954 §4: `=` is an empty initial response.
    return this.respond(initial === "=" ? "" : initial);
  }

  /** @param line the client's response in base64, or `*`; @returns the reply */
  respond(line: string): string | Promise<string> {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    if (exchange === undefined) return malformed;
    if (line === "*") return "501 5.7.0 Authentication aborted";
    const response = fromBase64(line);
    if (response === undefined) return notBase64;
    return exchange.respond(response).then((step) => this.#reply(exchange, step));
  }

  #reply(exchange: SaslExchange, step: SaslStep): string {
    switch (step.kind) {
      case "challenge":
        this.#exchange = exchange;
        return challenge(step.bytes);
      case "malformed":
        return malformed;
      case "forbidden":
        return this.#refused(step.login, "535 5.7.8 Not allowed to act for another user");
      case "verdict":
        return this.#verdict(step);
    }
  }

  #verdict({ verdict, login }: Extract<SaslStep, { kind: "verdict" }>): string {
    switch (verdict.kind) {
      case "ok": {
        const { id: session, remoteAddress: address } = this.#client;
        const { log } = this.#context.services;
        log.info({ session, address, login, user: verdict.row.name }, "smtp login");
        this.#loggedIn(verdict.row);
        return "235 2.7.0 Authentication successful";
      }
      case "refused":
        return this.#refused(login, "535 5.7.8 Wrong user name or password");
      case "disabled":
        // RFC 5248 §2.4: 525 goes with X.7.13.
        return this.#refused(login, "525 5.7.13 Account disabled");
      case "unavailable":
        return this.#refused(login, "454 4.7.0 Can't verify now, try again");
    }
  }

  #refused(login: string, reply: string): string {
    const { id: session, remoteAddress: address } = this.#client;
    this.#context.services.log.info(
      { session, address, login, code: reply.slice(0, 3) },
      "smtp login refused",
    );
    return reply;
  }
}

function challenge(bytes: Uint8Array): string {
  return `334 ${Buffer.from(bytes).toString("base64")}`;
}
