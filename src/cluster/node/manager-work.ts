// Whether there is anything for a manager to do, as far as this gateway knows: then it wants the
// ring's token. Cheap, as it is asked all the time; too often yes does no harm.

import { secondariesWanted } from "../protocol/manager-shard.ts";
import { isHere, isLeaving, isLost, isWiped } from "../protocol/manager-state.ts";
import type { ManagedShard, ManagerState } from "../protocol/manager-state.ts";

export function hasWork(state: ManagerState): boolean {
  const lost = new Set<string>();
  for (const node of state.nodes.keys()) if (isLost(state, node)) lost.add(node);
  for (const shard of state.shards.values()) {
    if (concerns(state, shard, lost)) return true;
  }
  return false;
}

function concerns(state: ManagerState, shard: ManagedShard, lost: ReadonlySet<string>): boolean {
  const { config, action, order, heard } = shard;
  const { primary, secondaries } = config;
  if (action !== undefined || order !== undefined) return true;
  for (const { atMs } of heard.values()) {
    if (state.nowMs - atMs < state.times.reportMs) return true;
  }
  // A lost primary is work if somebody is left who could follow it.
  const mayFollow = secondaries.some((one) => isHere(state, one));
  const isAway = lost.has(primary.node) || isWiped(state, primary) || isGone(state, primary.node);
  if (mayFollow && isAway) return true;
  if (isAway) return false;
  const isLeft = [primary, ...secondaries].some(({ node }) => isLeaving(state, node));
  const others = state.nodes.size - 1 - secondaries.length;
  return isLeft || (secondaries.length < secondariesWanted && others > 0);
}

function isGone(state: ManagerState, node: ManagedShard["config"]["primary"]["node"]): boolean {
  return !state.nodes.has(node) && isLost(state, node);
}
