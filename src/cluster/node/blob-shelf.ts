// Large bodies on every member's disk: written here and streamed to the secondaries while they arrive;
// sent again to a member that says NEED_BLOB. Files and checksums are store/log/blob-store.ts.

import type { Logger } from "pino";
import type { Clock } from "../../lib/clock.ts";
import { RecentMap } from "../../lib/recent-map.ts";
import { MailError } from "../../mail/errors.ts";
import { shardId, shardMax } from "../../mail/ids.ts";
import type { MemberId, ShardId } from "../../mail/ids.ts";
import type { BlobRef } from "../../mail/mail-store.ts";
import { bodyPartsOf } from "../../store/entry-kind.ts";
import type { BodyPart } from "../../store/entry-kind.ts";
import { decodePayload } from "../../store/entry-codec.ts";
import type { BlobInfo, BlobStore } from "../../store/log/blob-store.ts";
import type { RawEntry } from "../../store/log/types.ts";
import type { Links, RpcRegistry, RpcReply, RpcRequest } from "../link/rpc.ts";
import { asArray, asCount, asOptional, asText, malformed } from "./decode.ts";
import { pause } from "./follow-keys.ts";
import { HandOff } from "./hand-off.ts";

const uploadMethod = "replica.blob";
/** Blobs this process knows to be complete; older ones are checked on the disk when they matter. */
const knownLeast = 10_000;
const failurePauseMs = 500;

export interface BlobShelfOptions {
  readonly blobs: BlobStore;
  readonly links: Links;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The other members of a shard, while this node is its primary. */
  readonly secondariesOf: (shard: ShardId) => readonly MemberId[];
}

export class BlobShelf {
  readonly #options: BlobShelfOptions;
  readonly #known = new RecentMap<string, BlobInfo>(knownLeast);
  readonly #stop = new AbortController();

  constructor(options: BlobShelfOptions) {
    this.#options = options;
  }

  register(registry: RpcRegistry): void {
    registry.onUpload(uploadMethod, (request, chunks) => this.#receive(request, chunks));
  }

  close(): void {
    this.#stop.abort(new MailError({ code: "UNAVAILABLE", why: "this node is stopping" }));
  }

  /**
   * Writes to this disk and every secondary's at the same time. A secondary that fails is passed
   * over: the entry that refers to the blob waits until it has it.
   */
  async write(
    shard: ShardId,
    id: string,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<BlobRef> {
    const copies = this.#options.secondariesOf(shard).map((node) => this.#copyTo(node, shard, id));
    const writer = await this.#options.blobs.create(id);
    try {
      for await (const chunk of chunks) {
        signal.throwIfAborted();
        await Promise.all([writer.write(chunk), ...copies.map(({ queue }) => queue.push(chunk))]);
      }
      for (const { queue } of copies) queue.end();
      const [info] = await Promise.all([writer.finish(), ...copies.map(({ done }) => done)]);
      this.#know(info);
      return { shard, id, sizeBytes: info.bytes, sha256: info.sha256 };
    } catch (error) {
      const cause = error instanceof Error ? error : new Error("blob failed", { cause: error });
      for (const { queue } of copies) queue.end(cause);
      await writer.abort();
      throw error;
    }
  }

  /** True when the blob is here, whole. */
  async has(blob: BlobRef): Promise<boolean> {
    const info = { name: blob.id, bytes: blob.sizeBytes, sha256: blob.sha256 };
    if (this.#isKnown(info)) return true;
    const complete = await this.#options.blobs.isComplete(info);
    if (complete) this.#know(info);
    return complete;
  }

  /** The decoded head of an entry, and which of its blobs are not known to be complete here. */
  inspect(raw: RawEntry): { readonly payload: unknown; readonly missing: readonly string[] } {
    const payload = decodePayload(raw.kind, raw.head);
    if (payload === undefined) return { payload, missing: none };
    const parts = bodyPartsOf(payload);
    if (parts.every((part) => part.kind === "inline")) return { payload, missing: none };
    return { payload, missing: parts.flatMap((part) => this.#missing(part)) };
  }

  /** Sends blobs to a member that lacks them. Never rejects: it asks again if something failed. */
  async send(to: MemberId, shard: ShardId, names: readonly string[]): Promise<void> {
    const { blobs, links, clock, logger } = this.#options;
    const { signal } = this.#stop;
    try {
      for (const name of names) {
        const info = this.#known.get(name);
        const head = [shard, name, info?.bytes ?? null, info?.sha256 ?? null];
        await links.peer(to).upload(uploadMethod, head, blobs.stream(name), { signal });
      }
    } catch (error) {
      logger.warn({ to, shard, err: error }, "blob not sent");
      await pause(clock, failurePauseMs, signal);
    }
  }

  #missing(part: BodyPart): readonly string[] {
    if (part.kind === "inline") return none;
    const { id: name, length: bytes, sha256 } = part;
    return this.#isKnown({ name, bytes, sha256 }) ? none : [name];
  }

  #copyTo(
    node: MemberId,
    shard: ShardId,
    id: string,
  ): { readonly queue: HandOff<Uint8Array>; readonly done: Promise<void> } {
    const queue = new HandOff<Uint8Array>();
    const { signal } = this.#stop;
    const done = this.#options.links
      .peer(node)
      .upload(uploadMethod, [shard, id, null, null], queue, { signal })
      .then(
        () => undefined,
        async (error: unknown) => {
          await queue.return();
          this.#options.logger.warn(
            { to: node, shard, err: error },
            "blob not copied while it came",
          );
        },
      );
    return { queue, done };
  }

  async #receive(request: RpcRequest, chunks: AsyncIterable<Uint8Array>): Promise<RpcReply> {
    const fields = asArray(request.head, "blob");
    shardId(asCount(fields[0], "shard", shardMax));
    const name = asText(fields[1], "blob", 64);
    if (!/^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$/.test(name)) throw malformed("blob");
    const bytes = asOptional(fields[2], "size", asCount);
    const sha256 = asOptional(fields[3], "sha256", asText);
    const { blobs } = this.#options;
    if (bytes !== undefined && sha256 !== undefined) {
      const expected = { name, bytes, sha256 };
      if (await blobs.isComplete(expected)) {
        this.#know(expected);
        return { head: null };
      }
    }
    const writer = await blobs.create(name);
    try {
      for await (const chunk of chunks) await writer.write(chunk);
    } catch (error) {
      await writer.abort();
      throw error;
    }
    this.#know(await writer.finish());
    return { head: null };
  }

  #isKnown({ name, bytes, sha256 }: BlobInfo): boolean {
    const known = this.#known.get(name);
    return known !== undefined && known.bytes === bytes && known.sha256 === sha256;
  }

  #know(info: BlobInfo): void {
    this.#known.set(info.name, info);
  }
}

const none: readonly string[] = [];
