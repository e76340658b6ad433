// Mail whose recipients' shards can't take it now: what a front-end hands to the spool, any shard
// that can commit, which delivers it later with the same ids. Types alone; mail-store.ts has the call.

import type { DeliverRecipient, MessageSource } from "./delivery.ts";
import type { AccountId, DeliveryId, OpId, ShardId } from "./ids.ts";

/** A recipient whose copy of the message waits. */
export interface SpoolRecipient extends DeliverRecipient {
  /** The address as the client gave it, for a bounce message. */
  readonly address: string;
}

/** The recipients of one shard, and the operation under which they have been, or may have been, tried. */
export interface SpoolPart {
  readonly shard: ShardId;
  readonly opId: OpId;
  readonly recipients: readonly SpoolRecipient[];
}

/** Spooling twice, after an unknown outcome, is harmless: the parts keep their ids. */
export interface SpoolRequest {
  /**
   * Where to spool; absent: the store picks a shard that can commit, by preference none that holds
   * a part. A blob is spooled in the shard where it lies.
   */
  readonly shard?: ShardId;
  readonly deliveryId: DeliveryId;
  readonly source: MessageSource;
  /** Reverse path without brackets; empty: nobody hears of a failure. */
  readonly sender: string;
  /** The sender's account when it is one of ours: where a bounce message goes. */
  readonly bounceTo?: { readonly account: AccountId; readonly shard: ShardId };
  readonly parts: readonly SpoolPart[];
}
