// Words of the manager machine: what the acting gateway is told (events), what it wants done
// (effects), and what members report to it. Rules are in manager*.ts; links and keys in node/.

import type { Epoch, Lsn, MemberId, ShardId } from "../../mail/ids.ts";
import type { ChainHash } from "./hash-tail.ts";
import type { Copy, ShardConfig } from "./shard-config.ts";

/** Where a copy's log stands. The anchor of a tail-first secondary is its commit mark's entry. */
export interface Position {
  readonly lastLsn: Lsn;
  readonly lastHash: ChainHash;
  readonly commitMark: Lsn;
  readonly markHash: ChainHash;
}

/** What a member tells every gateway at once, and every 200 ms as long as it wishes it. */
export type ShardReport =
  /** A primary, its secondary `node` silent for LEASE + 50 ms: it acknowledges nothing meanwhile. */
  | {
      readonly kind: "removeSecondary";
      readonly shard: ShardId;
      readonly epoch: Epoch;
      readonly secondary: Copy;
      readonly commitMark: Lsn;
      readonly markHash: ChainHash;
      /**
       * All that its log held when this life of it began is committed. Until then entries above the mark
       * may have been acknowledged. Absent from members that don't know: then it is not so.
       */
      readonly settled?: boolean;
    }
  /** A secondary: no heartbeat of the primary for GRACE. */
  | { readonly kind: "primarySilent"; readonly shard: ShardId; readonly epoch: Epoch }
  /** A serving primary: `secondary` is complete and flushed, in this very epoch. */
  | {
      readonly kind: "synced";
      readonly shard: ShardId;
      readonly epoch: Epoch;
      readonly secondary: Copy;
    }
  /** A member that is sealed in its current epoch. */
  | ({ readonly kind: "sealed"; readonly shard: ShardId; readonly epoch: Epoch } & Position)
  /** A primary that ended its epoch for ever; every member holds its log up to its end. */
  | ({ readonly kind: "handedOver"; readonly shard: ShardId; readonly epoch: Epoch } & Position)
  /** A member whose copy can't be used: damaged, or cut below what it had acknowledged. */
  | { readonly kind: "unusable"; readonly shard: ShardId; readonly epoch: Epoch };

export type TailEnd = Pick<Position, "lastLsn" | "lastHash">;

/** The tail-first log that a copy keeps: where its config says that it begins, and how far it goes. */
export interface SealedTail extends TailEnd {
  readonly fromLsn: Lsn;
  readonly anchorHash: ChainHash;
}

/** Answer to a `seal` effect. */
export type SealAnswer =
  /** Sealed in `epoch` for ever: it acknowledges and grants nothing of it, or of an earlier one. */
  | ({
      readonly kind: "sealed";
      readonly epoch: Epoch;
      /** The table calls it full, or it holds the whole tail that it keeps, and all before that. */
      readonly full: boolean;
      /** Of its own log's last entry. Absent from members that don't tell. */
      readonly logEpoch?: Epoch;
      /** Null: it keeps none. Absent from members that don't tell. */
      readonly tail?: SealedTail | null;
    } & Position)
  /** It hears the primary and `evenIfHeard` was not said. */
  | { readonly kind: "heard" }
  /** It holds a newer epoch: `config` is its. */
  | { readonly kind: "newer"; readonly config: ShardConfig }
  /** It has no usable copy (another store id, damaged, never was a member). */
  | { readonly kind: "unusable" };

/** A registered mail node, as of `members/<id>`, its presence and the newest load figures. */
export interface MailNode {
  readonly node: MemberId;
  readonly store: Copy["store"];
  /** Grows with each start of the process. */
  readonly incarnation: number;
  readonly failureDomain: string;
  /** An operator wants it empty. */
  readonly draining: boolean;
  /** It asked to be relieved: slow fsync, a stalled loop, a disk nearly full, SIGTERM. */
  readonly degraded: boolean;
  /** Degraded, though what made it so is over, if only just. Default false. */
  readonly recovering?: boolean;
  /** Degraded, because its process is about to end. Default false. */
  readonly stopping?: boolean;
  /** 0 idle … 1 busy. */
  readonly load: number;
  /** Its disk has room for mail, but not for another copy. Default false. */
  readonly crowded?: boolean;
}

export type ManagerOrder =
  /** Make `to`, a full secondary, the primary. */
  | { readonly kind: "swap"; readonly shard: ShardId; readonly to: MemberId }
  /** Bring the copy that lies at `from` to `to`. */
  | {
      readonly kind: "move";
      readonly shard: ShardId;
      readonly from: MemberId;
      readonly to: MemberId;
    }
  /**
   * An operator has fenced the lost primary and takes the copy at `to` as it is. Refused (alarm
   * `orderRefused`) while the primary's node is registered.
   */
  | { readonly kind: "forcePromote"; readonly shard: ShardId; readonly to: Copy };

/** Times are the gateway's monotonic clock. */
export type ManagerEvent =
  /** The ring says whether this gateway is the acting manager. A lone gateway always is. */
  | { readonly kind: "acting"; readonly acting: boolean; readonly nowMs: number }
  /** A value of `shards/<id>`: from the read at start, the watch, or another's answer. */
  | { readonly kind: "table"; readonly config: ShardConfig; readonly nowMs: number }
  /** All mail nodes that are registered now (their presence may be the last thing to notice a death). */
  | { readonly kind: "members"; readonly members: readonly MailNode[]; readonly nowMs: number }
  /** The gateways that the ring counts, this one among them. */
  | { readonly kind: "gateways"; readonly gateways: readonly MemberId[]; readonly nowMs: number }
  /** This gateway's link to a node: `reset` by the other end's kernel or ours, or up. */
  | {
      readonly kind: "link";
      readonly node: MemberId;
      readonly state: "up" | "reset";
      readonly nowMs: number;
    }
  /** The heartbeat machine's effects of that name: nothing for SUSPECT, and something again. */
  | { readonly kind: "silent"; readonly node: MemberId; readonly nowMs: number }
  | { readonly kind: "heard"; readonly node: MemberId; readonly nowMs: number }
  /** What another gateway can't reach, by the ring (its `unreachable(state)`). */
  | {
      readonly kind: "view";
      readonly gateway: MemberId;
      readonly unreachable: readonly MemberId[];
      readonly nowMs: number;
    }
  /**
   * `linked`: the nodes to which the reporting one's link is up: a secondary that its primary can't
   * reach would only stop the shard.
   */
  | {
      readonly kind: "report";
      readonly from: Copy;
      readonly linked: readonly MemberId[];
      readonly reports: readonly ShardReport[];
      readonly nowMs: number;
    }
  /** Answers; an effect without one is tried again after a time. */
  | {
      readonly kind: "sealAnswer";
      readonly shard: ShardId;
      readonly from: Copy;
      /** As in a report. */
      readonly linked: readonly MemberId[];
      readonly answer: SealAnswer;
      readonly nowMs: number;
    }
  /** `position` is undefined when the primary refuses (it no longer serves that epoch). */
  | {
      readonly kind: "handOverAnswer";
      readonly shard: ShardId;
      readonly epoch: Epoch;
      readonly from: Copy;
      readonly position: Position | undefined;
      readonly nowMs: number;
    }
  /** `position` is undefined when it isn't the primary of that epoch. */
  | {
      readonly kind: "askAnswer";
      readonly shard: ShardId;
      readonly epoch: Epoch;
      readonly from: Copy;
      /** As in a report. */
      readonly linked: readonly MemberId[];
      readonly position: Position | undefined;
      readonly nowMs: number;
    }
  /** `position` is undefined when the log of `from` doesn't contain the tail's anchor. */
  | {
      readonly kind: "graftAnswer";
      readonly shard: ShardId;
      readonly epoch: Epoch;
      readonly from: Copy;
      readonly position: Position | undefined;
      readonly nowMs: number;
    }
  /**
   * How a `write` ended; an unknown outcome is resolved by the shell, which reads the key again and
   * compares nonces. `current` is the key's value now; undefined when it couldn't be read.
   */
  | {
      readonly kind: "wrote";
      readonly shard: ShardId;
      readonly ifEpoch: Epoch;
      readonly current: ShardConfig | undefined;
      readonly nowMs: number;
    }
  | { readonly kind: "order"; readonly order: ManagerOrder; readonly nowMs: number }
  /** Every 50 ms or so. */
  | { readonly kind: "tick"; readonly nowMs: number };

/** What a shard's key is to hold; the shell draws the nonce. */
export type ShardPlan = Omit<ShardConfig, "nonce">;

/** Order matters within one step; effects of different steps may be done at the same time. */
export type ManagerEffect =
  /** SEAL `shard` in `epoch` at this copy; `evenIfHeard` when most gateways can't reach the primary. */
  | {
      readonly kind: "seal";
      readonly shard: ShardId;
      readonly epoch: Epoch;
      readonly to: Copy;
      readonly evenIfHeard: boolean;
    }
  /** HANDOVER: the primary `from` is to end `epoch` once every member holds its log. */
  | {
      readonly kind: "handOver";
      readonly shard: ShardId;
      readonly epoch: Epoch;
      readonly from: Copy;
    }
  /** Where does this primary stand? */
  | { readonly kind: "ask"; readonly shard: ShardId; readonly epoch: Epoch; readonly to: Copy }
  /**
   * `to`, a sealed copy that was a full member, fetches the entries of the tail that `from` (sealed
   * in `epoch`) keeps and appends them to its log, all up to `throughLsn`.
   */
  | {
      readonly kind: "graft";
      readonly shard: ShardId;
      readonly epoch: Epoch;
      readonly to: Copy;
      readonly from: Copy;
      readonly throughLsn: Lsn;
      readonly throughHash: ChainHash;
    }
  /** Compare-and-set of the shard's key; writes of one step may share a transaction (at most 40). */
  | { readonly kind: "write"; readonly plan: ShardPlan; readonly ifEpoch: Epoch }
  /** Tell these members of a committed value, as a hint: the watch may be slow. */
  | { readonly kind: "push"; readonly config: ShardConfig; readonly to: readonly MemberId[] }
  | {
      readonly kind: "alarm";
      readonly why: ManagerAlarm;
      readonly shard?: ShardId;
      readonly node?: MemberId;
    };

/** Things that happened, and that an operator should look into. */
export type ManagerAlarm =
  /** A sealed copy ends below what is known to have been durable on it. */
  "copyBehind" | "orderRefused";

/** Conditions that an operator should know of as long as they last: see manager-alarms.ts. */
export type StandingAlarm =
  /** No copy that may be promoted can be reached: the shard waits for one to come back. */
  | "noPromotableCopy"
  /** The shard has fewer copies than it should, and no node can take another one. */
  | "noRoomForCopy"
  /** Two copies lie in one failure domain, though the cluster has several. */
  | "sharedDomain";
