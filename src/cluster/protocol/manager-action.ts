// Things under way for a shard: how each begins and is asked for. Which one to begin is decided in
// manager-shard.ts, what its answers lead to in manager-answer.ts.

import { unreachable } from "../../lib/assert.ts";
import type { Action, ManagedShard, ManagerState } from "./manager-state.ts";
import type { ManagerEffect, ShardPlan } from "./manager-types.ts";

export function start(
  state: ManagerState,
  shard: ManagedShard,
  action: Action,
  out: ManagerEffect[],
): void {
  shard.action = action;
  action.sinceMs = state.nowMs;
  const { shard: id, epoch, primary } = shard.config;
  switch (action.kind) {
    case "seal": {
      const { evenIfHeard } = action;
      for (const to of action.copies) {
        out.push({ kind: "seal", shard: id, epoch, to: bare(to), evenIfHeard });
      }
      return;
    }
    case "ask":
      out.push({ kind: "ask", shard: id, epoch, to: primary });
      return;
    case "handOver":
      out.push({ kind: "handOver", shard: id, epoch, from: primary });
      return;
    case "graft": {
      const { lastLsn: throughLsn, lastHash: throughHash } = action.at;
      const from = bare(action.source);
      const to = bare(action.base);
      out.push({ kind: "graft", shard: id, epoch, to, from, throughLsn, throughHash });
      return;
    }
    case "write":
      out.push({ kind: "write", plan: action.plan, ifEpoch: epoch });
      return;
    default:
      return unreachable(action);
  }
}

export function write(
  state: ManagerState,
  shard: ManagedShard,
  plan: ShardPlan,
  out: ManagerEffect[],
): void {
  start(state, shard, { kind: "write", plan, sinceMs: state.nowMs }, out);
}

/** Leaves the shard alone for a while: nobody answered, or there is no room. */
export function rest(state: ManagerState, shard: ManagedShard, restMs: number): void {
  shard.action = undefined;
  shard.restUntilMs = state.nowMs + restMs;
}

function bare<C extends { readonly node: unknown; readonly store: unknown }>({
  node,
  store,
}: C): { readonly node: C["node"]; readonly store: C["store"] } {
  return { node, store };
}
