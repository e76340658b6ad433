// How long a client may take: for a command, for a login, for TLS, for each minute's share of a message.
// Pure: counts the milliseconds it is told of, so that a command costs no look at a clock.

import type { SmtpLimits } from "./limits.ts";

export interface ClientState {
  /** `us`: the client waits for a reply, or for us to take more of its message. */
  readonly waitsFor: "command" | "data" | "us" | "handshake";
  readonly authenticated: boolean;
  /** Message bytes taken so far in this connection. */
  readonly dataFed: number;
}

const rateWindowMs = 60_000;

export class Deadlines {
  readonly #limits: SmtpLimits;
  readonly #mustLogIn: boolean;
  #sinceGreetingMs = 0;
  #commandMs = 0;
  #handshakeMs = 0;
  /** Only time in which we waited for the client counts. */
  #dataMs = 0;
  #dataFedBefore = 0;

  constructor(limits: SmtpLimits, mustLogIn: boolean) {
    this.#limits = limits;
    this.#mustLogIn = mustLogIn;
  }

  /** A whole command came. */
  clientActed(): void {
    this.#commandMs = 0;
  }

  /** From now on the client owes message bytes. */
  dataBegins(dataFed: number): void {
    this.#dataMs = 0;
    this.#dataFedBefore = dataFed;
  }

  /** `ms` have passed. Returns the reply that ends the session, or `handshake` when TLS took too long. */
  tick(ms: number, state: ClientState): string | undefined {
    const limits = this.#limits;
    if (state.waitsFor === "handshake") {
      this.#handshakeMs += ms;
      return this.#handshakeMs > limits.tlsHandshakeMs ? "handshake" : undefined;
    }
    this.#handshakeMs = 0;
    if (this.#mustLogIn && !state.authenticated) {
      this.#sinceGreetingMs += ms;
      if (this.#sinceGreetingMs > limits.authenticationMs && state.waitsFor !== "us")
        return "421 4.4.2 No authentication in time (limits.authTimeout)";
    }
    if (state.waitsFor === "data") return this.#tickData(ms, state.dataFed);
    if (state.waitsFor === "us") return undefined;
    this.#commandMs += ms;
    return this.#commandMs > limits.commandTimeoutMs
      ? "421 4.4.2 No command in time (limits.commandTimeout)"
      : undefined;
  }

  #tickData(ms: number, dataFed: number): string | undefined {
    this.#commandMs = 0;
    this.#dataMs += ms;
    if (this.#dataMs < rateWindowMs) return undefined;
    if (dataFed - this.#dataFedBefore < this.#limits.dataBytesPerMinuteMin)
      return `421 4.4.2 Message comes slower than ${this.#limits.dataBytesPerMinuteMin} bytes a minute`;
    this.dataBegins(dataFed);
    return undefined;
  }
}
