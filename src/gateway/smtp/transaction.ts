// The mail transaction of a connection: MAIL, RCPT, then DATA or BDAT, and what comes of it. Knows
// replies and rules, not sockets: the connection feeds it lines and bytes.

import type { DirectoryRow } from "../../mail/account.ts";
import { normaliseAddress } from "../../mail/address.ts";
import type { DeliveryId } from "../../mail/ids.ts";
import { DataDecoder } from "./data-decoder.ts";
import { HeaderGate } from "./header-gate.ts";
import { relayPolicy, submissionPolicy } from "./header-policy.ts";
import type { DataSink } from "./input.ts";
import { Intake } from "./intake.ts";
import { parsePathCommand } from "./path-command.ts";
import { type Recipient, resolveRecipient } from "./recipients.ts";
import type { SmtpListenerContext } from "./context.ts";
import { traceHeaders } from "./trace.ts";

/** The other end, as trace headers and rules need it. */
export interface SmtpClient {
  readonly address: string;
  readonly helo: string;
  /** `SMTP`, `ESMTPSA`, `LMTP` … RFC 3848 */
  readonly protocol: string;
  readonly tls: string | undefined;
  readonly user: DirectoryRow | undefined;
  readonly sessionId: string;
}

/** Message bytes are awaited: feed `sink`, then send what `finished` gives. */
export interface Receiving {
  readonly ok: true;
  readonly sink: DataSink;
  readonly finished: Promise<readonly string[]>;
  readonly receivedBytes: () => number;
}
export type Started = Receiving | { readonly ok: false; readonly reply: string };

interface Envelope {
  readonly sender: string;
  readonly binary: boolean;
  readonly smtpUtf8: boolean;
  /** Present on submission: whose message it is. */
  readonly user: DirectoryRow | undefined;
  readonly recipients: Recipient[];
}

export class SmtpTransaction {
  readonly #context: SmtpListenerContext;
  #envelope: Envelope | undefined;
  #message: Message | undefined;
  /** A BDAT failed: everything but RSET is refused, its bytes are swallowed. RFC 3030 §2 */
  #failed = false;
  #guesses = 0;

  constructor(context: SmtpListenerContext) {
    this.#context = context;
  }

  /** True from MAIL until the message is answered or reset. */
  get open(): boolean {
    return this.#envelope !== undefined;
  }

  reset(): void {
    this.#message?.intake.abort();
    this.#message = undefined;
    this.#envelope = undefined;
    this.#failed = false;
  }

  /** The connection is gone. */
  abort(): void {
    this.reset();
  }

  async mail(line: string, client: SmtpClient): Promise<string> {
    if (this.#envelope !== undefined) return "503 5.5.1 Sender already given";
    const { kind, limits } = this.#context;
    if (kind === "submission" && client.user === undefined)
      return "530 5.7.0 Authentication required";
    const parsed = parsePathCommand(line, "MAIL FROM");
    if (!parsed.ok) return parsed.reply;
    const { path, parameters } = parsed.command;
    const wrong = checkParameters(parameters, limits.messageBytesMax);
    if (wrong !== undefined) return wrong;
    const smtpUtf8 = parameters.has("SMTPUTF8");
    if (!smtpUtf8 && /[^\u0000-\u007f]/.test(path)) return "553 5.6.7 Address needs SMTPUTF8";
    const sender = path === "" ? "" : normaliseAddress(path);
    if (sender === undefined) return "501 5.1.7 Bad sender address";
    let user: DirectoryRow | undefined;
    if (client.user !== undefined) {
      user = await this.#context.services.directory.byAccount(client.user.account);
      if (user?.state !== "active" || user.credVersion !== client.user.credVersion) {
        return "530 5.7.0 Authenticate again: the account has changed";
      }
      if (sender !== "" && sender !== user.name && !user.aliases.includes(sender)) {
        return "553 5.7.1 Sender address is not yours";
      }
    }
    this.#envelope = {
      sender: path,
      binary: parameters.get("BODY")?.toUpperCase() === "BINARYMIME",
      smtpUtf8,
      user,
      recipients: [],
    };
    return "250 2.1.0 Sender ok";
  }

  async rcpt(line: string, client: SmtpClient): Promise<string> {
    const envelope = this.#envelope;
    if (envelope === undefined) return "503 5.5.1 MAIL first";
    if (this.#message !== undefined) return "503 5.5.1 Not while a message is being sent";
    const { limits, services } = this.#context;
    if (envelope.recipients.length >= limits.recipientsMax) {
      return `452 4.5.3 More than ${limits.recipientsMax} recipients (limits.recipients)`; // RFC 5321 §4.5.3.1.10
    }
    if (this.#guesses >= limits.badCommandsMax * 10) return "421 4.7.0 Too many unknown recipients";
    const parsed = parsePathCommand(line, "RCPT TO");
    if (!parsed.ok) return parsed.reply;
    if (parsed.command.parameters.size > 0) return "555 5.5.4 RCPT parameters are not supported";
    const verdict = await resolveRecipient(parsed.command.path, {
      directory: services.directory,
      domains: services.domains,
      hostName: services.hostName,
      authenticated: client.user !== undefined,
      smtpUtf8: envelope.smtpUtf8,
    });
    if (!verdict.ok) {
      if (verdict.guess) this.#guesses++;
      return verdict.reply;
    }
    envelope.recipients.push(verdict.recipient);
    return "250 2.1.5 Recipient ok";
  }

  data(line: string, client: SmtpClient): Started {
    if (line.trim().length > 4) return { ok: false, reply: "501 5.5.4 DATA takes no parameter" };
    const envelope = this.#envelope;
    if (envelope === undefined) return { ok: false, reply: "503 5.5.1 MAIL first" };
    if (envelope.recipients.length === 0)
      return { ok: false, reply: "554 5.5.1 No valid recipients" };
    if (envelope.binary) return { ok: false, reply: "503 5.5.1 BINARYMIME needs BDAT" }; // RFC 3030 §3
    if (this.#message !== undefined)
      return { ok: false, reply: "503 5.5.1 DATA and BDAT can't be mixed" };
    const message = this.#begin(envelope, client, true);
    const done = deferred();
    const sink: DataSink = {
      push: (chunk) => {
        const { consumed, ended, wait } = message.push(chunk);
        if (ended) done.resolve();
        return wait === undefined ? { consumed, ended } : { consumed, ended, wait };
      },
    };
    return {
      ok: true,
      sink,
      finished: done.promise.then(() => this.#finish(message)),
      receivedBytes: () => message.received,
    };
  }

  bdat(line: string, client: SmtpClient): Started {
    const match = /^BDAT +(\d{1,15})( +LAST)? *$/i.exec(line);
    // Without a size nothing after it can be told from commands: the session must end.
    if (match === null) return { ok: false, reply: "501 5.5.4 Syntax: BDAT size [LAST]" };
    const [size, last] = [Number(match[1]), match[2] !== undefined];
    const refusal = this.#failed ? "503 5.5.1 BDAT failed before, RSET first" : this.#bdatRefusal();
    const envelope = this.#envelope;
    if (refusal === undefined && envelope !== undefined)
      this.#message ??= this.#begin(envelope, client, false);
    const message = refusal === undefined ? this.#message : undefined;
    let left = size;
    const done = deferred();
    const sink: DataSink = {
      push: (chunk) => {
        const consumed = Math.min(left, chunk.length);
        left -= consumed;
        const wait = message?.pushCounted(chunk.subarray(0, consumed));
        if (left === 0) done.resolve();
        return wait === undefined
          ? { consumed, ended: left === 0 }
          : { consumed, ended: left === 0, wait };
      },
    };
    if (size === 0) done.resolve();
    const answer = async (): Promise<readonly string[]> => {
      await done.promise;
      if (message === undefined) {
        this.#failed = true;
        return [refusal ?? "503 5.5.1 MAIL first"];
      }
      if (last) return this.#finish(message);
      if (message.refusal === undefined) return [`250 2.0.0 ${size} bytes received`];
      const reply = message.refusal;
      this.reset();
      this.#failed = true;
      return [reply];
    };
    return {
      ok: true,
      sink,
      finished: answer(),
      receivedBytes: () => message?.received ?? size - left,
    };
  }

  #bdatRefusal(): string | undefined {
    if (this.#envelope === undefined) return "503 5.5.1 MAIL first";
    return this.#envelope.recipients.length === 0 ? "554 5.5.1 No valid recipients" : undefined;
  }

  #begin(envelope: Envelope, client: SmtpClient, dots: boolean): Message {
    const message = new Message(this.#context, envelope, client, dots);
    this.#message = message;
    return message;
  }

  async #finish(message: Message): Promise<readonly string[]> {
    const perRecipient = await message.finish();
    const { kind, services } = this.#context;
    services.log.info(
      {
        deliveryId: message.deliveryId,
        from: message.envelope.sender,
        recipients: message.envelope.recipients.length,
        bytes: message.received,
        reply: perRecipient[0],
      },
      "message received",
    );
    this.#message = undefined;
    this.reset();
    return kind === "lmtp" ? perRecipient : [oneReply(perRecipient)]; // RFC 2033 §4.2
  }
}

/** SMTP has one answer for all: success only when every recipient has it, else a try-again unless all are refused. */
function oneReply(replies: readonly string[]): string {
  const first = replies[0] ?? "451 4.3.0 Local error, try again";
  if (replies.every((reply) => reply.startsWith("2"))) return first;
  const temporary = replies.find((reply) => reply.startsWith("4"));
  if (temporary !== undefined) return temporary;
  return replies.every((reply) => reply.startsWith("5"))
    ? first
    : "451 4.2.0 Not stored for every recipient, try again";
}

function checkParameters(
  parameters: ReadonlyMap<string, string>,
  messageBytesMax: number,
): string | undefined {
  for (const [name, value] of parameters) {
    switch (name) {
      case "SIZE":
        if (!/^\d{1,20}$/.test(value)) return "501 5.5.4 SIZE wants a number";
        if (Number(value) > messageBytesMax) {
          return `552 5.3.4 Message larger than ${messageBytesMax} bytes (limits.messageBytes)`; // RFC 1870 §6.1
        }
        break;
      case "BODY":
        if (!["7BIT", "8BITMIME", "BINARYMIME"].includes(value.toUpperCase()))
          return "501 5.5.4 Unknown BODY type";
        break;
      case "SMTPUTF8":
        if (value !== "") return "501 5.5.4 SMTPUTF8 takes no value";
        break;
      case "AUTH":
        break; // RFC 4954 §5: accepted; we trust nobody's claim.
      default:
        return `555 5.5.4 Parameter ${name} is not supported`;
    }
  }
  return undefined;
}

/** One message being received: decoded, checked, handed to the intake. */
class Message {
  readonly envelope: Envelope;
  readonly deliveryId: DeliveryId;
  readonly intake: Intake;
  received = 0;
  readonly #context: SmtpListenerContext;
  readonly #decoder: DataDecoder;
  readonly #gate: HeaderGate;
  #refusal: string | undefined;

  constructor(context: SmtpListenerContext, envelope: Envelope, client: SmtpClient, dots: boolean) {
    const { services, limits } = context;
    this.#context = context;
    this.envelope = envelope;
    this.deliveryId = services.nextDeliveryId();
    const nowMs = services.clock.nowMs();
    this.#decoder = new DataDecoder({
      bareNewlines: limits.bareNewlines,
      lineBytesMax: limits.textLineBytesMax,
      dots,
    });
    const { user } = envelope;
    this.#gate = new HeaderGate(
      user === undefined
        ? relayPolicy(limits.hopsMax)
        : submissionPolicy({
            hopsMax: limits.hopsMax,
            ownNames: new Set([user.name, ...user.aliases]),
            messageId: `<${this.deliveryId}@${services.hostName}>`,
            nowMs,
          }),
    );
    const trace = traceHeaders({
      sender: envelope.sender,
      helo: client.helo,
      address: client.address,
      hostName: services.hostName,
      protocol: client.protocol,
      deliveryId: this.deliveryId,
      onlyRecipient: envelope.recipients.length === 1 ? envelope.recipients[0]?.path : undefined,
      dateMs: nowMs,
      tls: client.tls,
    });
    this.intake = new Intake({
      services,
      deliveryId: this.deliveryId,
      recipients: envelope.recipients,
      head: trace,
      signal: context.signal,
    });
  }

  get refusal(): string | undefined {
    const { faults } = this.#decoder;
    if (this.#refusal !== undefined) return this.#refusal;
    if (this.received > this.#context.limits.messageBytesMax) {
      return `552 5.3.4 Message larger than ${this.#context.limits.messageBytesMax} bytes (limits.messageBytes)`;
    }
    if (faults.longLine) return "554 5.6.0 Line too long (limits.textLineBytes)";
    if (faults.bareNewline && this.#context.limits.bareNewlines === "reject")
      return "554 5.6.0 Bare CR or LF";
    return this.#gate.refusal;
  }

  /** Bytes after DATA. */
  push(chunk: Buffer): { consumed: number; ended: boolean; wait: Promise<void> | undefined } {
    const { bytes, consumed, ended } = this.#decoder.push(chunk);
    return { consumed, ended, wait: this.#take(asBuffer(bytes)) };
  }

  /** Bytes of a BDAT chunk. */
  pushCounted(chunk: Buffer): Promise<void> | undefined {
    return this.#take(this.envelope.binary ? chunk : asBuffer(this.#decoder.push(chunk).bytes));
  }

  /** One reply per recipient. */
  async finish(): Promise<readonly string[]> {
    const rest = this.#gate.finish();
    if (rest !== undefined) await this.intake.push(rest);
    const refusal = this.refusal;
    if (refusal === undefined) return this.intake.deliver();
    this.intake.abort();
    return this.envelope.recipients.map(() => refusal);
  }

  #take(bytes: Buffer): Promise<void> | undefined {
    this.received += bytes.length;
    if (this.#refusal !== undefined) return undefined;
    const passed = this.#gate.push(bytes);
    this.#refusal = this.refusal;
    if (this.#refusal !== undefined) {
      this.intake.abort();
      return undefined;
    }
    return passed === undefined ? undefined : this.intake.push(passed);
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve: () => void = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
