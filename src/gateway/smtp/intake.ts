// A message on its way in: indexed while it arrives, kept in memory while small, streamed to the mail
// nodes' disks when large, then delivered to every shard concerned in parallel.

import type { AccountId, DeliveryId, ShardId } from "../../mail/ids.ts";
import { MailError } from "../../mail/errors.ts";
import type { BlobRef, DeliverOutcome, MessageSource } from "../../mail/mail-store.ts";
import { MessageIndexer } from "../../mail/mime/indexer.ts";
import type { GatewayServices } from "../services.ts";
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

export class Intake {
  readonly #options: IntakeOptions;
  readonly #indexer = new MessageIndexer();
  readonly #byShard = new Map<ShardId, Recipient[]>();
  #chunks: Buffer[] = [];
  #bytes = 0;
  #blobs: BlobWriter[] | undefined;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#bytes = options.head.length;
    this.#indexer.push(options.head);
    this.#chunks.push(options.head);
    const seen = new Set<AccountId>();
    for (const recipient of options.recipients) {
      // Two addresses of one account get one copy.
      if (seen.has(recipient.row.account)) continue;
      seen.add(recipient.row.account);
      const list = this.#byShard.get(recipient.row.shard);
      if (list === undefined) this.#byShard.set(recipient.row.shard, [recipient]);
      else list.push(recipient);
    }
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Takes bytes to store. A returned promise asks to wait: the mail nodes' disks are slower than the client. */
  push(chunk: Buffer): Promise<void> | undefined {
    if (chunk.length === 0) return undefined;
    this.#bytes += chunk.length;
    this.#indexer.push(chunk);
    if (this.#blobs !== undefined) return waitForAll(this.#blobs.map((blob) => blob.push(chunk)));
    this.#chunks.push(chunk);
    return this.#bytes > inlineBytesMax ? this.#spill() : undefined;
  }

  /** Gives up: large bodies already on disk are left to the nodes' clean-up. */
  abort(): void {
    this.#chunks = [];
    for (const blob of this.#blobs ?? []) blob.abort();
  }

  /** Delivers. One reply per recipient in the order given; `250 …` only when it is on two disks. */
  async deliver(): Promise<readonly string[]> {
    const { recipients } = this.#options;
    const index = this.#indexer.finish();
    const bytes = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
    const inline: MessageSource = { kind: "bytes", bytes: bytes ?? Buffer.alloc(0) };
    const replies = new Map<AccountId, string>();
    const perShard = [...this.#byShard].map(async ([shard, members], position) => {
      try {
        const blob = this.#blobs?.[position];
        const source: MessageSource =
          blob === undefined ? inline : { kind: "blob", blob: await blob.finish() };
        const outcomes = await this.#deliverTo(shard, members, source, index);
        members.forEach(({ row }, i) =>
          replies.set(row.account, replyFor(outcomes[i], this.#options.deliveryId)),
        );
      } catch (error) {
        this.#options.services.log.warn(
          { err: error, shard, deliveryId: this.#options.deliveryId },
          "delivery failed",
        );
        const reply = replyOfError(error);
        for (const { row } of members) replies.set(row.account, reply);
      }
    });
    await Promise.all(perShard);
    return recipients.map(
      (recipient) => replies.get(recipient.row.account) ?? "451 4.3.0 Local error, try again",
    );
  }

  async #deliverTo(
    shard: ShardId,
    members: readonly Recipient[],
    source: MessageSource,
    index: ReturnType<MessageIndexer["finish"]>,
  ): Promise<readonly DeliverOutcome[]> {
    const { services, deliveryId, signal } = this.#options;
    return services.store.deliver(
      {
        opId: services.nextOpId(),
        retry: false,
        shard,
        deliveryId,
        recipients: members.map(({ row }) => ({ account: row.account })),
        source,
        index,
      },
      signal,
    );
  }

  #spill(): Promise<void> | undefined {
    const { services, deliveryId, signal } = this.#options;
    this.#blobs = [...this.#byShard.keys()].map(
      (shard) =>
        new BlobWriter((chunks) => services.store.writeBlob(shard, deliveryId, chunks, signal)),
    );
    const held = this.#chunks;
    this.#chunks = [];
    let wait: Promise<void> | undefined;
    for (const chunk of held) wait = waitForAll(this.#blobs.map((blob) => blob.push(chunk)));
    return wait;
  }
}

function replyFor(outcome: DeliverOutcome | undefined, deliveryId: DeliveryId): string {
  if (outcome === undefined) return "451 4.3.0 Local error, try again";
  return outcome.ok ? `250 2.0.0 Stored as ${deliveryId}` : replyOf(outcome.failure);
}

function waitForAll(waits: readonly (Promise<void> | undefined)[]): Promise<void> | undefined {
  const real = waits.filter((wait): wait is Promise<void> => wait !== undefined);
  return real.length === 0 ? undefined : Promise.all(real).then(() => undefined);
}

const queuedBytesMax = 256 * 1024;

/** Turns pushes into the async iterable that a blob is written from, holding the pusher back. */
class BlobWriter {
  readonly #queue: Buffer[] = [];
  #queuedBytes = 0;
  #state: "open" | "ended" | "aborted" = "open";
  #wakeReader: (() => void) | undefined;
  #wakeWriter: (() => void) | undefined;
  readonly #written: Promise<BlobRef>;

  constructor(write: (chunks: AsyncIterable<Uint8Array>) => Promise<BlobRef>) {
    this.#written = write(this.#chunks());
    const release = (): void => {
      this.#state = this.#state === "open" ? "aborted" : this.#state;
      this.#wakeWriter?.();
    };
    this.#written.then(release, release); // `finish` reports a failure; until then nobody may hang.
  }

  push(chunk: Buffer): Promise<void> | undefined {
    if (this.#state !== "open") return undefined;
    this.#queue.push(chunk);
    this.#queuedBytes += chunk.length;
    this.#wakeReader?.();
    if (this.#queuedBytes < queuedBytesMax) return undefined;
    return new Promise((resolve) => {
      this.#wakeWriter = resolve;
    });
  }

  async finish(): Promise<BlobRef> {
    if (this.#state === "open") this.#state = "ended";
    this.#wakeReader?.();
    return this.#written;
  }

  abort(): void {
    this.#state = "aborted";
    this.#queue.length = 0;
    this.#wakeReader?.();
    this.#wakeWriter?.();
  }

  async *#chunks(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = this.#queue.shift();
      if (chunk !== undefined) {
        this.#queuedBytes -= chunk.length;
        if (this.#queuedBytes < queuedBytesMax / 2) this.#wakeWriter?.();
        yield chunk;
        continue;
      }
      if (this.#state === "ended") return;
      if (this.#state === "aborted")
        throw new MailError({ code: "UNAVAILABLE", why: "the client went away" });
      await new Promise<void>((resolve) => {
        this.#wakeReader = resolve;
      });
    }
  }
}
