// What failover asks of a member's copies: the replicated journal answers it (replicated-journal.ts),
// failover-member.ts passes on what managers say over links, and tells them what the copies wish.

import type { Epoch, Lsn, MemberId, ShardId } from "../../mail/ids.ts";
import type { ChainHash } from "../protocol/hash-tail.ts";
import type { Position, SealAnswer, ShardReport } from "../protocol/manager-types.ts";
import type { Copy, ShardConfig } from "../protocol/shard-config.ts";

export interface FailoverTarget {
  /** A value of the shard table; older ones than the held one are ignored. */
  setConfig(config: ShardConfig): void;
  /**
   * SEAL: grants no more (the pulse has confirmed), is persisted, then answered. `heard` when the
   * primary was heard within SUSPECT and `evenIfHeard` is false.
   */
  seal(shard: ShardId, epoch: Epoch, evenIfHeard: boolean): Promise<SealAnswer>;
  /**
   * HANDOVER: this primary ends `epoch` for ever once every member holds its log. Undefined when it
   * does not serve that epoch, or its members don't keep up.
   */
  handOver(shard: ShardId, epoch: Epoch): Promise<Position | undefined>;
  /** Where this copy stands, if it is the primary of `epoch`. */
  position(shard: ShardId, epoch: Epoch): Position | undefined;
  /** Fetches the tail that `from` keeps; undefined when this log does not contain its anchor. */
  graft(
    shard: ShardId,
    epoch: Epoch,
    from: Copy,
    throughLsn: Lsn,
    throughHash: ChainHash,
  ): Promise<Position | undefined>;
  /** That member stops in a moment: its copies are removed where this one is primary. */
  memberLeaves(node: MemberId): void;
  /** What the copies of this member wish now. */
  reports(): readonly ShardReport[];
  /** Runs when `reports` says something else than before. One listener. */
  set onReport(run: () => void);
  /** This member is the shard's serving primary, and clients may be answered. */
  answers(shard: ShardId): boolean;
  configOf(shard: ShardId): ShardConfig | undefined;
}
