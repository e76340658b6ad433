// Message bytes from the segment log and the blob files of this node.

import { isMailError } from "../mail/errors.ts";
import type { BlobRef } from "../mail/mail-store.ts";
import type { ShardId } from "../mail/ids.ts";
import type { BodySource } from "./body-source.ts";
import type { Location } from "./journal.ts";
import type { BlobStore } from "./log/blob-store.ts";
import { noticeOf } from "./lost-body.ts";
import type { Mended } from "./repairs.ts";
import { SegmentGone } from "./log/segment-reader.ts";
import type { SegmentLog } from "./log/types.ts";

export class LogBodies implements BodySource {
  readonly #log: SegmentLog;
  readonly #blobs: BlobStore;
  readonly #mendBlob: (name: string) => Promise<Mended>;

  constructor(log: SegmentLog, blobs: BlobStore, mendBlob: (name: string) => Promise<Mended>) {
    this.#log = log;
    this.#blobs = blobs;
    this.#mendBlob = mendBlob;
  }

  readMany(locations: readonly Location[]): Promise<readonly Uint8Array[]> {
    return this.#log.readMany(locations);
  }

  isMoved(error: unknown): boolean {
    return error instanceof SegmentGone;
  }

  /** A blob with wrong bytes is fetched anew; one that no member has unharmed reads as a notice. */
  async readBlob(id: string, offset: number, length: number): Promise<Uint8Array> {
    try {
      return await this.#blobs.read(id, offset, length);
    } catch (error) {
      if (!isMailError(error, "DAMAGED")) throw error;
      const mended = await this.#mendBlob(id);
      if (mended === "lost") return noticeOf(length);
      if (mended === "later") throw error;
    }
    return this.#blobs.read(id, offset, length);
  }

  /** By its length: a blob gets its name only when it is whole and synced. */
  async hasBlob(ref: BlobRef): Promise<boolean> {
    return (await this.#blobs.size(ref.id)) === ref.sizeBytes;
  }

  /** To this node's disk only; in a cluster the journal's own takes its place. */
  async writeBlob(
    shard: ShardId,
    id: string,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<BlobRef> {
    const writer = await this.#blobs.create(id);
    try {
      for await (const chunk of chunks) {
        signal.throwIfAborted();
        await writer.write(chunk);
      }
      signal.throwIfAborted();
      const { name, bytes, sha256 } = await writer.finish();
      return { shard, id: name, sizeBytes: bytes, sha256 };
    } catch (error) {
      await writer.abort();
      throw error;
    }
  }
}
