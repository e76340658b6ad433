// A cluster in the middle of an upgrade: members of the version before and of this one serve together,
// through a failover; and the operator sees who is behind.

import { afterAll, beforeAll, expect, test } from "vitest";
import { ownWire } from "../../src/cluster/link/hello.ts";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";
import { ledgerMessage } from "../support/ledger.ts";
import { until } from "../support/processes.ts";
import { SmtpClient } from "../support/smtp-client.ts";

const before = ownWire.version - 1;

let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.start({
    nodes: 3,
    gateways: 2,
    users: 6,
    restartAfter: "never",
    env: { PABAL_WIRE_VERSION: `n1=${before};g1=${before}` },
  });
}, 60_000);
afterAll(() => cluster.destroy());

async function deliverToAll(gateway: string, round: string): Promise<void> {
  const client = await SmtpClient.connect(cluster.gateway(gateway).smtp);
  for (const user of cluster.ports.users) {
    const message = ledgerMessage(`${round} ${user}`, round);
    const outcome = await client.deliver({ to: [user], message });
    expect(outcome.kind).toBe("accepted");
  }
  await client.quit();
}

async function counts(gateway: string): Promise<readonly number[]> {
  const { users, password } = cluster.ports;
  const all: number[] = [];
  for (const user of users) {
    const client = await ImapClient.connect(cluster.gateway(gateway).imap, { user, password });
    const { untagged } = await client.ok("SELECT INBOX");
    await client.logout();
    const text = untagged.map((line) => line.text).join("\n");
    all.push(Number(/(\d+) EXISTS/.exec(text)?.[1]));
  }
  return all;
}

test("members of two versions deliver, fail over and copy together", async () => {
  await cluster.settled();
  await deliverToAll("g1", "first");
  await deliverToAll("g2", "second");
  // A node of this version dies: one of the version before takes over its part, and the other way round.
  await cluster.kill("n2");
  await deliverToAll("g1", "third");
  await until("all shards on the two that are left", 60_000, async () => {
    const { shards } = await cluster.status("g2");
    return shards.full === shards.total ? true : undefined;
  });
  await deliverToAll("g2", "fourth");
  const { users } = cluster.ports;
  for (const gateway of ["g1", "g2"]) expect(await counts(gateway)).toEqual(users.map(() => 4));
}, 120_000);

test("the status says who is not upgraded yet", async () => {
  const { members } = await cluster.status("g2");
  expect(members.find(({ id }) => id === "n1")?.wire).toBe(before);
  expect(members.find(({ id }) => id === "n3")?.wire).toBe(ownWire.version);
  const { stdout } = await cluster.cli(["cluster", "status"]);
  const line = `wire version ${ownWire.version}; not upgraded yet: g1 (${before}), n1 (${before})`;
  expect(stdout).toContain(line);
});
