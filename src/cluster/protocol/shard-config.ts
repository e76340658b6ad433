// Who holds a shard: the value that the coordinator keeps under `shards/<id>`, changed only by
// compare-and-set, one epoch at a time. Leaves bytes from the coordinator to node/shard-codec.ts.

import type { Epoch, Lsn, MemberId, ShardId, StoreId } from "../../mail/ids.ts";

/** A mail node together with its data folder: the same node with another folder is another copy. */
export interface Copy {
  readonly node: MemberId;
  readonly store: StoreId;
}

export interface SecondaryCopy extends Copy {
  /** False while it has only the log's tail from `fromLsn`; only a full copy is promotable. */
  readonly full: boolean;
  readonly fromLsn?: Lsn;
}

export interface ShardConfig {
  readonly shard: ShardId;
  readonly epoch: Epoch;
  readonly primary: Copy;
  readonly secondaries: readonly SecondaryCopy[];
  /** A change is committed when it is durable on every member and on at least this many. */
  readonly minCopies: number;
  /** Drawn by the writer, so that it recognises its own change after an unknown outcome. */
  readonly nonce: string;
}

/** True when both name the same node and the same data folder. */
export function sameCopy(a: Copy, b: Copy): boolean {
  return a.node === b.node && a.store === b.store;
}

/** What `me` is in `config`. */
export function roleOf(config: ShardConfig, me: Copy): "primary" | "secondary" | "none" {
  if (sameCopy(config.primary, me)) return "primary";
  return config.secondaries.some((secondary) => sameCopy(secondary, me)) ? "secondary" : "none";
}
