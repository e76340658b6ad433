// What an author is promised of names that another change, or an earlier try of the same, has brought.

import { afterEach, beforeEach, expect, test } from "vitest";
import { claimShard } from "../../../src/cluster/directory/claims.ts";
import { memberId } from "../../../src/mail/ids.ts";
import {
  DirectoryCluster,
  knownHash,
  soon,
  until,
} from "../../support/directory/directory-cluster.ts";

const [n1, n2] = [memberId("n1"), memberId("n2")];
let cluster: DirectoryCluster;

beforeEach(() => {
  cluster = new DirectoryCluster();
});
afterEach(() => cluster.close());

test("a change waits until gateways know the claims of names that were added before", async () => {
  const [g1, g2] = [await cluster.gateway("g1"), await cluster.gateway("g2")];
  await until(() => [g1, g2].every(({ directory }) => directory.stale().length === 0));
  const [name, alias] = [nameAt(n1, "alice"), nameAt(n2, "team")];
  const create = () => g1.admin.create({ name, hash: knownHash }, soon());
  for (let row = await create(); cluster.shards.primary(row.shard) !== n1; row = await create()) {
    await g1.admin.remove(name, soon());
  }
  cluster.net.part(n2, g2.id);
  const first = g1.admin.update(name, { aliases: [alias] }, soon());
  await until(() => {
    const claims = cluster.shards.claims();
    return claims.some((one) => one.name === alias) && claims.every(({ task }) => !task);
  });
  await g1.admin.update(name, { aliases: [alias] }, soon());
  expect(g2.directory.lookupNow(alias)).toEqual({ kind: "unsure" });
  await first;
});

/** A name whose claim shard is this node's. */
function nameAt(node: string, prefix: string): string {
  for (let number = 0; ; number++) {
    const name = `${prefix}${number}@example.test`;
    if (cluster.shards.primary(claimShard(name, 4)) === node) return name;
  }
}
