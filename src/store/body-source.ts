// What the engine needs of the log and of blob files to read message bytes.

import type { BlobRef } from "../mail/mail-store.ts";
import type { ShardId } from "../mail/ids.ts";
import type { Location } from "./journal.ts";

export interface BodySource {
  /**
   * Whole bodies of entries in the order asked; neighbours are read at once. Rejects with an error
   * for which `isMoved` holds when one was rewritten meanwhile: look the locations up again.
   */
  readMany(locations: readonly Location[]): Promise<readonly Uint8Array[]>;
  isMoved(error: unknown): boolean;
  /** Part of a blob; shorter only at its end. */
  readBlob(id: string, offset: number, length: number): Promise<Uint8Array>;
  /** True when the blob is complete on this node's disk. */
  hasBlob(ref: BlobRef): Promise<boolean>;
  /** Streams a blob to the disks of every member of the shard. */
  writeBlob(
    shard: ShardId,
    id: string,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<BlobRef>;
}
