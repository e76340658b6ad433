// Primaries leave a node that is drained or unwell: by HANDOVER, which costs users a moment; and where
// that does not end in time, as a disk or a loop is stuck, by SEAL, as if the node had failed. Which
// copies there are afterwards is manager-answer.ts's.

import type { MemberId } from "../../mail/ids.ts";
import { start } from "./manager-action.ts";
import {
  handOversNow,
  illness,
  isDegraded,
  isHere,
  isLeaving,
  isStopping,
  movesKept,
} from "./manager-state.ts";
import type { ManagedShard, ManagerState } from "./manager-state.ts";
import type { ManagerEffect, SealAnswer } from "./manager-types.ts";
import type { Copy, SecondaryCopy } from "./shard-config.ts";

/** True when something was begun to take the primary off a node that is to have none. */
export function leavePrimary(
  state: ManagerState,
  shard: ManagedShard,
  out: ManagerEffect[],
): boolean {
  const next = follower(state, shard);
  if (next === undefined) return false;
  if (leaveOverdue(state, shard, out)) return true;
  const begun = handOverTo(state, shard, next, out);
  if (begun) shard.leavingSinceMs ??= state.nowMs;
  return begun;
}

/**
 * SEALs the secondary of a primary that was told to hand over and has not. Nothing of it is needed
 * for that, neither its disk nor its main thread; users wait for GRACE.
 */
export function leaveOverdue(
  state: ManagerState,
  shard: ManagedShard,
  out: ManagerEffect[],
): boolean {
  const next = follower(state, shard);
  if (next === undefined || !isOverdue(state, shard)) return false;
  const answers = new Map<MemberId, SealAnswer>();
  const seal = { kind: "seal", sinceMs: state.nowMs, answers, evenIfHeard: true } as const;
  start(state, shard, { ...seal, copies: [next], leaving: true }, out);
  return true;
}

/** The primary is to leave its node, and had its time to hand over. */
export function isOverdue(state: ManagerState, shard: ManagedShard): boolean {
  const { leavingSinceMs, config } = shard;
  if (leavingSinceMs === undefined || !isLeaving(state, config.primary.node)) return false;
  return state.nowMs - leavingSinceMs >= state.times.handOverMs;
}

/** The full secondary that should follow, if any can be reached. */
export function successor(
  state: ManagerState,
  shard: ManagedShard,
  fits: ((one: SecondaryCopy) => boolean) | undefined,
): SecondaryCopy | undefined {
  return shard.config.secondaries.find(
    (one) => one.full && isHere(state, one) && fits?.(one) !== false,
  );
}

/** Asks the primary to end its epoch; false when that can't be now. */
export function handOverTo(
  state: ManagerState,
  shard: ManagedShard,
  to: Copy,
  out: ManagerEffect[],
): boolean {
  const { primary } = shard.config;
  if (!isHere(state, to) || !isHere(state, primary)) return false;
  // Those of an unwell node share its fsyncs: all at once are done as soon as one.
  const isFree = isDegraded(state, primary.node);
  if (!isFree && handOversNow(state) >= state.times.handOversMax) return false;
  start(state, shard, { kind: "handOver", to, sinceMs: state.nowMs }, out);
  return true;
}

/**
 * Who follows a primary that is to leave its node: one that is well, or was unwell a moment ago. Whoever
 * is there is better than a node that will be gone. Where all are slow in turns, primaries don't follow that.
 */
function follower(state: ManagerState, shard: ManagedShard): SecondaryCopy | undefined {
  const { node } = shard.config.primary;
  const lately = shard.movesMs.filter((at) => state.nowMs - at < state.times.movesWithinMs);
  const most = lately.length < movesKept ? 2 : 1;
  const ofMost = isStopping(state, node) ? 3 : Math.min(illness(state, node), most);
  return successor(state, shard, (one) => illness(state, one.node) < ofMost);
}
