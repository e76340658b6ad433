// What an author is promised of names that another change, or an earlier try of the same, has brought.

import { afterEach, beforeEach, expect, test } from "vitest";
import { claimShard } from "../../../src/cluster/directory/claims.ts";
import { method } from "../../../src/cluster/directory/wire.ts";
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

test.each([
  [["team@example.test"], []],
  [[], ["team@example.test"]],
])(
  "a late try of a change to %j, after another's to %j, leaves claims and account alike",
  async (mine, theirs) => {
    const g1 = await cluster.gateway("g1");
    await until(() => g1.directory.stale().length === 0);
    const name = nameAt(n1, "alice");
    await g1.admin.create({ name, hash: knownHash, aliases: theirs }, soon());
    const order = { opId: cluster.nextOpId(), name, patch: { aliases: mine } };
    const change = () =>
      cluster.net.links(g1.id).peer(n1).call(method.change, order, { signal: soon() });
    await change();
    await g1.admin.update(name, { aliases: theirs }, soon());
    // The author has had no answer.
    await change();
    const held = cluster.shards.claims().filter(({ state }) => state !== "released");
    const row = cluster.shards.registrations().find((one) => one.name === name);
    expect(row?.aliases).toEqual(theirs);
    expect(held.map((one) => one.name).toSorted()).toEqual([name, ...theirs].toSorted());
    const expected = theirs.length === 0 ? "none" : "found";
    expect(g1.directory.lookupNow("team@example.test").kind).toBe(expected);
  },
);

test.each([
  ["removal", method.remove, {}],
  ["change", method.change, { patch: { aliases: ["team@example.test"] } }],
])(
  "a late try of a %s does not reach a later account of the same name",
  async (_what, which, more) => {
    const g1 = await cluster.gateway("g1");
    await until(() => g1.directory.stale().length === 0);
    const name = nameAt(n1, "alice");
    const create = () => g1.admin.create({ name, hash: knownHash }, soon());
    const { account } = await create();
    const order = { opId: cluster.nextOpId(), name, account, ...more };
    const repeat = () => cluster.net.links(g1.id).peer(n1).call(which, order, { signal: soon() });
    await repeat();
    if (which !== method.remove) await g1.admin.remove(name, soon());
    const row = await create();
    // The author has had no answer.
    await expect(repeat()).rejects.toMatchObject({ code: "NO_SUCH_ACCOUNT" });
    expect(g1.directory.lookupNow(name)).toEqual({ kind: "found", row });
  },
);

/** A name whose claim shard is this node's. */
function nameAt(node: string, prefix: string): string {
  for (let number = 0; ; number++) {
    const name = `${prefix}${number}@example.test`;
    if (cluster.shards.primary(claimShard(name, 4)) === node) return name;
  }
}
