// Words of the replica state machine: what it is told (events), what it wants done (effects), and
// what replicas say to each other (messages). What it remembers is in replica-state.ts, rules are in
// replica*.ts.

import type { Epoch, Lsn, MemberId } from "../../mail/ids.ts";
import type { ChainHash } from "./hash-tail.ts";
import type { ShardConfig } from "./shard-config.ts";

/**
 * Send time of the newest heartbeat that this secondary acknowledged for the shard in the epoch held;
 * -Infinity: none, Infinity: leases are not asked for (single processes and tests).
 */
export type LeaseStarts = (node: MemberId) => number;

/**
 * Every message carries the incarnations of both ends, so that what was meant for an earlier life of
 * either is ignored. Incarnations come from the coordinator and grow. `toInc` of a probe is 0.
 */
export interface MessageBase {
  readonly epoch: Epoch;
  readonly fromInc: number;
  readonly toInc: number;
  /** Of the tail-first log that a secondary keeps until its copy is full, not of the copy's own log. */
  readonly tail: boolean;
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
  /** Primary: my log no longer reaches back to your end: make your copy anew from mine. */
  | (MessageBase & { readonly kind: "copyNeeded" })
  /** A sealed former member: send me your tail from `lsn` on; its lowest entry when `lsn` is 0. */
  | (MessageBase & { readonly kind: "pull"; readonly lsn: Lsn })
  /** A sealed secondary: entries of its tail that follow `prevLsn`; none: it has no such. */
  | (MessageBase & {
      readonly kind: "pulled";
      readonly prevLsn: Lsn;
      readonly prevHash: ChainHash;
      readonly entries: readonly WireEntry<R>[];
    })
  /** Either: I hold another epoch of this shard. `epoch` is mine. */
  | (MessageBase & { readonly kind: "refused" });

export type ReplicaEvent<R> =
  /** What one linearizable read or the watch of the coordinator's table says. */
  | { readonly kind: "config"; readonly config: ShardConfig; readonly nowMs: number }
  | { readonly kind: "peerUp"; readonly node: MemberId; readonly nowMs: number }
  | { readonly kind: "peerDown"; readonly node: MemberId }
  /** The member stops in a moment: its process says so itself. */
  | { readonly kind: "peerLeaving"; readonly node: MemberId; readonly nowMs: number }
  | {
      readonly kind: "propose";
      readonly ref: R;
      readonly bytes: number;
      readonly nowMs: number;
      readonly leaseStartMs: LeaseStarts;
    }
  /** An `append` effect was done: the entry lies in the log's current group. */
  | {
      readonly kind: "logged";
      readonly lsn: Lsn;
      readonly hash: ChainHash;
      readonly bytes: number;
      readonly nowMs: number;
    }
  /** The log took neither `lsn` of an `appendRaw` effect nor those behind it (its queue is full). */
  | { readonly kind: "notLogged"; readonly tail: boolean; readonly lsn: Lsn }
  /** This disk's log is fsynced up to this entry of the shard. */
  | {
      readonly kind: "durable";
      readonly tail: boolean;
      readonly lsn: Lsn;
      readonly hash: ChainHash;
    }
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
      readonly tail: boolean;
      readonly throughLsn: Lsn;
      readonly nowMs: number;
    }
  /** The log no longer holds the entries asked for: catching up by log is over. */
  | {
      readonly kind: "feedGone";
      readonly to: MemberId;
      readonly toInc: number;
      readonly tail: boolean;
    }
  /** A `sendBlobs` effect was done. */
  | {
      readonly kind: "blobsSent";
      readonly to: MemberId;
      readonly toInc: number;
      readonly tail: boolean;
      readonly nowMs: number;
    }
  /** End of a tick of the shell: acknowledgements and shipping are collected until here. */
  | {
      readonly kind: "flush";
      readonly nowMs: number;
      /** Members whose link has enough to carry: nothing is shipped to them in this flush. */
      readonly hold?: ReadonlySet<MemberId>;
    }
  /**
   * Every 50 ms or so. `heardMs`: when this copy last granted a lease for the shard; -Infinity: never,
   * Infinity: leases are not asked for.
   */
  | {
      readonly kind: "tick";
      readonly nowMs: number;
      readonly leaseStartMs: LeaseStarts;
      readonly heardMs: number;
    }
  /**
   * A manager says SEAL. Answered by `sealed` or `sealRefused`. `heardMs`: when anything came from the
   * primary last.
   */
  | {
      readonly kind: "seal";
      readonly epoch: Epoch;
      readonly evenIfHeard: boolean;
      readonly heardMs: number;
      readonly nowMs: number;
    }
  /** A `revoke` effect was done: `lastGrantedMs` is -Infinity when nothing was granted since the start. */
  | {
      readonly kind: "revoked";
      readonly epoch: Epoch;
      readonly lastGrantedMs: number;
      readonly nowMs: number;
    }
  | { readonly kind: "sealDurable"; readonly epoch: Epoch; readonly nowMs: number }
  | { readonly kind: "cutSaved"; readonly afterLsn: Lsn; readonly endLsn: Lsn }
  /** A manager says HANDOVER. Answered by `handedOver` or `handOverRefused`. */
  | { readonly kind: "handOver"; readonly epoch: Epoch; readonly nowMs: number }
  /**
   * A manager says: fetch the tail that `from` keeps, up to this entry. Answered by `grafted`; asked
   * again it goes on.
   */
  | {
      readonly kind: "graft";
      readonly epoch: Epoch;
      readonly from: MemberId;
      readonly throughLsn: Lsn;
      readonly throughHash: ChainHash;
      readonly nowMs: number;
    }
  /** This copy was made anew: its log goes on behind (lsn, hash). Undefined: it failed, try again later. */
  | {
      readonly kind: "copied";
      readonly point: { readonly lsn: Lsn; readonly hash: ChainHash } | undefined;
      readonly nowMs: number;
    };

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
  | { readonly kind: "appendRaw"; readonly tail: boolean; readonly entry: WireEntry<R> }
  /** Save the entries after `afterLsn` to a file of their own; answer with `cutSaved` after the fsync. */
  | { readonly kind: "saveCut"; readonly afterLsn: Lsn; readonly endLsn: Lsn }
  /** Log that the entries after `afterLsn` are void. */
  | {
      readonly kind: "cut";
      readonly tail: boolean;
      readonly afterLsn: Lsn;
      readonly afterHash: ChainHash;
      readonly endLsn: Lsn;
    }
  /**
   * Log the config, in the one log that all entries go to. An epoch begins with NEWEPOCH, behind it:
   * nobody serves, or answers anything, in an epoch before all its members have that, and so the config,
   * on their disks.
   */
  | { readonly kind: "persistConfig"; readonly config: ShardConfig }
  /** Persist that `epoch` is sealed here; answer with `sealDurable` after the fsync. */
  | { readonly kind: "persistSeal"; readonly epoch: Epoch }
  /**
   * Everything up to `throughLsn` is committed: apply what was not yet shown, answer those who wait,
   * then `applied`.
   */
  | { readonly kind: "commit"; readonly fromLsn: Lsn; readonly throughLsn: Lsn }
  /**
   * Apply entries up to `throughLsn`, then `applied`, but answer nobody: they lie on one disk only,
   * which is the only copy there is. `commit` comes for them later.
   */
  | { readonly kind: "show"; readonly fromLsn: Lsn; readonly throughLsn: Lsn }
  /** Send entries that were logged just now, in one message. */
  | {
      readonly kind: "ship";
      readonly to: MemberId;
      readonly toInc: number;
      readonly tail: boolean;
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
      readonly tail: boolean;
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
      readonly tail: boolean;
      readonly blobs: readonly string[];
    }
  /** Outcome unknown for proposals up to `throughLsn`: tell those who wait. The entries stay. */
  | { readonly kind: "expire"; readonly throughLsn: Lsn }
  /** Let the pulse grant nothing for this shard up to `epoch` any more; answer with `revoked`. */
  | { readonly kind: "revoke"; readonly epoch: Epoch }
  /** Answers to `seal`, for everyone who asked; what to answer is `sealAnswerOf`. */
  | { readonly kind: "sealed"; readonly epoch: Epoch }
  | {
      readonly kind: "sealRefused";
      readonly epoch: Epoch;
      readonly why: "heard" | "newer" | "unusable";
    }
  /** Answers to `handOver`; the position is `positionOf`. */
  | { readonly kind: "handedOver"; readonly epoch: Epoch }
  | { readonly kind: "handOverRefused"; readonly epoch: Epoch }
  /** Answer to `graft`: done, or this log does not contain the tail's anchor. */
  | { readonly kind: "grafted"; readonly epoch: Epoch; readonly ok: boolean }
  /** `state.wish` is another than before: tell every gateway now. */
  | { readonly kind: "report" }
  /** Begin the tail-first log behind (afterLsn, afterHash), void whatever it held. */
  | { readonly kind: "startTail"; readonly afterLsn: Lsn; readonly afterHash: ChainHash }
  /** The tail-first log is no longer needed. */
  | { readonly kind: "dropTail" }
  /** Read entries of the own tail from `fromLsn` on and send them in a `pulled` (to this copy itself:
   * as a message from it, with its own incarnation). */
  | {
      readonly kind: "sendPulled";
      readonly to: MemberId;
      readonly toInc: number;
      readonly epoch: Epoch;
      readonly fromLsn: Lsn;
      readonly throughLsn: Lsn;
    }
  /** Make this copy anew from that of `from`, in good time; then `copied`. Nothing is appended meanwhile. */
  | { readonly kind: "copy"; readonly from: MemberId }
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
