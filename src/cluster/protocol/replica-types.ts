// Words of the replica state machine: what it is told (events), what it wants done (effects), what
// replicas say to each other (messages), and what it remembers. Rules are in replica*.ts.

import type { Epoch, Lsn, MemberId } from "../../mail/ids.ts";
import type { ChainHash, HashTail } from "./hash-tail.ts";
import type { Copy, ShardConfig } from "./shard-config.ts";

/**
 * Every message carries the incarnations of both ends, so that what was meant for an earlier life of
 * either is ignored. Incarnations come from the coordinator and grow. `toInc` of a probe is 0.
 */
export interface MessageBase {
  readonly epoch: Epoch;
  readonly fromInc: number;
  readonly toInc: number;
}

/** An entry from the primary's log. `ref` is the shell's handle on the record's bytes. */
export interface WireEntry<R> {
  readonly lsn: Lsn;
  readonly epoch: Epoch;
  readonly hash: ChainHash;
  readonly prevHash: ChainHash;
  /** Blobs the entry refers to that are not complete, checked and fsynced here. Filled in by the receiver. */
  readonly missing: readonly string[];
  readonly ref: R;
}

export type ReplicaMessage<R> =
  /** Primary: where are you? */
  | (MessageBase & { readonly kind: "probe" })
  /** Secondary: send me what follows `lsn`, whose hash is `hash` in my log. */
  | (MessageBase & {
      readonly kind: "status";
      readonly reason: "probe" | "gap" | "conflict" | "damaged";
      readonly lsn: Lsn;
      readonly hash: ChainHash;
    })
  /** Primary: entries that follow `prevLsn`; without entries it only compares and carries the mark. */
  | (MessageBase & {
      readonly kind: "append";
      readonly prevLsn: Lsn;
      readonly prevHash: ChainHash;
      readonly mark: Lsn;
      readonly entries: readonly WireEntry<R>[];
    })
  /** Secondary: everything up to `lsn` is on my disk and equals your log; I know the commit mark `mark`. */
  | (MessageBase & {
      readonly kind: "ack";
      readonly lsn: Lsn;
      readonly hash: ChainHash;
      readonly mark: Lsn;
    })
  /** Secondary: entry `lsn` refers to blobs that I lack. */
  | (MessageBase & {
      readonly kind: "needBlob";
      readonly lsn: Lsn;
      readonly blobs: readonly string[];
    })
  /** Either: I hold another epoch of this shard. `epoch` is mine. */
  | (MessageBase & { readonly kind: "refused" });

export type ReplicaEvent<R> =
  /** What one linearizable read or the watch of the coordinator's table says. */
  | { readonly kind: "config"; readonly config: ShardConfig; readonly nowMs: number }
  | { readonly kind: "configDurable"; readonly epoch: Epoch }
  | { readonly kind: "peerUp"; readonly node: MemberId; readonly nowMs: number }
  | { readonly kind: "peerDown"; readonly node: MemberId }
  | { readonly kind: "propose"; readonly ref: R; readonly bytes: number }
  /** An `append` effect was done: the entry lies in the log's current group. */
  | {
      readonly kind: "logged";
      readonly lsn: Lsn;
      readonly hash: ChainHash;
      readonly bytes: number;
      readonly nowMs: number;
    }
  /** The log took neither `lsn` of an `appendRaw` effect nor those behind it (its queue is full). */
  | { readonly kind: "notLogged"; readonly lsn: Lsn }
  /** This disk's log is fsynced up to this entry of the shard. */
  | { readonly kind: "durable"; readonly lsn: Lsn; readonly hash: ChainHash }
  /** The account engine has applied everything up to `lsn`. */
  | { readonly kind: "applied"; readonly lsn: Lsn }
  | {
      readonly kind: "message";
      readonly from: MemberId;
      readonly message: ReplicaMessage<R>;
      readonly nowMs: number;
    }
  /** A `feed` effect was done: entries up to `throughLsn` were handed to the link; 0 when it must be tried again. */
  | {
      readonly kind: "fed";
      readonly to: MemberId;
      readonly toInc: number;
      readonly throughLsn: Lsn;
      readonly nowMs: number;
    }
  /** The log no longer holds the entries asked for: catching up by log is over. */
  | { readonly kind: "feedGone"; readonly to: MemberId; readonly toInc: number }
  /** A `sendBlobs` effect was done. */
  | {
      readonly kind: "blobsSent";
      readonly to: MemberId;
      readonly toInc: number;
      readonly nowMs: number;
    }
  /** End of a tick of the shell: acknowledgements and shipping are collected until here. */
  | {
      readonly kind: "flush";
      readonly nowMs: number;
      /** Members whose link has enough to carry: nothing is shipped to them in this flush. */
      readonly hold?: ReadonlySet<MemberId>;
    }
  | { readonly kind: "tick"; readonly nowMs: number };

export type ReplicaEffect<R> =
  /**
   * Log an entry of our own; without `ref` it is a NEWEPOCH. Answer with `logged` at once, or not at
   * all when the log refuses a proposal.
   */
  | {
      readonly kind: "append";
      readonly lsn: Lsn;
      readonly epoch: Epoch;
      readonly prevHash: ChainHash;
      readonly mark: Lsn;
      readonly ref: R | undefined;
    }
  /** `backlog`: too much is uncommitted already. */
  | {
      readonly kind: "refuse";
      readonly ref: R;
      readonly why: "notServing" | "backlog";
      readonly epoch: Epoch | undefined;
    }
  /** Log the primary's record as it is. */
  | { readonly kind: "appendRaw"; readonly entry: WireEntry<R> }
  /** Save the entries after `afterLsn` to a file of their own, then log that they are void. */
  | {
      readonly kind: "cut";
      readonly afterLsn: Lsn;
      readonly afterHash: ChainHash;
      readonly endLsn: Lsn;
    }
  /** Log the config; answer with `configDurable` after the fsync. */
  | { readonly kind: "persistConfig"; readonly config: ShardConfig }
  /** Everything up to `throughLsn` is committed: apply what is not, answer those who wait, then `applied`. */
  | { readonly kind: "commit"; readonly fromLsn: Lsn; readonly throughLsn: Lsn }
  /** Send entries that were logged just now, in one message. */
  | {
      readonly kind: "ship";
      readonly to: MemberId;
      readonly toInc: number;
      readonly epoch: Epoch;
      readonly fromLsn: Lsn;
      readonly throughLsn: Lsn;
      readonly prevHash: ChainHash;
      readonly mark: Lsn;
    }
  /** Read entries from `fromLsn` on from the log, as many as fit one message, and send them. */
  | {
      readonly kind: "feed";
      readonly to: MemberId;
      readonly toInc: number;
      readonly epoch: Epoch;
      readonly fromLsn: Lsn;
      readonly throughLsn: Lsn;
      readonly mark: Lsn;
    }
  | { readonly kind: "send"; readonly to: MemberId; readonly message: ReplicaMessage<R> }
  | {
      readonly kind: "sendBlobs";
      readonly to: MemberId;
      readonly toInc: number;
      readonly blobs: readonly string[];
    }
  /** Outcome unknown for proposals up to `throughLsn`: tell those who wait. The entries stay. */
  | { readonly kind: "expire"; readonly throughLsn: Lsn }
  /** Someone holds a newer epoch: read the table again. */
  | { readonly kind: "refreshTable" }
  /** An operator must look. */
  | { readonly kind: "alarm"; readonly why: ReplicaAlarm };

export type ReplicaAlarm =
  /** The coordinator's epoch is lower than one on this disk: a restored backup or a lost disk. */
  | "tableBehind"
  /** This copy contradicts the primary's below what was applied: it must be made anew. */
  | "damaged"
  /** A member's log ends below what it acknowledged. */
  | "acknowledgedLost"
  /** The log no longer reaches back to where a member stopped. */
  | "tooFarBehind";

/** What a primary knows of one secondary. */
export interface PeerState {
  readonly node: MemberId;
  /**
   * `down`: no link. `probing`: asked where it is. `feeding`: catching up from the log. `blobs`: it
   * waits for a body. `live`: gets every entry as it is logged. `broken`: can't catch up by log.
   */
  mode: "down" | "probing" | "feeding" | "blobs" | "live" | "broken";
  inc: number;
  /** Handed to the link up to here. */
  sentLsn: Lsn;
  /** Durable there up to here, as proved by the hash. */
  ackedLsn: Lsn;
  /** A feed is being read. */
  reading: boolean;
  /** When it last made progress or was last asked. */
  movedMs: number;
  /** The commit mark it confirmed. */
  mark: Lsn;
}

export interface Limits {
  /** After this a change's outcome is unknown to the client. */
  readonly commitMs: number;
  /** A member that owes an answer for this long is probed again. */
  readonly resendMs: number;
  /** A probe is cheap and may have come before the other end had read the table. */
  readonly probeMs: number;
  /** What one flush ships to one member; the rest stays for the next. */
  readonly shipBytesMax: number;
  readonly uncommittedEntriesMax: number;
  readonly uncommittedBytesMax: number;
}

export const defaultLimits: Limits = {
  commitMs: 5000,
  resendMs: 1000,
  probeMs: 100,
  shipBytesMax: 1024 * 1024,
  uncommittedEntriesMax: 20_000,
  uncommittedBytesMax: 64 * 1024 * 1024,
};

/** What is found on the disk at start. */
export interface Recovered {
  readonly config: ShardConfig | undefined;
  /** Highest commit mark in the log: the engine has applied up to here. */
  readonly appliedLsn: Lsn;
  readonly appliedHash: ChainHash;
  /** Epoch of the log's last entry, 0 when there is none. */
  readonly endEpoch: Epoch;
  /** Hashes of the entries behind the applied one, in order. All durable. */
  readonly tail: readonly ChainHash[];
}

export interface Waiting {
  readonly lsn: Lsn;
  readonly atMs: number;
  readonly bytes: number;
}

/** Mutable inside stepReplica, read-only to everyone else. */
export interface ReplicaState {
  readonly me: Copy;
  readonly inc: number;
  readonly limits: Limits;
  config: ShardConfig | undefined;
  configDurableEpoch: number;
  role: "none" | "primary" | "secondary";
  /** The table was read since this process started, and agrees with the disk. */
  active: boolean;
  tail: HashTail;
  endEpoch: number;
  durableLsn: Lsn;
  commitLsn: Lsn;
  appliedLsn: Lsn;
  up: Set<MemberId>;

  /** Primary: reads wait until everything up to here is applied. */
  barrierLsn: Lsn;
  peers: readonly PeerState[];
  /** Own proposals not yet committed, in order; the first ones are at `waitingStart`. */
  waiting: Waiting[];
  waitingStart: number;
  waitingBytes: number;
  expiredLsn: Lsn;

  /** Secondary: incarnation of the primary that we listen to. */
  primaryInc: number;
  /** Secondary: our log equals the primary's up to here. */
  matchedLsn: Lsn;
  /** Secondary: the highest commit mark heard. */
  heardMark: Lsn;
  /** Secondary: an acknowledgement is due at the next flush. */
  ackDue: boolean;
  /** Secondary: up to here it was acknowledged last. */
  ackedLsn: Lsn;
}
