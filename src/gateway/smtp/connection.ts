// One SMTP, submission or LMTP connection: smtp-server's session (socket, greeting, STARTTLS, SASL,
// XCLIENT) with our own parser, commands, replies and deadlines. This file and server.ts are the only
// ones that know smtp-server's insides; docs/decisions/0003 says why it is kept and what is replaced.

import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { SMTPServer } from "smtp-server";
import { SMTPConnection, type SMTPConnectionOptions } from "smtp-server/lib/smtp-connection.js";
import { Answered } from "./answered.ts";
import { extensionLines } from "./capabilities.ts";
import { shortOfMemory, type SmtpListenerContext, type Ticked } from "./context.ts";
import { Deadlines } from "./deadlines.ts";
import { SmtpInput } from "./input.ts";
import type { SmtpClient } from "./message.ts";
import { Authentication } from "./authentication.ts";
import { SmtpTransaction, type Started } from "./transaction.ts";
import * as verbs from "./verbs.ts";

const heldRepliesMax = 4096;

export class PabalConnection extends SMTPConnection implements Ticked {
  readonly #context: SmtpListenerContext;
  readonly #transaction: SmtpTransaction;
  readonly #deadlines: Deadlines;
  /** The address under which this connection is counted; undefined: not admitted, or gone. */
  #countedAs: string | undefined;
  /** Replies that wait until the input is empty. RFC 2920 §3.2 */
  #replies = "";
  #badCommands = 0;
  #handshaking: Socket | undefined;
  readonly #authentication: Authentication;
  readonly #answered: Answered;

  constructor(
    context: SmtpListenerContext,
    server: SMTPServer,
    socket: Socket | TLSSocket,
    options?: SMTPConnectionOptions | null,
  ) {
    super(server, socket, options);
    this.#context = context;
    this.#transaction = new SmtpTransaction(context, () => this.#client());
    this.#answered = new Answered(context.services.store);
    this.#authentication = new Authentication(context, this, (row) => {
      this.session.user = row.name;
      context.setUser(this.session, row);
    });
    this.#deadlines = new Deadlines(context.limits, context.kind === "submission");
  }

  /** No message is under way, so that a drain may end the session at once. */
  get idle(): boolean {
    return !this.#transaction.open;
  }
  get delivering(): boolean {
    return this.#transaction.delivering;
  }

  /** Memory is short. Between transactions the client loses nothing; what it had begun it keeps. */
  evict(): boolean {
    if (!this.idle || this._upgrading || this.#userNow() !== undefined) return false;
    this.send(421, shortOfMemory);
    return true;
  }

  /** smtp-server waits 100 ms for early talkers and looks the address up; we wait only where configured. */
  override init(): void {
    const address = this.remoteAddress;
    const refusal = this.#context.draining
      ? "4.3.2 Server shutting down"
      : this.#context.enter(this, address);
    if (refusal === undefined) this.#countedAs = address;
    this._setListeners(() => {
      const delay = this.#context.limits.greetingDelayMs;
      if (refusal !== undefined) this.send(421, refusal);
      else if (delay === 0) this.connectionReady();
      else this.#context.services.clock.after(delay, () => this.connectionReady());
    });
  }

  tick(ms: number): void {
    if (this._closing || this._closed) return;
    const input = this._parser instanceof SmtpInput ? this._parser : undefined;
    const verdict = this.#deadlines.tick(ms, {
      waitsFor: this._upgrading ? "handshake" : (input?.waitsFor ?? "us"),
      authenticated: this.#userNow() !== undefined,
      dataFed: input?.dataFed ?? 0,
    });
    if (verdict === undefined) return;
    // A handshake is torn down from its top: from below it would take the process along.
    if (verdict === "handshake") this.#handshaking?.destroy();
    else this.#answer(verdict);
  }

  override _armTimeout(socket: Socket = this._socket): void {
    if (this._upgrading) this.#handshaking = socket;
    super._armTimeout(socket);
  }

  /** The base class calls this from its constructor, before our fields are there; the handlers run later. */
  override _createParser(): SmtpInput {
    return new SmtpInput({
      line: (line, next) => this.#onLine(line, next),
      longLine: (next) => {
        this.#deadlines.clientActed();
        this.#authentication.cancel();
        this.#answer("500 5.5.6 Line too long (limits.smtpLineBytes, limits.authLineBytes)");
        next();
      },
      empty: () => this.#flush(),
      failed: (error) => this.#crash(error),
      lineBytesMax: (begun) => this.#lineBytesMax(begun),
    });
  }

  /** The library's own replies. Texts that begin with an enhanced status code go out as they are. RFC 2034 §4 */
  override send(code: number, data?: string | string[] | null, context?: string | false): void {
    this.#flush();
    if (verbs.isBad(code) && this.#tooManyBad()) {
      super.send(421, verbs.tooManyBad.slice(4), false);
      return;
    }
    const coded = typeof data === "string" && /^[245]\.\d{1,3}\.\d{1,3} /.test(data);
    super.send(code, data, coded ? false : context);
  }

  override close(): void {
    this.#flush();
    super.close();
  }

  override _proxyCommandAllowed(_command: string, _option: "useXClient" | "useXForward"): boolean {
    return !this._xClient.has("ADDR") && this.#context.proxies.has(this._originalRemoteAddress);
  }

  override _onClose(): void {
    this.#answered.closed(this._socket);
    super._onClose();
    this.#transaction.reset();
    const address = this.#countedAs;
    if (address === undefined) return;
    this.#countedAs = undefined;
    this.#context.leave(this, address);
    const { kind, services } = this.#context;
    const messages = this._transactionCounter;
    services.log.info({ session: this.id, kind, address, messages }, "smtp session ended");
  }

  #onLine(line: Buffer, next: () => void): void {
    if (this._upgrading) return next();
    this._handlerPending = true;
    this.#deadlines.clientActed();
    this.#answered.clientSpoke(this._socket);
    if (this.#context.draining) return this.#answer("421 4.3.2 Server shutting down");
    if (!this._ready) return this.#answer("421 5.5.1 You talk too soon"); // RFC 5321 §3.1
    if (this.#authentication.waits) {
      return this.#later(this.#authentication.respond(line.toString("latin1")), next);
    }
    const space = line.indexOf(0x20);
    const verb = line.toString("latin1", 0, space === -1 ? line.length : space).toUpperCase();
    const { log } = this.#context.services;
    if (log.isLevelEnabled("trace")) {
      const shown = verbs.shownVerbs.has(verb) ? line.toString("utf8") : "…";
      log.trace({ session: this.id, line: shown }, "smtp command");
    }
    return this.#dispatch(verb, line, next);
  }

  #dispatch(verb: string, line: Buffer, next: () => void): void {
    switch (verb) {
      case "MAIL":
        if (this.hostNameAppearsAs === false) return this.#reply(this.#helloFirst(), next);
        return this.#later(this.#transaction.mail(line.toString("utf8"), this.#userNow()), next);
      case "RCPT":
        return this.#reply(this.#transaction.rcpt(line.toString("utf8")), next);
      case "DATA":
        return this.#start(this.#transaction.data(line.toString("latin1")), true, next);
      case "BDAT":
        return this.#start(this.#transaction.bdat(line.toString("latin1")), false, next);
      case "RSET":
        this.#transaction.reset();
        return this.#reply("250 2.0.0 Flushed", next);
      case "EHLO":
      case "LHLO":
      case "HELO":
        return this.#hello(verb, line, next);
      case "AUTH":
        return this.#auth(line, next);
      case "STARTTLS":
        return this.#startTls(line, next);
      case "XCLIENT":
        return this.#xclient(line, next);
      case "QUIT":
        this.handler_QUIT(line, next);
        return undefined;
      case "NOOP":
        return this.#replyNow("250 2.0.0 OK", next);
      case "HELP":
        return this.#replyNow(verbs.helpReply, next);
      case "VRFY": // RFC 5321 §7.3
        return this.#replyNow(
          verbs.hasArgument(line)
            ? "252 2.0.0 Can't say, but will take mail if the address is ours"
            : "501 5.5.4 Syntax: VRFY address",
          next,
        );
      default:
        return this.#strange(verb, next);
    }
  }

  #strange(verb: string, next: () => void): void {
    // A web page that makes a browser post mail, or a proxy that we don't trust.
    if (verbs.webVerbs.has(verb)) return this.#answer("421 5.7.0 This is not a web server");
    if (verb === "PROXY") return this.#answer("421 5.7.0 PROXY is not accepted from this address");
    if (verbs.absentVerbs.has(verb))
      return this.#replyNow(`502 5.5.1 ${verb} is not offered`, next);
    return this.#replyNow("500 5.5.1 Command not recognised", next);
  }

  #hello(verb: "EHLO" | "LHLO" | "HELO", line: Buffer, next: () => void): void {
    const { limits, kind, services } = this.#context;
    // RFC 2033 §4.1: LMTP has LHLO alone, SMTP the other two.
    if ((kind === "lmtp") !== (verb === "LHLO"))
      return this.#replyNow(
        `500 5.5.1 ${verb} is not for ${kind === "lmtp" ? "LMTP" : "SMTP"}`,
        next,
      );
    const [, name = "", ...more] = line.toString("utf8").trim().split(/\s+/);
    if (name === "" || more.length > 0 || name.length > 255 || verbs.unsafeName.test(name))
      return this.#replyNow(`501 5.5.4 Syntax: ${verb} hostname`, next);
    this.#transaction.reset(); // RFC 5321 §4.1.4
    this.openingCommand = verb;
    this.hostNameAppearsAs = name.toLowerCase();
    this._resetSession();
    if (verb === "HELO") return this.#replyNow(`250 ${services.hostName}`, next);
    const lines = extensionLines({
      messageBytesMax: limits.messageBytesMax,
      recipientsMax: limits.recipientsMax,
      startTls: !this.secure && services.secureContext() !== undefined,
      mechanisms: this.#whyNoAuth() === undefined ? this.#authentication.offered : [],
      xclient: this._proxyCommandAllowed("XCLIENT", "useXClient"),
    });
    this.send(250, [services.hostName, ...lines], false);
    return this.#goOn(next);
  }

  #auth(line: Buffer, next: () => void): void {
    const why = this.hostNameAppearsAs === false ? this.#helloFirst() : this.#whyNoAuth();
    if (why !== undefined) return this.#replyNow(why, next);
    if (this.#transaction.open)
      return this.#replyNow("503 5.5.1 AUTH is not allowed in a mail transaction", next); // RFC 4954 §4
    return this.#later(this.#authentication.begin(line.toString("latin1")), next);
  }

  #whyNoAuth(): string | undefined {
    const { kind, services } = this.#context;
    if (kind !== "submission") return "503 5.5.1 AUTH is for the submission ports";
    if (this.#userNow() !== undefined) return "503 5.5.1 Already authenticated"; // RFC 4954 §4
    if (this.secure || services.plaintextLoginAllowed(this.remoteAddress)) return undefined;
    return "538 5.7.11 Encryption required: STARTTLS first";
  }

  #startTls(line: Buffer, next: () => void): void {
    if (this.#context.services.secureContext() === undefined)
      return this.#replyNow("502 5.5.1 STARTTLS is not offered", next);
    if (!this.secure && line.length <= "STARTTLS".length) this.#transaction.reset(); // RFC 3207 §4.2
    // Afterwards this input is retired with all that it holds; `next` only lets it notice.
    super.handler_STARTTLS(line, () => this.#goOn(next));
    return undefined;
  }

  #xclient(line: Buffer, next: () => void): void {
    if (this.#transaction.open) return this.#replyNow("503 5.5.1 Not in a mail transaction", next);
    if (/\sLOGIN=(?!\[UNAVAILABLE\])/i.test(line.toString("latin1")))
      return this.#replyNow("501 5.5.4 XCLIENT LOGIN is not supported", next);
    super.handler_XCLIENT(line, () => this.#goOn(next));
    return undefined;
  }

  #start(started: Started, data: boolean, next: () => void): void {
    if (started.kind === "refused") {
      this.#answer(started.reply);
      return started.fatal ? this.close() : this.#goOn(next);
    }
    if (data) this.#answer("354 End data with <CR><LF>.<CR><LF>");
    this.#flush();
    started.finished.then(
      (replies) => {
        for (const reply of replies) this.#answer(reply);
        if (!this.#transaction.open) this.#messageDone(replies);
        this.#goOn(next);
      },
      (error: unknown) => this.#crash(error),
    );
    if (started.sink !== undefined && this._parser instanceof SmtpInput) {
      this.#deadlines.dataBegins(this._parser.dataFed);
      this._parser.startData(started.sink);
    }
    return undefined;
  }

  #messageDone(replies: readonly string[]): void {
    if (replies.some((reply) => reply.startsWith("250"))) {
      this._transactionCounter++;
      this.#badCommands = 0;
    }
    this.#flush();
    this.#answered.written(this.#transaction.takeAcknowledged(), this._socket);
    if (this.#context.draining) this.#answer("421 4.3.2 Server shutting down");
  }

  #later(reply: string | Promise<string>, next: () => void): void {
    if (typeof reply === "string") return this.#reply(reply, next);
    reply.then(
      (text) => this.#reply(text, next),
      (error: unknown) => this.#crash(error),
    );
    return undefined;
  }

  /** A handler threw: this session ends, the process lives. */
  #crash(error: unknown): void {
    this.#context.services.log.error({ err: error, session: this.id }, "smtp session failed");
    this.#answer("421 4.3.0 Internal error");
  }

  #replyNow(text: string, next: () => void): void {
    this.#answer(text);
    this.#flush();
    this.#goOn(next);
  }

  #reply(text: string, next: () => void): void {
    this.#answer(text);
    this.#goOn(next);
  }

  /** Asks for the next line, unless the client does not take its replies. */
  #goOn(next: () => void): void {
    this._handlerPending = false;
    if (this._socket.writableNeedDrain) this._whenWritable(next);
    else next();
  }

  /** Queues a reply; 421 closes. RFC 5321 §3.8 */
  #answer(reply: string): void {
    const bad = verbs.isBad(Number(reply.slice(0, 3)));
    const text = bad && this.#tooManyBad() ? verbs.tooManyBad : reply;
    this.#replies += `${text}\r\n`;
    if (text.startsWith("421")) this.close();
    else if (this.#replies.length > heldRepliesMax) this.#flush();
  }

  #flush(): void {
    if (this.#replies === "") return;
    const replies = this.#replies;
    this.#replies = "";
    if (!this._upgrading && this._socket.writable) this._socket.write(replies, "latin1");
  }

  #tooManyBad(): boolean {
    return ++this.#badCommands >= this.#context.limits.badCommandsMax;
  }

  #helloFirst(): string {
    return `503 5.5.1 ${this.#context.kind === "lmtp" ? "LHLO" : "EHLO"} first`;
  }

  #userNow(): SmtpClient["user"] {
    return this.#context.userOf(this.session);
  }

  #lineBytesMax(begun: Buffer): number {
    const { limits } = this.#context;
    const auth = this.#authentication.waits || /^AUTH /i.test(begun.toString("latin1", 0, 5));
    return auth ? limits.authLineBytesMax : limits.lineBytesMax;
  }

  #client(): SmtpClient {
    const cipher = this.secure && this.tlsOptions !== false ? this.tlsOptions : undefined;
    return {
      address: this.remoteAddress,
      helo: this.hostNameAppearsAs === false ? "" : this.hostNameAppearsAs,
      protocol: this.#protocol(),
      tls: cipher === undefined ? undefined : `${cipher.version} ${cipher.name}`,
      user: this.#userNow(),
    };
  }

  /** RFC 3848, RFC 6531 §4.3 */
  #protocol(): string {
    if (this.openingCommand === "HELO") return "SMTP";
    const lmtp = this.#context.kind === "lmtp";
    const utf8 = this.#transaction.smtpUtf8;
    const base = utf8 ? (lmtp ? "UTF8LMTP" : "UTF8SMTP") : lmtp ? "LMTP" : "ESMTP";
    return `${base}${this.secure ? "S" : ""}${this.#userNow() === undefined ? "" : "A"}`;
  }
}
