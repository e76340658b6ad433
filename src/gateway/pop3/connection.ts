// One POP3 connection: reads lines, performs what the session asks for, in order, and feeds back what
// came of it. Reads nothing while it works or while the client doesn't read, so at most one chunk
// and one line of input and one piece of output are in memory.

import type { Socket } from "node:net";
import { AssertionFailure, assert } from "../../lib/assert.ts";
import { isMailError } from "../../mail/errors.ts";
import type { MailFailure } from "../../mail/errors.ts";
import type { AuthVerdict } from "../../cluster/directory/directory.ts";
import { startSasl } from "../sasl/exchange.ts";
import type { SaslExchange } from "../sasl/exchange.ts";
import type { SaslMechanism } from "../sasl/mechanisms.ts";
import type { GatewayServices } from "../services.ts";
import { offeredTo } from "./authorization.ts";
import type { Pop3Limits } from "./limits.ts";
import { LineBuffer } from "./line-buffer.ts";
import { openMessage, takeMaildrop, updateMaildrop } from "./maildrop-access.ts";
import type { HeldMaildrop } from "./maildrop-access.ts";
import { DotStuffer, TopCutter } from "./message-lines.ts";
import { restartAfterTls, startSession, stepSession } from "./session.ts";
import type { Pop3Effect, Pop3Event, Pop3State } from "./state.ts";
import { ConnectionLost, Wire } from "./wire.ts";

export interface Pop3ConnectionOptions {
  readonly services: GatewayServices;
  readonly limits: Pop3Limits;
  readonly socket: Socket;
  readonly address: string;
  readonly implicitTls: boolean;
}

const listingBytesMax = 16 * 1024;

export class Pop3Connection {
  readonly #services: GatewayServices;
  readonly #limits: Pop3Limits;
  readonly #address: string;
  readonly #implicitTls: boolean;
  readonly #wire: Wire;
  readonly #lines = new LineBuffer();
  readonly #authenticateByMs: number;
  #state: Pop3State;
  #held: HeldMaildrop | undefined;
  /** Why the session is to end: its maildrop is no longer ours, or memory is short. */
  #lost: MailFailure | undefined;
  /** The client is to say something. */
  #waits = false;
  #user = "";
  /** Of AUTH, from its first line on. */
  #exchange: SaslExchange | undefined;

  constructor({ services, limits, socket, address, implicitTls }: Pop3ConnectionOptions) {
    this.#services = services;
    this.#limits = limits;
    this.#address = address;
    this.#implicitTls = implicitTls;
    this.#wire = new Wire(socket, services.clock, limits.writeMs);
    this.#authenticateByMs = services.clock.monotonicMs() + limits.authenticationMs;
    [this.#state] = startSession(this.#facts());
  }

  /** Runs the whole session; the connection is closed in any case. Rejects for our own bugs only. */
  async run(): Promise<void> {
    try {
      if (this.#implicitTls) await this.#startTls({ dropInput: false });
      const [state, greeting] = startSession(this.#facts());
      this.#state = state;
      for (const effect of greeting) await this.#perform(effect);
      while (!this.#state.ended) await this.#handle(await this.#nextEvent());
      await this.#wire.end();
    } catch (error) {
      const lost = this.#wire.lost.aborted;
      this.#wire.destroy();
      // Once the client is gone, what the store was asked for it fails with an abort.
      const expected = lost || error instanceof ConnectionLost;
      if (!expected || error instanceof AssertionFailure) throw error;
    } finally {
      this.#held?.release();
      const facts = { protocol: "pop3", address: this.#address, user: this.#user };
      this.#services.log.info(facts, "session ended");
    }
  }

  /** Ends the session with a word before its next command. Nothing is deleted. */
  shutdown(): void {
    this.#wire.wake();
  }

  /** Memory is short: nobody is logged in, and the client says nothing. */
  evict(): boolean {
    if (this.#user !== "" || !this.#waits) return false;
    this.#lost = { code: "BUSY", what: "memory" };
    this.#wire.wake();
    return true;
  }

  /** Drops the connection. */
  destroy(): void {
    this.#wire.destroy();
  }

  #facts(): Pop3State["facts"] {
    const { secureContext, hostName, plaintextLoginAllowed, saslMechanisms } = this.#services;
    return {
      tls: this.#wire.encrypted,
      tlsAvailable: secureContext() !== undefined,
      plaintextLogin: plaintextLoginAllowed(this.#address),
      mechanisms: saslMechanisms,
      hostName,
      badCommandsMax: this.#limits.badCommandsMax,
    };
  }

  /** The next line, when replies to the earlier ones are out; or why there is none. */
  async #nextEvent(): Promise<Pop3Event> {
    const { authLineBytesMax, lineBytesMax, commandMs } = this.#limits;
    const inExchange = this.#state.inSasl === true;
    const limit = (start: Uint8Array): number =>
      inExchange || startsWithAuth(start) ? authLineBytesMax : lineBytesMax;
    const commandByMs = this.#services.clock.monotonicMs() + commandMs;
    const loggedIn = this.#state.maildrop !== undefined;
    const deadlineMs = loggedIn ? commandByMs : Math.min(commandByMs, this.#authenticateByMs);
    for (;;) {
      if (this.#lost !== undefined) return { kind: "lost", failure: this.#lost };
      const line = this.#lines.next(limit);
      if (line !== undefined) return line;
      await this.#wire.flush();
      this.#waits = true;
      const chunk = await this.#wire.read(deadlineMs);
      this.#waits = false;
      // RFC 1939 §3: at the timeout the connection closes without a word, and nothing is deleted.
      if (chunk === "timeout" || chunk === "ended") throw new ConnectionLost(chunk);
      if (chunk === "woken") {
        return this.#lost === undefined
          ? { kind: "shutdown" }
          : { kind: "lost", failure: this.#lost };
      }
      this.#lines.push(chunk);
    }
  }

  async #handle(first: Pop3Event): Promise<void> {
    let event: Pop3Event | undefined = first;
    while (event !== undefined) {
      const [state, effects] = stepSession(this.#state, event);
      this.#state = state;
      event = undefined;
      for (const effect of effects) event = await this.#perform(effect);
    }
  }

  /** Does one thing; what came of it, when the session wants to know, is the next event. */
  async #perform(effect: Pop3Effect): Promise<Pop3Event | undefined> {
    switch (effect.kind) {
      case "reply":
        await this.#wire.write(Buffer.from(`${effect.line}\r\n`));
        return undefined;
      case "lines":
        await this.#writeLines(effect.first, effect.lines);
        return undefined;
      case "login": {
        const { user, password } = effect;
        return this.#failing("failed", () => this.#verify(user, password));
      }
      case "startSasl":
        return this.#failing("failed", () => this.#startSasl(effect.mechanism, effect.initial));
      case "continueSasl":
        return this.#failing("failed", () => this.#continueSasl(effect.response));
      case "message":
        return this.#failing("failed", () => this.#sendMessage(effect));
      case "update":
        return this.#failing("updateFailed", () => this.#update(effect));
      case "startTls":
        // RFC 2595 §4, CVE-2011-0411, CVE-2021-33515: nothing said in the clear lives on.
        this.#lines.clear();
        await this.#startTls({ dropInput: true });
        this.#state = restartAfterTls(this.#state);
        return undefined;
      case "close":
        return undefined; // The state has ended, and run() closes.
    }
  }

  /** Turns a failure of the world into its event. */
  async #failing(
    kind: "failed" | "updateFailed",
    run: () => Promise<Pop3Event | undefined>,
  ): Promise<Pop3Event | undefined> {
    try {
      return await run();
    } catch (error) {
      if (!isMailError(error)) throw error;
      return { kind, failure: error.failure };
    }
  }

  async #startTls(options: { readonly dropInput: boolean }): Promise<void> {
    const context = this.#services.secureContext();
    if (context === undefined) throw new ConnectionLost("no certificate");
    await this.#wire.startTls(context, this.#limits.tlsHandshakeMs, options);
  }

  async #verify(user: string, password: string): Promise<Pop3Event> {
    await this.#wire.flush(); // A login may take long: what was answered before goes out first.
    const { auth } = this.#services;
    return this.#login(user, await auth.verify(user, password, this.#address, this.#wire.lost));
  }

  async #startSasl(mechanism: SaslMechanism, initial: Uint8Array | undefined): Promise<Pop3Event> {
    const started = startSasl(mechanism, {
      auth: this.#services.auth,
      address: this.#address,
      binding: this.#wire.channelBinding,
      bindingOffered: offeredTo(this.#state.facts).includes("SCRAM-SHA-256-PLUS"),
      signal: this.#wire.lost,
    });
    this.#exchange = started.exchange;
    if (initial === undefined) return { kind: "challenge", bytes: started.first };
    return this.#continueSasl(initial);
  }

  async #continueSasl(response: Uint8Array): Promise<Pop3Event> {
    await this.#wire.flush();
    assert(this.#exchange !== undefined, "an exchange was started");
    const step = await this.#exchange.respond(response);
    return step.kind === "verdict" ? this.#login(step.login, step.verdict) : step;
  }

  async #login(user: string, verdict: AuthVerdict): Promise<Pop3Event> {
    const { lockWaitMs } = this.#limits;
    const onLost = (failure: MailFailure): void => {
      this.#lost = failure;
      this.#wire.wake();
    };
    const request = { verdict, lockWaitMs, onLost };
    this.#held = await takeMaildrop(this.#services, request, this.#wire.lost);
    if (this.#held === undefined) return { kind: "refused" };
    this.#user = verdict.kind === "ok" ? verdict.row.name : user;
    this.#services.memory?.leave(this);
    return { kind: "loggedIn", contents: this.#held.contents };
  }

  async #update(effect: Extract<Pop3Effect, { kind: "update" }>): Promise<Pop3Event> {
    assert(this.#held !== undefined, "a maildrop is held in the TRANSACTION state");
    try {
      await updateMaildrop(this.#services, this.#held, effect, this.#wire.lost);
    } finally {
      this.#held.release(); // Before the +OK, so that the client may log in again at once.
    }
    return { kind: "updated" };
  }

  async #sendMessage({
    number,
    first,
    bodyLines,
  }: Extract<Pop3Effect, { kind: "message" }>): Promise<Pop3Event | undefined> {
    const { maildrop } = this.#state;
    assert(this.#held !== undefined && maildrop !== undefined, "a maildrop is held");
    const which = { mailbox: maildrop.mailbox(number), uid: maildrop.uid(number) };
    const message = await openMessage(this.#services, this.#held, which, this.#wire.lost);
    try {
      await this.#wire.write(Buffer.from(`${first}\r\n`));
      await this.#writeMessage(message.pieces, bodyLines);
    } catch (error) {
      // The reply has begun, so that a failure can only be told by dropping the connection.
      if (!isMailError(error)) throw error;
      this.#services.log.warn({ user: this.#user, ...which, err: error }, "pop3: message cut off");
      throw new ConnectionLost("message cut off", { cause: error });
    } finally {
      await message.close();
    }
    return bodyLines === undefined ? { kind: "retrieved", number } : undefined;
  }

  async #writeMessage(
    pieces: AsyncIterable<Uint8Array>,
    bodyLines: number | undefined,
  ): Promise<void> {
    const stuffer = new DotStuffer();
    const cutter = bodyLines === undefined ? undefined : new TopCutter(bodyLines);
    for await (const piece of pieces) {
      await this.#wire.write(stuffer.push(cutter === undefined ? piece : cutter.push(piece)));
      if (cutter?.done === true) break;
    }
    await this.#wire.write(stuffer.end());
  }

  async #writeLines(first: string, lines: Iterable<string>): Promise<void> {
    let text = `${first}\r\n`;
    for (const line of lines) {
      text += `${line}\r\n`;
      if (text.length < listingBytesMax) continue;
      await this.#wire.write(Buffer.from(text));
      text = "";
    }
    await this.#wire.write(Buffer.from(`${text}.\r\n`));
  }
}

function startsWithAuth(start: Uint8Array): boolean {
  return /^auth /i.test(Buffer.from(start).toString("latin1"));
}
