// Words of the heartbeat machine: one a process, run by its pulse thread (and by the simulator).
// Primaries collect leases with it, secondaries grant them, gateways see which nodes live.
// Rules are in heartbeat.ts; bytes, keys and sockets in pulse/.

import type { Epoch, MemberId, ShardId } from "../../mail/ids.ts";

/** A shard at one configuration, as heartbeats name it. */
export interface ShardEpoch {
  readonly shard: ShardId;
  readonly epoch: Epoch;
}

/** I am a secondary of `shard` in `epoch` and not sealed in it: its primary may have leases. */
export interface Grant {
  readonly epoch: Epoch;
  readonly primary: MemberId;
}

/** I am the primary of `shard` in `epoch`: I need a lease of each of these. */
export interface Hold {
  readonly epoch: Epoch;
  readonly secondaries: readonly MemberId[];
}

/** How a process is doing, told in each heartbeat: what its main thread can't tell while it is stuck. */
export interface Vitals {
  /** How long its main thread has not answered, beyond what is normal. */
  readonly loopLagMs: number;
  readonly fsyncP99Ms: number;
  readonly diskFreePerMille: number;
  /** Records with a wrong checksum found since the start. */
  readonly damaged: number;
}

export const noVitals: Vitals = {
  loopLagMs: 0,
  fsyncP99Ms: 0,
  diskFreePerMille: 1000,
  damaged: 0,
};

export type HeartbeatMessage =
  /**
   * `pairs`: shards of which the sender is primary and the receiver a secondary, at most `pairsMax`
   * (more go in further beats). `seq` counts all beats to all members and never repeats.
   */
  | {
      readonly kind: "beat";
      readonly seq: number;
      readonly vitals: Vitals;
      readonly pairs: readonly ShardEpoch[];
    }
  /** Answers beat `seq`: the receiver grants a lease for each of its pairs but the `refused` shards. */
  | {
      readonly kind: "beatAck";
      readonly seq: number;
      readonly vitals: Vitals;
      readonly refused: readonly ShardId[];
    };

/** Times are monotonic milliseconds of this process, with fraction. */
export type HeartbeatEvent =
  /**
   * Everyone who is to be heartbeaten whatever the tables say: for a gateway all nodes, for a node
   * nobody. Members of grants and holds come by themselves.
   */
  | { readonly kind: "watch"; readonly members: readonly MemberId[]; readonly nowMs: number }
  /** `undefined` ends it. A grant of an epoch that was revoked is ignored. */
  | {
      readonly kind: "grant";
      readonly shard: ShardId;
      readonly grant: Grant | undefined;
      readonly nowMs: number;
    }
  /** Another epoch or another secondary begins without a lease. */
  | {
      readonly kind: "hold";
      readonly shard: ShardId;
      readonly hold: Hold | undefined;
      readonly nowMs: number;
    }
  /** Grant no more for `shard` up to and with `epoch`, ever. Answered by a `revoked` effect. */
  | {
      readonly kind: "revoke";
      readonly shard: ShardId;
      readonly epoch: Epoch;
      readonly nowMs: number;
    }
  | { readonly kind: "vitals"; readonly vitals: Vitals }
  /** Checked by the receiver: authentic, for us, of the member's present incarnation, not repeated. */
  | {
      readonly kind: "message";
      readonly from: MemberId;
      readonly message: HeartbeatMessage;
      readonly nowMs: number;
    }
  /** Any other authentic datagram of that member. */
  | { readonly kind: "heard"; readonly from: MemberId; readonly nowMs: number }
  /** Wall clock and monotonic clock disagree (the machine slept): all leases are void. */
  | { readonly kind: "clockJump"; readonly nowMs: number }
  /** At `nextBeatMs(state)` or any other time. */
  | { readonly kind: "tick"; readonly nowMs: number };

export type HeartbeatEffect =
  | { readonly kind: "send"; readonly to: MemberId; readonly message: HeartbeatMessage }
  /** Lease of `node` for what is held now began at `startMs`; undefined: none. */
  | {
      readonly kind: "lease";
      readonly shard: ShardId;
      readonly epoch: Epoch;
      readonly node: MemberId;
      readonly startMs: number | undefined;
    }
  /** Leases for `shard` were granted at `nowMs`, in any epoch. */
  | { readonly kind: "granted"; readonly shard: ShardId; readonly nowMs: number }
  /** Nothing was or will be granted for `shard` up to `epoch` after `lastGrantedMs` (-Infinity: never since the start). */
  | {
      readonly kind: "revoked";
      readonly shard: ShardId;
      readonly epoch: Epoch;
      readonly lastGrantedMs: number;
    }
  /** Nothing came from the member for SUSPECT (or since it is heartbeaten). */
  | { readonly kind: "silent"; readonly member: MemberId; readonly heardMs: number | undefined }
  /** The first thing after `silent`, or ever. */
  | { readonly kind: "heard"; readonly member: MemberId; readonly nowMs: number }
  /** Vitals of a member, as of its newest heartbeat. */
  | { readonly kind: "vitals"; readonly member: MemberId; readonly vitals: Vitals };

export interface HeartbeatTimes {
  readonly heartbeatMs: number;
  /** A lease holds for so long from the *sending* of the heartbeat that got it. */
  readonly leaseMs: number;
  readonly suspectMs: number;
  /** More than leaseMs × (1 + 2 × clock drift). */
  readonly graceMs: number;
}

export const heartbeatTimes: HeartbeatTimes = {
  heartbeatMs: 100,
  leaseMs: 600,
  suspectMs: 500,
  graceMs: 750,
};

/** What fits into one datagram with the longest member names. */
export const pairsMax = 176;
