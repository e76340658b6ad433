// A message on its way in: indexed while it arrives, kept in memory while small, streamed to the mail
// nodes' disks when large, then delivered to every shard concerned in parallel.

import type { AccountId, DeliveryId, ShardId } from "../../mail/ids.ts";
import type { DeliverOutcome, MessageSource } from "../../mail/mail-store.ts";
import type { MessageIndex } from "../../mail/message-index.ts";
import { MessageIndexer } from "../../mail/mime/indexer.ts";
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
  readonly signal: AbortSignal;
}

/** The part of a message's delivery that one shard does. */
interface ShardPart {
  readonly shard: ShardId;
  readonly accounts: AccountId[];
  blob: BlobWriter | undefined;
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
    this.#parts = partsOf(options.recipients);
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

  /** Delivers. One reply per recipient in the order given; `250 …` only when it is on two disks. */
  async deliver(): Promise<readonly string[]> {
    this.#state = "delivering";
    const index = this.#indexer.finish();
    const bytes = this.#parts[0]?.blob === undefined ? Buffer.concat(this.#chunks) : undefined;
    this.#chunks = [];
    const replies = new Map<AccountId, string>();
    const [first, ...others] = this.#parts;
    if (first !== undefined && others.length === 0) {
      await this.#deliverPart(first, bytes, index, replies);
    } else {
      await Promise.all(this.#parts.map((part) => this.#deliverPart(part, bytes, index, replies)));
    }
    return this.#options.recipients.map(({ row }) => replies.get(row.account) ?? lost);
  }

  /** Never rejects: what fails is a reply. */
  async #deliverPart(
    part: ShardPart,
    bytes: Buffer | undefined,
    index: MessageIndex,
    replies: Map<AccountId, string>,
  ): Promise<void> {
    const { services, deliveryId, signal } = this.#options;
    const { shard, accounts, blob } = part;
    try {
      const source: MessageSource =
        blob === undefined
          ? { kind: "bytes", bytes: bytes ?? Buffer.alloc(0) }
          : { kind: "blob", blob: await blob.finish() };
      const recipients = accounts.map((account) => ({ account }));
      const outcomes = await services.store.deliver(
        { opId: services.nextOpId(), retry: false, shard, deliveryId, recipients, source, index },
        signal,
      );
      accounts.forEach((account, i) => replies.set(account, replyFor(outcomes[i], deliveryId)));
    } catch (error) {
      services.log.warn({ err: error, shard, deliveryId }, "delivery failed");
      const reply = replyOfError(error);
      for (const account of accounts) replies.set(account, reply);
    }
  }

  /** From here on the message goes to disk as it comes. */
  #spill(): void {
    const { services, deliveryId, signal } = this.#options;
    this.#state = "blobs";
    for (const part of this.#parts) {
      part.blob = new BlobWriter((chunks) =>
        // By shard: two of them may be on the same disks, and each has its own to answer for.
        services.store.writeBlob(part.shard, `${deliveryId}-${part.shard}`, chunks, signal),
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
function partsOf(recipients: readonly Recipient[]): readonly ShardPart[] {
  const [only] = recipients;
  if (only !== undefined && recipients.length === 1)
    return [{ shard: only.row.shard, accounts: [only.row.account], blob: undefined }];
  const parts = new Map<ShardId, ShardPart>();
  const seen = new Set<AccountId>();
  for (const { row } of recipients) {
    if (seen.has(row.account)) continue;
    seen.add(row.account);
    const part = parts.get(row.shard);
    if (part !== undefined) part.accounts.push(row.account);
    else parts.set(row.shard, { shard: row.shard, accounts: [row.account], blob: undefined });
  }
  return [...parts.values()];
}

function replyFor(outcome: DeliverOutcome | undefined, deliveryId: DeliveryId): string {
  if (outcome === undefined) return lost;
  return outcome.ok ? `250 2.0.0 Stored as ${deliveryId}` : replyOf(outcome.failure);
}
