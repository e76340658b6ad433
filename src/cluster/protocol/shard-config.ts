// Who holds a shard: the value that the coordinator keeps under `shards/<id>`, changed only by
// compare-and-set, one epoch at a time. Leaves bytes from the coordinator to node/shard-codec.ts.

import type { Epoch, Lsn, MemberId, ShardId, StoreId } from "../../mail/ids.ts";
import type { ChainHash } from "./hash-tail.ts";

/** A mail node together with its data folder: the same node with another folder is another copy. */
export interface Copy {
  readonly node: MemberId;
  readonly store: StoreId;
}

export interface SecondaryCopy extends Copy {
  /** False while it has only the log's tail from `fromLsn`; only a full copy is promotable. */
  readonly full: boolean;
  /** Of a copy that is not full: its tail begins here. At most one above the primary's commit mark. */
  readonly fromLsn?: Lsn;
  /** Of a copy that is not full: hash of entry `fromLsn` − 1, which is committed. */
  readonly anchorHash?: ChainHash;
  /**
   * Of a copy that is not full: it was put in while the primary went on, or before that had settled what
   * it had acknowledged in an earlier life: entries may be acknowledged, or shown, that its tail does not
   * hold yet. Its tail can't stand in for the primary.
   */
  readonly late?: boolean;
}

export interface ShardConfig {
  readonly shard: ShardId;
  readonly epoch: Epoch;
  readonly primary: Copy;
  readonly secondaries: readonly SecondaryCopy[];
  /** A change is committed when it is durable on every member and on at least this many. */
  readonly minCopies: number;
  /** Removed members that keep their copy until the shard is full again, newest first; at most `formerMax`. */
  readonly former?: readonly Copy[];
  /**
   * The epoch whose primary ended it by HANDOVER, when this config follows it: its leases are void, so
   * a primary that was its secondary need not wait for them to run out.
   */
  readonly endedEpoch?: Epoch;
  /**
   * An operator made a copy primary that may lack acknowledged changes: whoever is primary gives all
   * mailboxes a new UIDVALIDITY before it serves anybody. Stays until that is done.
   */
  readonly forced?: boolean;
  /** Drawn by the writer, so that it recognises its own change after an unknown outcome. */
  readonly nonce: string;
}

export const formerMax = 2;

/** True when both name the same node and the same data folder. */
export function sameCopy(a: Copy, b: Copy): boolean {
  return a.node === b.node && a.store === b.store;
}

/** What `me` is in `config`. */
export function roleOf(config: ShardConfig, me: Copy): "primary" | "secondary" | "none" {
  if (sameCopy(config.primary, me)) return "primary";
  return config.secondaries.some((secondary) => sameCopy(secondary, me)) ? "secondary" : "none";
}
