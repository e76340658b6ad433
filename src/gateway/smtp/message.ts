// One message being received: decoded, its header checked, its size watched, handed to the intake.
// Leaves commands and their order to the transaction.

import type { DirectoryRow } from "../../mail/account.ts";
import type { DeliveryId } from "../../mail/ids.ts";
import type { SpoolRequest } from "../../mail/spool.ts";
import type { SmtpListenerContext } from "./context.ts";
import { DataDecoder } from "./data-decoder.ts";
import { Fingerprint } from "./fingerprint.ts";
import { HeaderGate } from "./header-gate.ts";
import { submissionPolicy } from "./header-policy.ts";
import { intakeFor, type MessageIntake } from "./group-intake.ts";
import type { Delivered } from "./intake.ts";
import { type Recipient, resolveRecipient } from "./recipients.ts";
import { traceHeaders } from "./trace.ts";

/** The other end, as trace headers and rules need it. */
export interface SmtpClient {
  readonly address: string;
  readonly helo: string;
  /** `ESMTPSA`, `UTF8SMTP`, `LMTP` … RFC 3848 */
  readonly protocol: string;
  readonly tls: string | undefined;
  readonly user: DirectoryRow | undefined;
}

export interface Envelope {
  /** Reverse path without brackets; empty for bounces. */
  readonly sender: string;
  /** BODY=BINARYMIME: bytes are stored as they are. RFC 3030 §3 */
  readonly binary: boolean;
  readonly smtpUtf8: boolean;
  /** Present on submission: whose message it is. */
  readonly user: DirectoryRow | undefined;
  readonly recipients: Recipient[];
}

export class Message {
  readonly envelope: Envelope;
  readonly deliveryId: DeliveryId;
  readonly #context: SmtpListenerContext;
  readonly #decoder: DataDecoder;
  readonly #gate: HeaderGate;
  readonly #intake: MessageIntake;
  readonly #fingerprint: Fingerprint;
  #received = 0;
  /** Refused already: the rest is only counted. */
  #refused = false;

  constructor(
    context: SmtpListenerContext,
    envelope: Envelope,
    client: SmtpClient,
    mode: "data" | "bdat",
  ) {
    const { services, limits } = context;
    this.#context = context;
    this.envelope = envelope;
    this.deliveryId = services.nextDeliveryId();
    const nowMs = services.clock.nowMs();
    this.#decoder = new DataDecoder({
      lineBytesMax: limits.textLineBytesMax,
      dots: mode === "data",
    });
    const { user, recipients } = envelope;
    this.#gate = new HeaderGate(
      user === undefined
        ? context.relayPolicy
        : submissionPolicy({
            hopsMax: limits.hopsMax,
            user,
            messageId: `<${this.deliveryId}@${services.hostName}>`,
            nowMs,
          }),
    );
    const head = traceHeaders({
      sender: envelope.sender,
      helo: client.helo,
      address: client.address,
      hostName: services.hostName,
      protocol: client.protocol,
      deliveryId: this.deliveryId,
      onlyRecipient: recipients.length === 1 ? recipients[0]?.path : undefined,
      dateMs: nowMs,
      tls: client.tls,
    });
    const options = {
      services,
      deliveryId: this.deliveryId,
      recipients,
      head,
      oneByOne: context.kind === "lmtp",
      spoolAfterMs: limits.spoolAfterMs,
      signal: context.signal,
    };
    this.#intake = intakeFor(options, user);
    this.#fingerprint = new Fingerprint(envelope.sender);
  }

  /** Decoded bytes so far. RFC 1870 §5 counts them so: without stuffed dots. */
  get received(): number {
    return this.#received;
  }

  /**
   * Why the message can't be taken; its bytes are swallowed until it ends. Several faults are ranked, so
   * that the answer does not depend on how the stream was cut.
   */
  get refusal(): string | undefined {
    const { limits } = this.#context;
    if (this.#received > limits.messageBytesMax)
      return `552 5.3.4 Message larger than ${limits.messageBytesMax} bytes (limits.messageBytes)`;
    const { faults } = this.#decoder;
    if (faults.longLine)
      return `554 5.6.0 Line longer than ${limits.textLineBytesMax} bytes (limits.textLineBytes)`;
    if (faults.bareNewline && limits.bareNewlines === "reject")
      return "554 5.6.0 Bare CR or LF in the message";
    return this.#gate.refusal;
  }

  /** Bytes behind DATA, up to the lone dot. */
  push(chunk: Buffer): { readonly consumed: number; readonly ended: boolean } {
    const { bytes, consumed, ended } = this.#decoder.push(chunk);
    this.#take(bytes);
    return { consumed, ended };
  }

  /** Bytes of a BDAT chunk. */
  pushCounted(chunk: Buffer): void {
    this.#take(this.envelope.binary ? chunk : this.#decoder.push(chunk).bytes);
  }

  /** A promise asks to wait with further bytes until it resolves. */
  get room(): Promise<void> | undefined {
    return this.#intake.room;
  }

  /** The message is whole: delivers it, or says why not. */
  async finish(): Promise<Delivered> {
    const end = this.envelope.binary ? undefined : this.#decoder.finish();
    if (end !== undefined) this.#take(end);
    const rest = this.#refused ? undefined : this.#gate.finish();
    const { refusal } = this;
    const { sender, recipients } = this.envelope;
    if (refusal !== undefined) {
      this.abort();
      return { replies: recipients.map(() => refusal), deliveries: [] };
    }
    if (rest !== undefined) this.#intake.push(rest);
    const fingerprints = this.#fingerprint.finish(recipients.map(({ path }) => path));
    return this.#intake.deliver({ fingerprints, sender, bounceTo: () => this.#ownSender() });
  }

  abort(): void {
    this.#intake.abort();
  }

  /** The sender's account when it is one of ours. */
  #ownSender(): SpoolRequest["bounceTo"] {
    const { sender, user } = this.envelope;
    if (user !== undefined) return { account: user.account, shard: user.shard };
    if (sender === "") return undefined;
    const { directory, domains, hostName } = this.#context.services;
    const rules = { directory, domains, hostName, authenticated: false, smtpUtf8: true };
    const verdict = resolveRecipient(sender, rules);
    if (!verdict.ok) return undefined;
    const { account, shard } = verdict.recipient.row;
    return { account, shard };
  }

  #take(bytes: Buffer): void {
    this.#received += bytes.length;
    if (this.#refused) return;
    this.#fingerprint.push(bytes);
    const passed = this.#gate.push(bytes);
    this.#refused = this.refusal !== undefined;
    if (this.#refused) this.abort();
    else if (passed !== undefined) this.#intake.push(passed);
  }
}
