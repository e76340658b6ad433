// What only an operator can mend, on real processes: a shard whose last whole copy is gone, and a
// coordinator that has lost its data.

import { mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { shardList } from "../../src/cli/commands/cluster.ts";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";
import { ledgerMessage } from "../support/ledger.ts";
import { runCommand, ServedMember, until } from "../support/processes.ts";
import { SmtpClient } from "../support/smtp-client.ts";

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanUp.splice(0).toReversed()) await step();
});

async function deliver(smtp: number, name: string): Promise<void> {
  const client = await SmtpClient.connect(smtp);
  const message = ledgerMessage(name, "kept");
  const outcome = await client.deliver({ to: [`${name}@pabal.test`], message });
  expect(outcome.kind).toBe("accepted");
  await client.quit();
}

async function inbox(imap: number, user: string, password: string) {
  const client = await ImapClient.connect(imap, { user, password });
  const { untagged } = await client.ok("SELECT INBOX");
  const text = untagged.map((line) => line.text).join("\n");
  await client.logout();
  const number = (pattern: RegExp): number => Number(pattern.exec(text)?.[1]);
  return { uidValidity: number(/UIDVALIDITY (\d+)/), messages: number(/(\d+) EXISTS/) };
}

test("a copy is promoted by force: shown first, with new UIDVALIDITYs, and the lost folder is refused", async () => {
  const cluster = await DevCluster.start({
    nodes: 2,
    gateways: 1,
    users: 4,
    restartAfter: "never",
  });
  cleanUp.push(() => cluster.destroy());
  const { password } = cluster.ports;
  const { smtp, imap } = cluster.gateway();
  for (const name of ["u1", "u2"]) await deliver(smtp, name);
  const before = await inbox(imap, "u1", password);
  expect(before.messages).toBe(1);

  // Only n1's copies count from now on.
  await cluster.kill("n2");
  const total = await until("all shards on n1 alone", 20_000, async () => {
    const { shards } = await cluster.status();
    return shards.solo === shards.total ? shards.total : undefined;
  });
  const force = (...more: string[]) =>
    cluster.cli(["shard", "force-promote", "0", "--node", "n2", ...more]);
  const early = await force("--fenced");
  expect(early.status).toBe(1);
  expect(early.stderr).toMatch(/n1, the primary of shard 0, is registered: it may serve still/);

  // n1 is lost. What n2 has is shown; nothing is done before --fenced is said.
  await cluster.kill("n1");
  const back = cluster.serve("n2");
  cleanUp.push(() => back.stop());
  const shown = await until("n1's presence to run out, and n2 to answer", 30_000, async () => {
    const answer = await force();
    return answer.status === 64 ? answer : undefined;
  });
  expect(shown.stdout).toMatch(/shard 0: the copy at n2 ends with change \d+, the newest made /);
  expect(shown.stderr).toMatch(/nothing was done/);
  expect((await cluster.shards())[0]?.primary.node).toBe("n1");
  const done = await force("--fenced");
  expect(done.stderr).toBe("");
  expect(done.stdout).toMatch(/it is promoted/);
  for (let shard = 1; shard < total; shard += 1) {
    const path = `/admin/v1/shards/${shard}/force-promote`;
    const body = { node: "n2", fenced: true };
    expect((await cluster.admin("POST", path, body)).status).toBe(200);
  }
  expect((await force("--fenced")).status).toBe(1);

  // The old folder is refused, an empty one is a new node.
  const refused = await runCommand(["serve", "--config", cluster.configFile("n1")]);
  expect(refused.status).toBe(1);
  expect(refused.stderr).toMatch(
    /n1: this data folder may not be used any more: on \S+ shard \d+ was promoted by force without n1/,
  );
  renameSync(join(cluster.data, "n1"), join(cluster.data, "n1.old"));
  const fresh = cluster.serve("n1");
  cleanUp.push(() => fresh.stop());
  await until("all shards on two nodes", 60_000, async () => {
    const { shards } = await cluster.status();
    return shards.full === total ? true : undefined;
  });
  for (const name of ["u1", "u2"]) {
    const after = await until(`${name} to be served`, 30_000, () =>
      inbox(imap, name, password).catch(() => undefined),
    );
    expect(after.messages).toBe(1);
    expect(after.uidValidity).toBeGreaterThan(before.uidValidity + 1000);
    await deliver(smtp, name);
  }
  const table = await cluster.shards();
  expect(table.filter((config) => "forced" in config)).toEqual([]);
}, 180_000);

test("a coordinator without its data gets the table back from the nodes", async () => {
  const data = mkdtempSync(join(tmpdir(), "pabal-it-data-"));
  cleanUp.push(() => rmSync(data, { recursive: true, force: true }));
  const cluster = await DevCluster.start({
    nodes: 2,
    gateways: 1,
    users: 2,
    restartAfter: "200ms",
    data,
  });
  cleanUp.push(() => cluster.destroy());
  const { password, admin } = cluster.ports;
  const { smtp, imap, http } = cluster.gateway();
  await deliver(smtp, "u1");
  // So that the table is not what an init would write.
  await cluster.restart("n2");
  await cluster.settled();
  const before = await inbox(imap, "u1", password);
  const epochs = (await cluster.shards()).map(({ epoch }) => epoch);
  expect(Math.max(...epochs)).toBeGreaterThan(1);
  await cluster.stop();
  rmSync(join(data, "c1"), { recursive: true });

  const log = join(data, "later.log");
  const run = (id: string): ServedMember => {
    const member = new ServedMember(cluster.configFile(id), log);
    cleanUp.push(() => member.stop());
    return member;
  };
  run("c1");
  run("n1");
  const recover = (...more: string[]) =>
    runCommand(["cluster", "recover", "--config", cluster.configFile("g1"), ...more]);
  // Whoever is not asked may know more.
  const early = await until("n1 to be asked", 60_000, async () => {
    const answer = await recover();
    return /n2 must be asked/.test(answer.stderr) ? answer : undefined;
  });
  expect(early.status).toBe(1);
  run("n2");
  const recovered = await until("the table", 60_000, async () => {
    const answer = await recover("--json");
    return answer.status === 0 ? answer : undefined;
  });
  expect(JSON.parse(recovered.stdout)).toMatchObject({
    nodes: ["n1", "n2"],
    changed: epochs.length,
    kept: 0,
  });
  expect(JSON.parse((await recover("--json")).stdout)).toMatchObject({ changed: 0 });
  run("g1");
  const after = await until("u1 to be served", 60_000, () =>
    inbox(imap, "u1", password).catch(() => undefined),
  );
  expect(after).toEqual(before);
  await deliver(smtp, "u1");
  const answer = await fetch(`http://127.0.0.1:${http}/admin/v1/shards`, {
    headers: { authorization: `Bearer ${admin.token}` },
  });
  const table = shardList.parse(await answer.json()).shards;
  expect(table).toHaveLength(epochs.length);
  expect(table.every(({ epoch }) => epoch > 1000)).toBe(true);
}, 180_000);
