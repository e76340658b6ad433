// One SMTP, submission or LMTP connection: smtp-server's session (greeting, STARTTLS, SASL, XCLIENT,
// PROXY, timeouts) with our own parser, MAIL, RCPT, DATA, BDAT and EHLO. This is the one file that
// knows smtp-server's insides; docs/decisions/0003 says why it is kept and what is replaced.

import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { SMTPServer } from "smtp-server";
import { SMTPConnection, type SMTPConnectionOptions } from "smtp-server/lib/smtp-connection.js";
import { SmtpInput } from "./input.ts";
import type { SmtpListenerContext } from "./context.ts";
import { type Receiving, type SmtpClient, SmtpTransaction } from "./transaction.ts";

export class PabalConnection extends SMTPConnection {
  readonly #context: SmtpListenerContext;
  readonly #transaction: SmtpTransaction;
  #badCommands = 0;

  constructor(
    context: SmtpListenerContext,
    server: SMTPServer,
    socket: Socket | TLSSocket,
    options?: SMTPConnectionOptions | null,
  ) {
    super(server, socket, options);
    this.#context = context;
    this.#transaction = new SmtpTransaction(context);
  }

  /** No message is under way, so that a drain may end the session at once. */
  get idle(): boolean {
    return !this.#transaction.open;
  }

  /** smtp-server waits 100 ms for early talkers and looks the address up; we wait only where configured. */
  override init(): void {
    const refusal = this.#context.admit(this.remoteAddress);
    this._setListeners(() => {
      if (refusal !== undefined) {
        this.send(421, refusal);
        return;
      }
      const delay = this.#context.limits.greetingDelayMs;
      if (delay === 0) this.connectionReady();
      else this.#context.services.clock.after(delay, () => this.connectionReady());
    });
    this._socket.once("close", () => {
      if (refusal === undefined) this.#context.leave(this.remoteAddress);
    });
  }

  override _createParser(): SmtpInput {
    // The base class calls this from its constructor, before our fields are there.
    const input = new SmtpInput(() => this.#lineBytesMax());
    input.oncommand = (line, next) => this._onCommand(line, next);
    input.on("error", (error: Error) => {
      this.send(500, `5.5.2 ${error.message}`);
      this.close();
    });
    return input;
  }

  /** Texts that begin with an enhanced status code go out as they are. RFC 2034 §4 */
  override send(code: number, data?: string | string[] | null, context?: string | false): void {
    const coded = typeof data === "string" && /^[245]\.\d{1,3}\.\d{1,3} /.test(data);
    super.send(code, data, coded ? false : context);
    if (code >= 500 && code <= 504) this.#countBadCommand();
  }

  override handler_EHLO(command: Buffer, callback: () => void): void {
    const { limits, kind, services } = this.#context;
    const words = command.toString("utf8").trim().split(/\s+/);
    const name = words[1] ?? "";
    if (words.length !== 2 || name.length > 255 || /[\u0000-\u001f\u007f]/.test(name)) {
      this.send(501, `5.5.4 Syntax: ${kind === "lmtp" ? "LHLO" : "EHLO"} hostname`);
      return callback();
    }
    this.hostNameAppearsAs = name.toLowerCase();
    this._resetSession();
    this.#transaction.reset();
    const tls = services.secureContext() !== undefined;
    this.send(
      250,
      [
        services.hostName,
        "PIPELINING",
        `SIZE ${limits.messageBytesMax}`,
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "BINARYMIME",
        // RFC 9422 §4: what we limit anyway.
        `LIMITS RCPTMAX=${limits.recipientsMax}`,
        ...(tls && !this.secure ? ["STARTTLS"] : []),
        ...(this.#authPossible() ? ["AUTH PLAIN LOGIN"] : []),
        ...(this._proxyCommandAllowed("XCLIENT", "useXClient")
          ? ["XCLIENT NAME ADDR PORT PROTO HELO LOGIN"]
          : []),
      ],
      false,
    );
    return callback();
  }

  override handler_HELO(command: Buffer, callback: () => void): void {
    this.#transaction.reset();
    super.handler_HELO(command, callback);
  }

  override handler_RSET(_command: Buffer, callback: () => void): void {
    this.#transaction.reset();
    this._resetSession();
    this.send(250, "2.0.0 Flushed");
    callback();
  }

  override handler_VRFY(_command: Buffer, callback: () => void): void {
    this.send(252, "2.1.5 Send some mail, we'll try our best"); // RFC 5321 §7.3
    callback();
  }

  override handler_HELP(_command: Buffer, callback: () => void): void {
    this.send(
      214,
      "2.0.0 EHLO MAIL RCPT DATA BDAT RSET NOOP VRFY STARTTLS AUTH QUIT, see RFC 5321",
    );
    callback();
  }

  override handler_AUTH(command: Buffer, callback: () => void): void {
    if (!this.#authPossible()) {
      const why =
        this.#context.kind !== "submission"
          ? "503 5.5.1 AUTH is for the submission ports"
          : "538 5.7.11 Encryption required";
      this.#reply(why);
      return callback();
    }
    if (this.#transaction.open) {
      this.send(503, "5.5.1 AUTH is not allowed in a mail transaction"); // RFC 4954 §4
      return callback();
    }
    super.handler_AUTH(command, callback);
  }

  override handler_STARTTLS(command: Buffer, callback: () => void): void {
    this.#transaction.reset(); // RFC 3207 §4.2
    super.handler_STARTTLS(command, callback);
  }

  override handler_MAIL(command: Buffer, callback: () => void): void {
    this.#later(this.#transaction.mail(command.toString("utf8"), this.#client()), callback);
  }

  override handler_RCPT(command: Buffer, callback: () => void): void {
    this.#later(this.#transaction.rcpt(command.toString("utf8"), this.#client()), callback);
  }

  override handler_DATA(command: Buffer, callback: () => void): void {
    const started = this.#transaction.data(command.toString("latin1"), this.#client());
    if (!started.ok) {
      this.#reply(started.reply);
      return callback();
    }
    this.send(354, "End data with <CR><LF>.<CR><LF>");
    this.#receive(started, callback);
    return undefined;
  }

  /** BDAT size [LAST]. RFC 3030 §2 */
  handler_BDAT(command: Buffer, callback: () => void): void {
    const started = this.#transaction.bdat(command.toString("latin1"), this.#client());
    if (!started.ok) {
      // How many bytes follow is unknown, and they must not be taken for commands.
      this.#reply(started.reply);
      this.close();
      return callback();
    }
    this.#receive(started, callback);
    return undefined;
  }

  // Jokes and extensions of the library that have no place here.
  override handler_WIZ(_command: Buffer, callback: () => void): void {
    this.#unknown(callback);
  }
  override handler_SHELL(_command: Buffer, callback: () => void): void {
    this.#unknown(callback);
  }
  override handler_KILL(_command: Buffer, callback: () => void): void {
    this.#unknown(callback);
  }

  override _onClose(): void {
    super._onClose();
    this.#transaction.abort();
  }

  #receive(started: Receiving, callback: () => void): void {
    const input = this._parser;
    if (!(input instanceof SmtpInput)) return callback();
    this.#context.watchRate(this, () => started.receivedBytes());
    started.finished.then(
      (replies) => {
        this.#context.unwatchRate(this);
        this._transactionCounter++;
        this._resetSession();
        for (const reply of replies) this.#reply(reply);
        callback();
      },
      (error: unknown) => this.#crash(error, callback),
    );
    input.startData(started.sink);
    return undefined;
  }

  #later(reply: string | Promise<string>, callback: () => void): void {
    if (typeof reply === "string") {
      this.#reply(reply);
      return callback();
    }
    reply.then(
      (text) => {
        this.#reply(text);
        callback();
      },
      (error: unknown) => this.#crash(error, callback),
    );
    return undefined;
  }

  /** A handler threw: this session ends, the process lives. */
  #crash(error: unknown, callback: () => void): void {
    this.#context.services.log.error({ err: error, session: this.id }, "smtp session failed");
    this.send(421, "4.3.0 Internal error");
    callback();
  }

  #reply(text: string): void {
    this.send(Number(text.slice(0, 3)), text.slice(4));
  }

  #unknown(callback: () => void): void {
    this.send(500, "5.5.1 Command not recognised");
    callback();
  }

  #countBadCommand(): void {
    this.#badCommands++;
    if (this.#badCommands === this.#context.limits.badCommandsMax) {
      this.send(421, "4.7.0 Too many bad commands (limits.badCommands)");
    }
  }

  #authPossible(): boolean {
    const { kind, services } = this.#context;
    if (kind !== "submission" || (this.session.user !== undefined && this.session.user !== false))
      return false;
    return this.secure || services.plaintextLoginAllowed(this.remoteAddress);
  }

  #lineBytesMax(): number {
    const { limits } = this.#context;
    return this._nextHandler === false ? limits.lineBytesMax : limits.authLineBytesMax;
  }

  #client(): SmtpClient {
    const cipher = this.secure && this.tlsOptions !== false ? this.tlsOptions : undefined;
    return {
      address: this.remoteAddress,
      helo: this.hostNameAppearsAs === false ? "" : this.hostNameAppearsAs,
      protocol: this._transmissionType(),
      tls: cipher === undefined ? undefined : `${cipher.version} ${cipher.name}`,
      user: this.#context.userOf(this.session),
      sessionId: this.id,
    };
  }
}
