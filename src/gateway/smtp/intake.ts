// A message on its way in: indexed while it arrives, kept in memory while small, streamed to the mail
// nodes' disks when large, then delivered to every shard concerned in parallel. What a shard can't take
// in time goes to the spool.

import { crashPoint, crashPointSoon } from "../../lib/crash-point.ts";
import { isMailError, MailError } from "../../mail/errors.ts";
import type { AccountId, DeliveryId, OpId, ShardId } from "../../mail/ids.ts";
import type { BlobRef, DeliverOutcome, MessageSource } from "../../mail/mail-store.ts";
import type { MessageIndex } from "../../mail/message-index.ts";
import { MessageIndexer } from "../../mail/mime/indexer.ts";
import type { SpoolRequest } from "../../mail/spool.ts";
import type { GatewayServices } from "../services.ts";
import { BlobWriter } from "./blob-writer.ts";
import type { Recipient } from "./recipients.ts";
import { replyOf, replyOfError } from "./replies.ts";

/** Messages up to here travel in one request; larger ones as blobs. */
export const inlineBytesMax = 256 * 1024;

export interface IntakeOptions {
  readonly services: GatewayServices;
  readonly deliveryId: DeliveryId;
  readonly recipients: readonly Recipient[];
  /** Trace headers, stored in front of what the client sends. */
  readonly head: Buffer;
  /** Each recipient is answered for itself (LMTP); else all of them get one answer. */
  readonly oneByOne: boolean;
  /** How long a shard is waited for. */
  readonly spoolAfterMs: number;
  readonly signal: AbortSignal;
}

/** What the delivery needs to know once the message is whole. */
export interface MessageFacts {
  /** One per recipient, see fingerprint.ts. */
  readonly fingerprints: readonly string[];
  readonly sender: string;
  /** Where the sender hears of mail that could not be delivered after all; asked when it is spooled. */
  readonly bounceTo: () => SpoolRequest["bounceTo"];
}

/** An operation by which recipients in `shard` got the message. */
export interface Delivery {
  readonly shard: ShardId;
  readonly opId: OpId;
}

export interface Delivered {
  /** One per recipient in the order given; `250 …` only when it is on two disks. */
  readonly replies: readonly string[];
  /** To confirm once the client is known to have had its 2xx. */
  readonly deliveries: readonly Delivery[];
}

/** The part of a message's delivery that one shard does. */
interface ShardPart {
  readonly shard: ShardId;
  readonly opId: OpId;
  readonly accounts: AccountId[];
  /** Places of the accounts' first addresses among the recipients. */
  readonly at: number[];
  blob: BlobWriter | undefined;
  /** Where the blob lies, once it is whole. */
  ref: BlobRef | undefined;
  /** The shard did not answer in time. */
  away: boolean;
}

const lost = "451 4.3.0 Local error, try again";

export class Intake {
  readonly #options: IntakeOptions;
  readonly #indexer = new MessageIndexer();
  readonly #parts: readonly ShardPart[];
  #chunks: Buffer[];
  #bytes: number;
  #state: "memory" | "blobs" | "delivering" | "aborted" = "memory";

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#parts = partsOf(options.recipients, options.services.nextOpId);
    this.#bytes = options.head.length;
    this.#chunks = [options.head];
    this.#indexer.push(options.head);
  }

  /** Takes bytes to store. Ask `room` before the next. */
  push(chunk: Buffer): void {
    if (chunk.length === 0 || this.#state === "aborted") return;
    this.#bytes += chunk.length;
    this.#indexer.push(chunk);
    if (this.#state === "blobs") {
      this.#pushToBlobs(chunk);
    } else {
      this.#chunks.push(chunk);
      if (this.#bytes > inlineBytesMax) this.#spill();
    }
  }

  /** A promise asks to wait until it resolves: the mail nodes' disks are slower than the client. */
  get room(): Promise<void> | undefined {
    if (this.#state !== "blobs") return undefined;
    const waits: Promise<void>[] = [];
    for (const { blob } of this.#parts) {
      const wait = blob?.room;
      if (wait !== undefined) waits.push(wait);
    }
    return waits.length > 1 ? Promise.all(waits).then(() => undefined) : waits[0];
  }

  /** Gives up, unless it is being delivered: that goes on to its end. Unused blobs vanish at the nodes. */
  abort(): void {
    if (this.#state === "delivering") return;
    this.#state = "aborted";
    this.#chunks = [];
    for (const part of this.#parts) part.blob?.abort();
  }

  /** Delivers, or gives to the spool what can't be delivered now. Never rejects: what fails is a reply. */
  async deliver(facts: MessageFacts): Promise<Delivered> {
    this.#state = "delivering";
    const index = this.#indexer.finish();
    const bytes = this.#parts[0]?.blob === undefined ? Buffer.concat(this.#chunks) : undefined;
    this.#chunks = [];
    const replies = new Map<AccountId, string>();
    const deliver = (part: ShardPart): Promise<void> =>
      this.#deliverPart(part, bytes, index, facts, replies);
    const [first, ...others] = this.#parts;
    if (first !== undefined && others.length === 0) await deliver(first);
    else await Promise.all(this.#parts.map(deliver));
    const away = this.#parts.filter((part) => part.away);
    if (away.length > 0 && this.#spoolHelps(away, replies)) {
      await this.#spool(away, bytes, facts, replies);
    }
    return {
      replies: this.#options.recipients.map(({ row }) => replies.get(row.account) ?? lost),
      deliveries: this.#parts.filter((part) => !part.away),
    };
  }

  async #deliverPart(
    part: ShardPart,
    bytes: Buffer | undefined,
    index: MessageIndex,
    { fingerprints }: MessageFacts,
    replies: Map<AccountId, string>,
  ): Promise<void> {
    const { services, deliveryId, spoolAfterMs: patienceMs, signal } = this.#options;
    const { shard, opId, accounts } = part;
    try {
      const source = await sourceOf(part, bytes);
      const recipients = accounts.map((account, i) => {
        const fingerprint = fingerprints[part.at[i] ?? 0];
        return fingerprint === undefined ? { account } : { account, fingerprint };
      });
      const what = { shard, deliveryId, recipients, source, index, patienceMs };
      crashPoint("gateway.beforeSend");
      const delivering = services.store.deliver({ opId, retry: false, ...what }, signal);
      crashPointSoon("gateway.afterSend");
      const outcomes = await delivering;
      accounts.forEach((account, i) => replies.set(account, replyFor(outcomes[i], deliveryId)));
    } catch (error) {
      services.log.warn({ err: error, shard, deliveryId }, "delivery failed");
      part.away = meansAway(error);
      const reply = replyOfError(error);
      for (const account of accounts) replies.set(account, reply);
    }
  }

  /** With one answer for all, the spool can't help while others are refused: the client comes again. */
  #spoolHelps(away: readonly ShardPart[], replies: ReadonlyMap<AccountId, string>): boolean {
    const { oneByOne, signal } = this.#options;
    if (signal.aborted) return false;
    if (oneByOne) return true;
    return this.#parts.every(
      (part) =>
        away.includes(part) ||
        part.accounts.every((account) => replies.get(account)?.startsWith("2") === true),
    );
  }

  async #spool(
    away: readonly ShardPart[],
    bytes: Buffer | undefined,
    { fingerprints, sender, bounceTo }: MessageFacts,
    replies: Map<AccountId, string>,
  ): Promise<void> {
    const { services, deliveryId, recipients, signal } = this.#options;
    const blob = this.#parts.find(({ ref }) => ref !== undefined)?.ref;
    const source: MessageSource | undefined =
      bytes !== undefined
        ? { kind: "bytes", bytes }
        : blob === undefined
          ? undefined
          : { kind: "blob", blob };
    if (source === undefined) return;
    const parts = away.map(({ shard, opId, accounts, at }) => ({
      shard,
      opId,
      recipients: accounts.map((account, i) => {
        const place = at[i] ?? 0;
        const fingerprint = fingerprints[place];
        const address = recipients[place]?.path ?? "";
        return { account, address, ...(fingerprint === undefined ? {} : { fingerprint }) };
      }),
    }));
    try {
      const to = bounceTo();
      const about = { deliveryId, source, sender, parts };
      await services.store.spool(to === undefined ? about : { ...about, bounceTo: to }, signal);
      for (const part of away) {
        part.away = false;
        for (const account of part.accounts) replies.set(account, stored(deliveryId));
      }
      services.log.info({ deliveryId, parts: parts.length }, "message spooled");
    } catch (error) {
      services.log.warn({ err: error, deliveryId }, "message not spooled");
    }
  }

  /** From here on the message goes to disk as it comes. */
  #spill(): void {
    const { services, deliveryId, spoolAfterMs, signal } = this.#options;
    this.#state = "blobs";
    for (const part of this.#parts) {
      part.blob = new BlobWriter((chunks) =>
        // By shard: two of them may be on the same disks, and each has its own to answer for.
        services.store.writeBlob(
          part.shard,
          `${deliveryId}-${part.shard}`,
          chunks,
          signal,
          spoolAfterMs,
        ),
      );
    }
    const held = this.#chunks;
    this.#chunks = [];
    for (const chunk of held) this.#pushToBlobs(chunk);
  }

  #pushToBlobs(chunk: Buffer): void {
    for (const { blob } of this.#parts) blob?.push(chunk);
  }
}

/** By shard; two addresses of one account get one copy. */
function partsOf(recipients: readonly Recipient[], nextOpId: () => OpId): readonly ShardPart[] {
  const parts = new Map<ShardId, ShardPart>();
  const seen = new Set<AccountId>();
  recipients.forEach(({ row: { account, shard } }, at) => {
    if (recipients.length > 1) {
      if (seen.has(account)) return;
      seen.add(account);
    }
    let part = parts.get(shard);
    if (part === undefined) {
      const none = { blob: undefined, ref: undefined };
      part = { shard, opId: nextOpId(), accounts: [], at: [], ...none, away: false };
      parts.set(shard, part);
    }
    part.accounts.push(account);
    part.at.push(at);
  });
  return [...parts.values()];
}

/** @throws what the store threw for the blob; MailError UNAVAILABLE when it lies elsewhere */
async function sourceOf(part: ShardPart, bytes: Buffer | undefined): Promise<MessageSource> {
  if (part.blob === undefined) return { kind: "bytes", bytes: bytes ?? Buffer.alloc(0) };
  const blob = await part.blob.finish();
  part.ref = blob;
  if (blob.shard === part.shard) return { kind: "blob", blob };
  throw new MailError({ code: "UNAVAILABLE", why: "the shard was away when the body came" });
}

/** The shard may have the message or not; asked later it will take it. */
function meansAway(error: unknown): boolean {
  return (
    isMailError(error, "UNAVAILABLE") ||
    isMailError(error, "REPLICA_UNREACHABLE") ||
    isMailError(error, "WRONG_NODE")
  );
}

function replyFor(outcome: DeliverOutcome | undefined, deliveryId: DeliveryId): string {
  if (outcome === undefined) return lost;
  return outcome.ok ? stored(deliveryId) : replyOf(outcome.failure);
}

function stored(deliveryId: DeliveryId): string {
  return `250 2.0.0 Stored as ${deliveryId}`;
}
