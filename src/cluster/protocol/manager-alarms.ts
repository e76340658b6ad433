// What an operator should know of right now, read off the manager's state: shards that nobody can
// serve, shards without a place for their second copy. Every gateway sees it, acting or not.

import type { ShardId } from "../../mail/ids.ts";
import { graftBases, primaryLost, secondariesWanted } from "./manager-shard.ts";
import { chooseCopy, domainOf, isDraining, isHere } from "./manager-state.ts";
import type { ManagedShard, ManagerState } from "./manager-state.ts";
import type { StandingAlarm } from "./manager-types.ts";

/** The alarms that hold now, each with its shards; none of them is an event, so none is lost. */
export function standingAlarms(state: ManagerState): ReadonlyMap<StandingAlarm, ShardId[]> {
  const alarms = new Map<StandingAlarm, ShardId[]>();
  const add = (why: StandingAlarm, shard: ShardId): void => {
    const shards = alarms.get(why);
    if (shards === undefined) alarms.set(why, [shard]);
    else shards.push(shard);
  };
  const domains = domainsKnown(state);
  for (const shard of state.shards.values()) {
    const { shard: id } = shard.config;
    if (isStuck(state, shard)) add("noPromotableCopy", id);
    else if (lacksRoom(state, shard)) add("noRoomForCopy", id);
    if (domains > 1 && sharesDomain(state, shard)) add("sharedDomain", id);
  }
  return alarms;
}

/** The primary is lost, and no copy that may follow it can be reached. */
function isStuck(state: ManagerState, shard: ManagedShard): boolean {
  const { secondaries } = shard.config;
  if (!primaryLost(state, shard) || secondaries.some((one) => one.full && isHere(state, one))) {
    return false;
  }
  const isTailOnly = !secondaries.some((one) => one.full);
  const tails = secondaries.some((one) => one.late !== true && isHere(state, one));
  return !isTailOnly || !tails || graftBases(state, shard).length === 0;
}

/** Too few copies, the primary is well, and no node can take another one. */
function lacksRoom(state: ManagerState, shard: ManagedShard): boolean {
  const { config } = shard;
  const { primary, secondaries } = config;
  if (!isHere(state, primary)) return false;
  const staying = secondaries.filter((one) => !isDraining(state, one.node) && isHere(state, one));
  if (staying.length >= secondariesWanted) return false;
  const all = [...state.nodes.keys()];
  return chooseCopy(state, config, primary, all, []) === undefined;
}

/** Two of the shard's copies would be lost with one failure domain. */
export function sharesDomain(state: ManagerState, { config }: ManagedShard): boolean {
  const nodes = [config.primary, ...config.secondaries].map(({ node }) => domainOf(state, node));
  const known = nodes.filter((domain) => domain !== undefined);
  return new Set(known).size < known.length;
}

/** With one domain alone (one machine) there is nothing to be done about it. */
function domainsKnown(state: ManagerState): number {
  const domains = new Set<string>();
  for (const known of [...state.nodes.values(), ...state.gone.values()]) {
    domains.add(known.facts.failureDomain);
  }
  return domains.size;
}
