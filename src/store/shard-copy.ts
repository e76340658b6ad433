// What a full copy of one shard consists of: the pieces that a node hands out and another takes in to
// make its own copy anew. Reading them is shard-export.ts, taking them in shard-import.ts; how they
// travel is the cluster's (cluster/node/copy-*.ts).

import type { Lsn, ShardId } from "../mail/ids.ts";
import type { ChainHash } from "./log/types.ts";

/** Where in the shard's log a copy stands: it holds everything up to `lsn` and nothing behind it. */
export interface CopyPoint {
  readonly lsn: Lsn;
  readonly hash: ChainHash;
}

/** One body as it travels: a slice of its piece's `bytes`. */
export interface CopiedBody {
  /** The entry that brought it, and which of its bodies. */
  readonly lsn: number;
  readonly part: number;
  readonly length: number;
  /** CRC-32C of the bytes; undefined: the giver's own bytes are damaged, none are sent. */
  readonly crc: number | undefined;
}

/**
 * Pieces come in this order: one `begin`, any of the middle kinds, one `end`. A piece fits a
 * frame of a link (1 MiB); a body of the log is never cut.
 */
export type CopyPiece =
  | {
      readonly kind: "begin";
      readonly shard: ShardId;
      readonly point: CopyPoint;
      /** Estimates, for progress only. */
      readonly accounts: number;
      readonly bytes: number;
    }
  /**
   * More of the stream of index rows: lengths of key and value (u32 each), key, value. A row may begin
   * in one piece and end in another. Values carry their checksums.
   */
  | { readonly kind: "rows"; readonly bytes: Uint8Array }
  | { readonly kind: "bodies"; readonly bodies: readonly CopiedBody[]; readonly bytes: Uint8Array }
  /** Bodies that lie in this blob; its bytes follow in `blobBytes` pieces, the last one with `last`. */
  | {
      readonly kind: "blob";
      readonly lsn: number;
      readonly part: number;
      readonly name: string;
      readonly length: number;
      readonly sha256: string;
    }
  | { readonly kind: "blobBytes"; readonly bytes: Uint8Array; readonly last: boolean }
  /** All of it: a stream that ends without this piece was cut off. */
  | { readonly kind: "end"; readonly rows: number; readonly bodies: number };

export interface ShardCopies {
  /**
   * A consistent picture of the shard at the entry applied last, while it goes on serving. Memory is
   * bounded by a piece; nothing that the picture needs is removed until the iteration ends.
   * @throws {MailError} DAMAGED (this copy is not sound), BUSY (copies enough are under way).
   */
  exportShard(shard: ShardId, signal: AbortSignal): AsyncIterable<CopyPiece>;
  /**
   * Makes this node's copy of the shard anew from `pieces`: whatever it held is void from the first
   * step on, also across a crash, until all is durable. Then the log goes on behind the point that is
   * returned: lastLsn = commit mark = applied = lsn, lastHash = hash. Nothing of the shard may be served,
   * appended or applied meanwhile; its configuration and sealed epoch stay.
   * @throws {MailError} INVALID (pieces that make no copy), BUSY, and what the pieces' source throws.
   */
  importShard(
    shard: ShardId,
    pieces: AsyncIterable<CopyPiece>,
    signal: AbortSignal,
  ): Promise<CopyPoint>;
}
