// The mail transaction of a connection: MAIL, RCPT, then DATA or BDAT, and what comes of it. Knows
// replies and rules, not sockets: the connection feeds it lines and bytes.

import { crashPoint } from "../../lib/crash-point.ts";
import type { DirectoryRow } from "../../mail/account.ts";
import { normaliseDomain, parseAddress } from "../../mail/address.ts";
import type { SmtpListenerContext } from "./context.ts";
import type { DataSink } from "./input.ts";
import type { Delivery } from "./intake.ts";
import { refuseMailParameters } from "./mail-parameters.ts";
import { type Envelope, Message, type SmtpClient } from "./message.ts";
import { isOwnAddress } from "./own-address.ts";
import { parsePathCommand, withoutSourceRoute } from "./path-command.ts";
import { resolveRecipient } from "./recipients.ts";

/** What DATA or BDAT leads to. */
export type Started =
  /** `fatal`: what follows can't be told from commands, the connection must end. */
  | { readonly kind: "refused"; readonly reply: string; readonly fatal: boolean }
  /** Feed `sink`, if there is one, then send the replies that `finished` gives. It rejects only for our own faults. */
  | {
      readonly kind: "receiving";
      readonly sink: DataSink | undefined;
      readonly finished: Promise<readonly string[]>;
    };

const none: readonly Delivery[] = [];

export class SmtpTransaction {
  readonly #context: SmtpListenerContext;
  readonly #client: () => SmtpClient;
  #envelope: Envelope | undefined;
  #message: Message | undefined;
  /** A BDAT failed: further ones are refused, their bytes swallowed. RFC 3030 §2 */
  #bdatFailed = false;
  #unknownRecipients = 0;
  #acknowledged: readonly Delivery[] = none;
  #delivering = false;

  /** `client` is asked when a message begins. */
  constructor(context: SmtpListenerContext, client: () => SmtpClient) {
    this.#context = context;
    this.#client = client;
  }

  /** True from MAIL until the message is answered or reset. */
  get open(): boolean {
    return this.#envelope !== undefined;
  }

  /** The message is whole, and its delivery under way. */
  get delivering(): boolean {
    return this.#delivering;
  }

  get smtpUtf8(): boolean {
    return this.#envelope?.smtpUtf8 ?? false;
  }

  /** Deliveries that the replies to the last message acknowledge; handed out once. */
  takeAcknowledged(): readonly Delivery[] {
    const deliveries = this.#acknowledged;
    this.#acknowledged = none;
    return deliveries;
  }

  /** Forgets everything since MAIL. A message that was received whole is delivered all the same. */
  reset(): void {
    this.#message?.abort();
    this.#message = undefined;
    this.#envelope = undefined;
    this.#bdatFailed = false;
  }

  /** RFC 5321 §4.1.1.2. `user` is who logged in. */
  mail(line: string, user: DirectoryRow | undefined): string | Promise<string> {
    if (this.#envelope !== undefined) return "503 5.5.1 Sender already given";
    const { kind, limits } = this.#context;
    if (kind === "submission" && user === undefined) return "530 5.7.0 Authentication required";
    const parsed = parsePathCommand(line, "MAIL FROM");
    if (!parsed.ok) return parsed.reply;
    const { parameters } = parsed.command;
    const refusal = refuseMailParameters(parameters, limits.messageBytesMax);
    if (refusal !== undefined) return refusal;
    const sender = withoutSourceRoute(parsed.command.path);
    const smtpUtf8 = parameters.has("SMTPUTF8");
    if (!smtpUtf8 && !isAscii(sender)) return "553 5.6.7 Address needs SMTPUTF8"; // RFC 6531 §3.5
    if (sender !== "" && !isSender(sender)) return "501 5.1.7 Bad sender address";
    const binary = parameters.get("BODY")?.toUpperCase() === "BINARYMIME";
    const envelope = { sender, binary, smtpUtf8, user, recipients: [] };
    if (user === undefined) return this.#begin(envelope);
    return this.#checkUser(user, sender).then((wrong) => wrong ?? this.#begin(envelope));
  }

  /** RFC 5321 §4.1.1.3 */
  rcpt(line: string): string {
    const envelope = this.#envelope;
    if (envelope === undefined) return "503 5.5.1 MAIL first";
    if (this.#message !== undefined) return "503 5.5.1 Not while a message is being sent";
    const { limits, services } = this.#context;
    if (envelope.recipients.length >= limits.recipientsMax) {
      // RFC 5321 §4.5.3.1.10
      return `452 4.5.3 More than ${limits.recipientsMax} recipients (limits.recipients)`;
    }
    if (this.#unknownRecipients >= limits.unknownRecipientsMax)
      return `421 4.7.0 More than ${limits.unknownRecipientsMax} unknown recipients`;
    const parsed = parsePathCommand(line, "RCPT TO");
    if (!parsed.ok) return parsed.reply;
    if (parsed.command.parameters.size > 0) return "555 5.5.4 RCPT parameters are not supported";
    const verdict = resolveRecipient(parsed.command.path, {
      directory: services.directory,
      domains: services.domains,
      hostName: services.hostName,
      authenticated: envelope.user !== undefined,
      user: envelope.user,
      smtpUtf8: envelope.smtpUtf8,
    });
    if (!verdict.ok) {
      if (verdict.guess) this.#unknownRecipients++;
      return verdict.reply;
    }
    envelope.recipients.push(verdict.recipient);
    return "250 2.1.5 Recipient ok";
  }

  /** RFC 5321 §4.1.1.4 */
  data(line: string): Started {
    if (line.trim().length > 4) return refused("501 5.5.4 DATA takes no parameter");
    const envelope = this.#envelope;
    if (envelope === undefined) return refused("503 5.5.1 MAIL first");
    // RFC 3030 §2: the two can't be mixed in one transaction.
    if (this.#message !== undefined) return refused("503 5.5.1 DATA and BDAT can't be mixed");
    if (envelope.recipients.length === 0) return refused(this.#noRecipients());
    if (envelope.binary) return refused("503 5.5.1 BINARYMIME needs BDAT"); // RFC 3030 §3
    const message = new Message(this.#context, envelope, this.#client(), "data");
    this.#message = message;
    let end: () => void = () => {};
    const finished = new Promise<readonly string[]>((resolve) => {
      end = () => resolve(this.#finish(message));
    });
    const push = (chunk: Buffer): ReturnType<DataSink["push"]> => {
      const { consumed, ended } = message.push(chunk);
      if (ended) end();
      return { consumed, ended, wait: ended ? undefined : message.room };
    };
    return { kind: "receiving", sink: { push }, finished };
  }

  /** BDAT size [LAST]. Its bytes are swallowed when it is refused. RFC 3030 §2 */
  bdat(line: string): Started {
    const match = /^BDAT +(\d{1,15})( +LAST)? *$/i.exec(line);
    if (match === null)
      return { kind: "refused", reply: "501 5.5.4 Syntax: BDAT size [LAST]", fatal: true };
    const [size, last] = [Number(match[1]), match[2] !== undefined];
    const refusal = this.#refuseBdat();
    const message = refusal === undefined ? this.#bdatMessage() : undefined;
    let left = size;
    let end: () => void = () => {};
    const finished = new Promise<readonly string[]>((resolve) => {
      end = () => resolve(this.#endBdat(message, refusal, size, last));
    });
    const push = (chunk: Buffer): ReturnType<DataSink["push"]> => {
      const consumed = Math.min(left, chunk.length);
      left -= consumed;
      message?.pushCounted(chunk.subarray(0, consumed));
      if (left === 0) end();
      return { consumed, ended: left === 0, wait: message?.room };
    };
    if (size === 0) end();
    return { kind: "receiving", sink: size === 0 ? undefined : { push }, finished };
  }

  #begin(envelope: Envelope): string {
    this.#envelope = envelope;
    this.#bdatFailed = false;
    return "250 2.1.0 Sender ok";
  }

  /** The refusal that a logged-in sender deserves: the account as it is now, and its addresses. */
  async #checkUser(user: DirectoryRow, sender: string): Promise<string | undefined> {
    const now = await this.#context.services.directory.byAccount(user.account);
    if (now?.state !== "active" || now.credVersion !== user.credVersion)
      return "530 5.7.0 Authenticate again: the account has changed";
    if (sender !== "" && !isOwnAddress(sender, now)) return "553 5.7.1 Sender address is not yours";
    return undefined;
  }

  #noRecipients(): string {
    // RFC 2033 §4.2 wants 503 of LMTP; RFC 5321 §3.3 lets us say 554.
    return this.#context.kind === "lmtp"
      ? "503 5.5.1 No valid recipients"
      : "554 5.5.1 No valid recipients";
  }

  #refuseBdat(): string | undefined {
    if (this.#bdatFailed) return "503 5.5.1 BDAT failed before, RSET first";
    if (this.#envelope === undefined) return "503 5.5.1 MAIL first";
    return this.#envelope.recipients.length === 0 ? this.#noRecipients() : undefined;
  }

  #bdatMessage(): Message | undefined {
    if (this.#envelope !== undefined)
      this.#message ??= new Message(this.#context, this.#envelope, this.#client(), "bdat");
    return this.#message;
  }

  async #endBdat(
    message: Message | undefined,
    refusal: string | undefined,
    size: number,
    last: boolean,
  ): Promise<readonly string[]> {
    if (message !== undefined && last) return this.#finish(message);
    const failure = refusal ?? message?.refusal;
    if (failure === undefined) return [`250 2.0.0 ${size} bytes received`];
    this.reset();
    this.#bdatFailed = true;
    return [failure];
  }

  async #finish(message: Message): Promise<readonly string[]> {
    const { kind, services } = this.#context;
    const startMs = services.clock.monotonicMs();
    // From here on a client that goes away changes nothing.
    const delivering = message.finish();
    this.#message = undefined;
    this.#delivering = true;
    const { replies: perRecipient, deliveries } = await delivering;
    crashPoint("gateway.beforeReply");
    this.#delivering = false;
    this.#envelope = undefined;
    const replies = kind === "lmtp" ? perRecipient : [oneReply(perRecipient)]; // RFC 2033 §4.2
    // After a 451 the same comes again, whatever was stored of it.
    if (replies.some((reply) => reply.startsWith("2"))) this.#acknowledged = deliveries;
    const passedMs = services.clock.monotonicMs() - startMs;
    services.counters?.message(replies[0] ?? "", message.received, passedMs);
    services.log.info(
      {
        deliveryId: message.deliveryId,
        from: message.envelope.sender,
        recipients: message.envelope.recipients.length,
        bytes: message.received,
        reply: replies[0],
      },
      "message received",
    );
    return replies;
  }
}

function refused(reply: string): Started {
  return { kind: "refused", reply, fatal: false };
}

function isAscii(text: string): boolean {
  return !/[^\u0000-\u007f]/.test(text);
}

/**
 * Senders are not looked up here, only answered to: besides proper addresses also those that large
 * hosts gave out against the rules, such as `user.@example.jp`.
 */
function isSender(path: string): boolean {
  if (parseAddress(path) !== undefined) return true;
  const at = path.lastIndexOf("@");
  return (
    at > 0 &&
    path.length <= 254 &&
    !/[\s<>()[\]\\,;:"@]/.test(path.slice(0, at)) &&
    normaliseDomain(path.slice(at + 1)) !== undefined
  );
}

/** SMTP has one answer for all: success only when every recipient has it, else a try-again unless all are refused. */
function oneReply(replies: readonly string[]): string {
  const first = replies[0] ?? "451 4.3.0 Local error, try again";
  if (replies.every((reply) => reply.startsWith("2"))) return first;
  const temporary = replies.find((reply) => reply.startsWith("4"));
  if (temporary !== undefined) return temporary;
  // Some have it, some never will: at the next try RCPT refuses the latter.
  return replies.every((reply) => reply.startsWith("5"))
    ? first
    : "451 4.2.0 Not stored for every recipient, try again";
}
