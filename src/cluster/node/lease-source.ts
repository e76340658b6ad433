// Where a node's replicas learn of leases: the pulse in production. Leaves heartbeats to pulse/.

import type { Epoch, MemberId, ShardId } from "../../mail/ids.ts";
import type { Grant, Hold } from "../protocol/heartbeat-types.ts";

/**
 * The part of `Pulse` that replicas use. Production always passes the pulse; without one (unit tests,
 * a shard on a single node) leases count as fresh, and no secondary as silent.
 */
export interface LeaseSource {
  setGrant(shard: ShardId, grant: Grant | undefined): void;
  setHold(shard: ShardId, hold: Hold | undefined): void;
  revoke(shard: ShardId, epoch: Epoch): Promise<{ readonly lastGrantedMs: number }>;
  /** -Infinity: no lease. Called for every read and write. */
  leaseStartMs(shard: ShardId, node: MemberId): number;
  lastGrantedMs(shard: ShardId): number;
  heardMs(member: MemberId): number;
}
