// What the directory needs of the shard table: who serves a shard, and which nodes to follow.

import type { MemberId, ShardId } from "../../mail/ids.ts";
import type { Primaries } from "./calls.ts";

/** The part of ShardTable that is used. */
export interface TableView {
  get(shard: ShardId): { readonly primary: { readonly node: MemberId } } | undefined;
  all(): readonly {
    readonly primary: { readonly node: MemberId };
    readonly secondaries: readonly { readonly node: MemberId }[];
  }[];
}

export function primariesOf(table: TableView): Primaries {
  return { primary: (shard) => table.get(shard)?.primary.node };
}

/** All nodes that hold a copy of some shard, sorted: for GatewayDirectory.follow at each change of the table. */
export function nodesOf(table: TableView): readonly MemberId[] {
  const nodes = new Set<MemberId>();
  for (const { primary, secondaries } of table.all()) {
    nodes.add(primary.node);
    for (const { node } of secondaries) nodes.add(node);
  }
  return [...nodes].toSorted();
}
