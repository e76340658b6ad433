// The shard table made anew from the nodes' disks: the newest word counts, and only when all who could
// know a newer one were asked.

import { expect, test } from "vitest";
import { planRecovery } from "../../../src/cluster/node/recover-table.ts";
import type { CopyFacts } from "../../../src/cluster/node/shard-inspect.ts";
import type { Copy, ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import { epoch, lsn, memberId, shardId, storeId } from "../../../src/mail/ids.ts";

const copy = (node: string, store = node): Copy => ({
  node: memberId(node),
  store: storeId(`${store}-store`),
});

function config(shard: number, at: number, nodes: readonly string[], more = {}): ShardConfig {
  const [primary = "", ...secondaries] = nodes;
  return {
    shard: shardId(shard),
    epoch: epoch(at),
    primary: copy(primary),
    secondaries: secondaries.map((node) => ({ ...copy(node), full: true })),
    minCopies: 2,
    nonce: "old",
    ...more,
  };
}

function facts(node: string, held: ShardConfig | undefined, shard = 0, store = node): CopyFacts {
  return {
    shard: shardId(shard),
    copy: copy(node, store),
    config: held,
    lastLsn: lsn(5),
    tailLsn: undefined,
    usable: true,
    newestMs: undefined,
  };
}

const base = { clusterId: "c", table: new Map(), cluster: undefined, without: [], nonce: "new" };

test("the newest configuration on any disk is written, 1000 epochs on", () => {
  const old = config(0, 5, ["n1", "n2"]);
  const next = config(0, 6, ["n2", "n3"], { endedEpoch: epoch(5) });
  const copies = [facts("n1", old), facts("n2", next), facts("n3", undefined)];
  const { changed, cluster, kept } = planRecovery({ ...base, copies });
  const { endedEpoch: _, ...same } = next;
  expect(changed).toEqual([{ ...same, epoch: 1006, nonce: "new" }]);
  expect(cluster).toEqual({ clusterId: "c", shards: 1, minCopies: 2 });
  expect(kept).toBe(0);
});

test("nothing is written while a node that may know more is not asked", () => {
  const copies = [facts("n1", config(0, 5, ["n1", "n2"], { former: [copy("n3")] }))];
  expect(() => planRecovery({ ...base, copies })).toThrow(/n2, n3 must be asked/);
  const without = [memberId("n2"), memberId("n3")];
  expect(planRecovery({ ...base, copies, without }).changed).toHaveLength(1);
  // The same node with another data folder knows nothing.
  const emptied = [...copies, facts("n2", undefined, 0, "other"), facts("n3", undefined)];
  expect(() => planRecovery({ ...base, copies: emptied })).toThrow(/^n2 must be asked|n2 must/);
});

test("a table that is as new as the disks stays, an older one is raised above them", () => {
  const held = config(0, 7, ["n1", "n2"]);
  const copies = [facts("n1", held), facts("n2", held)];
  const same = new Map([[shardId(0), config(0, 7, ["n1", "n2"])]]);
  expect(planRecovery({ ...base, copies, table: same }).changed).toEqual([]);
  const older = new Map([[shardId(0), config(0, 2, ["n2", "n1"])]]);
  expect(planRecovery({ ...base, copies, table: older }).changed).toMatchObject([
    { epoch: 1007, primary: copy("n1") },
  ]);
});

test("a shard of which nobody knows is told", () => {
  const copies = [facts("n1", config(2, 1, ["n1"]), 2), facts("n1", config(0, 1, ["n1"]), 0)];
  expect(() => planRecovery({ ...base, copies })).toThrow(/of 3 shards nobody knows of 1/);
  const cluster = { clusterId: "c", shards: 4, minCopies: 1 };
  expect(() => planRecovery({ ...base, copies, cluster })).toThrow(/of 4 shards .* 1, 3/);
  expect(() => planRecovery({ ...base, copies: [] })).toThrow(/no node has any shard/);
});
