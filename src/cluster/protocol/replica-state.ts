// What the replica machine remembers of one shard, its limits and times, and what it starts from.
// Events, effects and messages are in replica-types.ts, rules in replica*.ts.

import type { Epoch, Lsn, MemberId } from "../../mail/ids.ts";
import type { ChainHash, HashTail } from "./hash-tail.ts";
import type { ShardReport } from "./manager-types.ts";
import type { Copy, SecondaryCopy, ShardConfig } from "./shard-config.ts";

/**
 * What a primary knows of one log of a secondary: its copy's own one, or the tail-first log that it
 * keeps until its copy is full.
 */
export interface PeerState {
  readonly node: MemberId;
  /** This is the tail-first log. */
  readonly isTail: boolean;
  /**
   * `down`: no link. `probing`: asked where it is. `feeding`: catching up from the log. `blobs`: it
   * waits for a body. `live`: gets every entry as it is logged. `broken`: can't catch up by log.
   * `done` (tail only): the copy's own log has taken over, for the rest of the epoch.
   */
  mode: "down" | "probing" | "feeding" | "blobs" | "live" | "broken" | "done";
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

/** A secondary as its primary sees it. */
export interface SecondaryState extends PeerState {
  readonly copy: SecondaryCopy;
  /** The tail-first log of a secondary that is not full. */
  readonly first: PeerState | undefined;
  /** It has not acknowledged this entry, which has been on the primary's own disk since then. */
  owes: { readonly lsn: Lsn; readonly sinceMs: number } | undefined;
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
  /** As the pulse has them: a lease holds for `leaseMs`, and longer than `graceMs` after it was granted nowhere. */
  readonly leaseMs: number;
  readonly suspectMs: number;
  readonly graceMs: number;
  /** A secondary without a lease for so long is to be removed; when its link is down as well, sooner. */
  readonly removeMs: number;
  readonly removeDownMs: number;
  /** A secondary that keeps what is on its primary's disk uncommitted for so long, too. */
  readonly stallMs: number;
  /** HANDOVER waits so long for changes under way. */
  readonly handOverMs: number;
  /** A fetch of a tail that owes an answer for so long asks again. */
  readonly pullMs: number;
  /** So often a secondary whose copy must be made anew is asked where it is. */
  readonly copyProbeMs: number;
  /** After this a copy that failed is tried again. */
  readonly copyRetryMs: number;
  /**
   * While a former member might return, which would be brought up by its log, a full copy to another
   * one waits for so long. The tail is there meanwhile.
   */
  readonly copyWaitMs: number;
}

export const defaultLimits: Limits = {
  commitMs: 5000,
  resendMs: 1000,
  probeMs: 100,
  shipBytesMax: 1024 * 1024,
  uncommittedEntriesMax: 20_000,
  uncommittedBytesMax: 64 * 1024 * 1024,
  leaseMs: 600,
  suspectMs: 500,
  graceMs: 750,
  removeMs: 650,
  removeDownMs: 250,
  stallMs: 2000,
  handOverMs: 500,
  pullMs: 300,
  copyProbeMs: 1000,
  copyRetryMs: 5000,
  copyWaitMs: 30_000,
};

/** What is found on the disk at start. */
export interface Recovered {
  readonly config: ShardConfig | undefined;
  readonly sealedEpoch: Epoch;
  /** Highest commit mark in the log: the engine has applied up to here. */
  readonly appliedLsn: Lsn;
  readonly appliedHash: ChainHash;
  /** Epoch of the log's last entry, 0 when there is none. */
  readonly endEpoch: Epoch;
  /** Hashes of the entries behind the applied one, in order. All durable. */
  readonly tail: readonly ChainHash[];
  /** A hole or a broken chain: nothing above is to be believed. Default false. */
  readonly damaged?: boolean;
  /** The tail-first log, if one is kept: it begins behind (baseLsn, baseHash). All durable. */
  readonly first?: {
    readonly baseLsn: Lsn;
    readonly baseHash: ChainHash;
    readonly hashes: readonly ChainHash[];
  };
}

export interface Waiting {
  readonly lsn: Lsn;
  readonly atMs: number;
  readonly bytes: number;
}

/** A log that follows a primary's: the copy's own one, or the tail-first one. */
export interface FollowedLog {
  tail: HashTail;
  durableLsn: Lsn;
  /** Equal to the primary's up to here. */
  matchedLsn: Lsn;
  /** An acknowledgement is due at the next flush. */
  ackDue: boolean;
  /** Up to here it was acknowledged last. */
  ackedLsn: Lsn;
}

/** Entries of a tail on their way into the copy's own log. */
export interface Graft {
  readonly epoch: Epoch;
  /** This member itself when the tail is its own. */
  readonly from: MemberId;
  readonly throughLsn: Lsn;
  readonly throughHash: ChainHash;
  /** Incarnation of `from`, once it is known. */
  inc: number;
  /** Taken up to here. */
  afterLsn: Lsn;
  askedMs: number;
}

/** Mutable inside stepReplica, read-only to everyone else. */
export interface ReplicaState extends FollowedLog {
  readonly me: Copy;
  readonly inc: number;
  readonly limits: Limits;
  config: ShardConfig | undefined;
  /** Nothing of this epoch or an earlier one is granted, acknowledged or served here any more. */
  sealedEpoch: number;
  sealedDurableEpoch: number;
  role: "none" | "primary" | "secondary";
  /** The table was read since this process started, and agrees with the disk. */
  active: boolean;
  /** When the present config was taken up. */
  sinceMs: number;
  endEpoch: number;
  /** Durable on every member and on at least minCopies. */
  commitLsn: Lsn;
  /** Handed to the engine up to here; above `commitLsn` only in a shard of one copy. */
  shownLsn: Lsn;
  appliedLsn: Lsn;
  up: Set<MemberId>;
  /** What this copy wants of the managers; `report` is emitted when it changes. */
  wish: ShardReport | undefined;

  /** The pulse has confirmed that it grants nothing up to this epoch. */
  revokedEpoch: number;
  lastGrantedMs: number;
  /** Leases granted by an earlier life of this process may hold until then. */
  restartUntilMs: number;
  /** A SEAL of this epoch waits for the pulse. */
  sealing: number;

  /** Primary: leases granted as a secondary may hold until then. */
  waitUntilMs: number;
  /** Primary: reads wait until everything up to here is applied. */
  barrierLsn: Lsn;
  peers: readonly SecondaryState[];
  /** Primary: this secondary is to be removed; nothing is committed until the table has changed. */
  asking: SecondaryCopy | undefined;
  /** Primary: no changes are taken any more, the epoch is about to end. */
  handingSinceMs: number | undefined;
  /** Primary: this secondary's own log has everything: it may be called full. */
  synced: SecondaryCopy | undefined;
  /** Own proposals not yet committed, in order; the first ones are at `waitingStart`. */
  waiting: Waiting[];
  waitingStart: number;
  waitingBytes: number;
  expiredLsn: Lsn;

  /** Secondary: incarnation of the primary that we listen to. */
  primaryInc: number;
  /** Secondary: the highest commit mark heard. */
  heardMark: Lsn;
  /** Secondary: the tail-first log. */
  first: FollowedLog | undefined;
  /** A suffix is being saved before it is cut behind this lsn. */
  cuttingAfter: Lsn | undefined;
  /** This copy is being made anew: its log is not to be touched. */
  copying: boolean;
  /** When to begin, or to try again. */
  copyAtMs: number;
  /** Since when this copy is to be filled; undefined: it is not. */
  fillingSinceMs: number | undefined;
  /** What the disk holds is no sound copy: it must be made anew. */
  damaged: boolean;
  graft: Graft | undefined;
}
