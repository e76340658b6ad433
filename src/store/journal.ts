// The seam between the account engine (what an entry means) and whoever makes entries durable:
// the local journal (this disk only) or the cluster's replicated journal (this disk and the
// secondary's). Entries carry explicit values, so applying one reads no clock and no other state.

import type { Epoch, Lsn, OpId, ShardId } from "../mail/ids.ts";

/** Where a record lies on this node. Node-local: never replicated, changes when garbage is rewritten. */
export interface Location {
  readonly segment: number;
  /** Byte offset of the record in the segment file. */
  readonly offset: number;
  /** Byte offset of the body in the segment file; the body is `bodyBytes` long. */
  readonly bodyOffset: number;
  readonly bodyBytes: number;
}

/** What the engine asks to be logged. `kind` is a number from `store/entry-kind.ts`. */
export interface EntryDraft {
  readonly shard: ShardId;
  readonly opId: OpId;
  readonly kind: number;
  /** msgpack of `payload`. */
  readonly head: Uint8Array;
  readonly body?: Uint8Array;
  /** The decoded head, handed back at apply so that the primary needn't decode its own entry. */
  readonly payload: unknown;
  /** Bodies too large for the log that the entry refers to; must be complete on a member before it acknowledges. */
  readonly blobs?: readonly string[];
}

/** A committed entry as `apply` receives it, in lsn order per shard, on primaries and secondaries alike. */
export interface Entry {
  readonly shard: ShardId;
  readonly lsn: Lsn;
  readonly epoch: Epoch;
  readonly opId: OpId;
  readonly kind: number;
  readonly head: Uint8Array;
  /** Present on the member that proposed it in this process, else the engine decodes `head`. */
  readonly payload?: unknown;
  readonly location: Location;
}

export interface Journal {
  /**
   * Gives the entry the shard's next lsn and writes it to this disk and, when replicated, to the
   * secondaries. Returns at once; order of lsn = order of calls. `committed` resolves after the entry
   * is durable on every member and `apply` has run for it.
   * @throws MailError WRONG_NODE when this member doesn't serve the shard (synchronously).
   * `committed` rejects with REPLICA_UNREACHABLE when it isn't committed in time: the outcome is
   * unknown, the entry stays and may be applied later.
   */
  propose(draft: EntryDraft): { readonly lsn: Lsn; readonly committed: Promise<void> };
  /**
   * True while this member may answer reads of the shard (it is the serving primary). Checked when
   * a read is answered, not only when it is asked.
   */
  serves(shard: ShardId): boolean;
  /**
   * Undefined when everything applied is durable on as many disks as is asked for, which is nearly
   * always. Else something may be shown that may not be acknowledged yet: a repeated request that finds
   * its kept outcome is answered after this. Rejects with REPLICA_UNREACHABLE.
   */
  settled?(shard: ShardId): Promise<void> | undefined;
}

/** Called for each committed entry; must not wait, must not throw for anything but our own bugs. */
export type Apply = (entry: Entry) => void;
