// I6 with the real store: copies of a shard are alike, at commit marks while a run goes on, and byte for
// byte at its end.

import type { MemberId } from "../../../src/mail/ids.ts";
import { positionOf } from "../../../src/cluster/protocol/replica-report.ts";
import { readShard } from "../../support/replicas.ts";
import { InvariantViolation } from "../world/violation.ts";
import type { StoreCluster } from "./world.ts";

/**
 * What two copies call committed at one place is equal.
 *
 * @param committed hash of each entry that was found committed somewhere, by its place
 */
export function comparePrefixes({ nodes }: StoreCluster, committed: Map<string, number>): void {
  for (const { process, name } of nodes) {
    for (const { shard, state } of process?.store?.journal.replicas() ?? []) {
      if (state.damaged || state.copying || state.config === undefined) continue;
      const { commitMark, markHash } = positionOf(state);
      const place = `${shard} ${commitMark}`;
      const known = committed.get(place);
      if (known !== undefined && known !== markHash) {
        const what = `${name} has other content at lsn ${commitMark} of shard ${shard}`;
        throw new InvariantViolation("I6", what);
      }
      committed.set(place, markHash);
    }
  }
}

/** All full members of every shard hold the same; false: something is not at rest yet. */
export async function compareCopies(world: StoreCluster): Promise<boolean> {
  for (const config of world.coordinator.table.values()) {
    const { shard, primary, secondaries } = config;
    let first: { readonly node: MemberId; readonly lines: readonly string[] } | undefined;
    for (const { node } of [primary, ...secondaries.filter(({ full }) => full)]) {
      const store = world.nodeOf(node)?.process?.store;
      const state = store?.journal.replicas().find((one) => one.shard === shard)?.state;
      if (store === undefined || state === undefined) return false;
      const { commitMark, lastLsn } = positionOf(state);
      if (commitMark !== lastLsn) return false;
      const lines = await readShard(store.opened, shard, () => undefined);
      first ??= { node, lines };
      const count = Math.max(lines.length, first.lines.length);
      let at = 0;
      while (at < count && lines[at] === first.lines[at]) at += 1;
      if (at === count) continue;
      const what = `${first.lines[at] ?? "nothing"} and ${lines[at] ?? "nothing"}`;
      throw new InvariantViolation("I6", `${first.node} and ${node} have ${what}`);
    }
  }
  return true;
}
