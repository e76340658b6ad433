// Copies made anew between real processes: a node that comes back without its data, and one whose data
// rotted; what users stored is on both nodes again, and nothing wrong was served meanwhile.

import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { z } from "zod";
import { checkByImap, checkReplicas } from "../support/check-ledger.ts";
import { DevCluster } from "../support/dev-cluster.ts";
import { hashOf, Ledger, ledgerMessage } from "../support/ledger.ts";
import { until } from "../support/processes.ts";
import { SmtpClient } from "../support/smtp-client.ts";

const cleanUp: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const step of cleanUp.splice(0).toReversed()) await step();
});

async function start(
  restartAfter: string,
  set: readonly string[] = [],
): Promise<{ cluster: DevCluster; ledger: Ledger }> {
  const cluster = await DevCluster.start({ nodes: 2, users: 4, restartAfter, set });
  cleanUp.push(() => cluster.destroy());
  const ledger = new Ledger(join(cluster.folder, "ledger"));
  cleanUp.push(async () => ledger.close());
  return { cluster, ledger };
}

async function sendSome(
  cluster: DevCluster,
  ledger: Ledger,
  name: string,
  count: number,
  bytes = 2000,
): Promise<void> {
  const client = await SmtpClient.connect(cluster.gateway().smtp);
  for (let n = 0; n < count; n++) {
    const id = `${name}-${n}`;
    const user = `u${1 + (n % 4)}@pabal.test`;
    const message = ledgerMessage(id, `${"y".repeat(70)}\r\n`.repeat(Math.ceil(bytes / 72)));
    const outcome = await client.deliver({ to: [user], message });
    expect([id, outcome.kind]).toEqual([id, "accepted"]);
    ledger.accept({ id, user, hash: hashOf(message) });
  }
  await client.quit();
}

async function checkAll(cluster: DevCluster, ledger: Ledger): Promise<void> {
  expect(await checkByImap(cluster, ledger)).toEqual([]);
  const folders = cluster.ports.nodes;
  const shards = await cluster.shards();
  expect((await cluster.stop()).status).toBe(0);
  expect(await checkReplicas(folders, ledger, shards)).toEqual([]);
}

test("a node that lost its data is filled again while mail goes on", async () => {
  const { cluster, ledger } = await start("500ms");
  await sendSome(cluster, ledger, "before", 120);
  await sendSome(cluster, ledger, "large", 4, 400_000);
  await cluster.settled();
  const { data } = cluster.node("n2");
  await cluster.kill("n2");
  rmSync(data, { recursive: true, force: true });
  await cluster.ready(["n2"], 60_000);
  await sendSome(cluster, ledger, "meanwhile", 40);
  const tookMs = await cluster.settled(90_000);
  process.stdout.write(`full-copy: whole again ${Math.round(tookMs)} ms later\n`);
  await sendSome(cluster, ledger, "after", 20);
  await checkAll(cluster, ledger);
}, 180_000);

test("a damaged copy is made anew, flipped bits of old mail are repaired, none is served", {
  timeout: 180_000,
}, async () => {
  const { cluster, ledger } = await start("never", ["disk.scrubEvery=2s"]);
  await sendSome(cluster, ledger, "old", 60);
  await sendSome(cluster, ledger, "large", 2, 400_000);
  await cluster.settled();
  const { data } = cluster.node("n2");
  const sentMs = Date.now();
  await until("a checkpoint behind the old mail", 20_000, async () => {
    // Only an entry moves it.
    await sendSome(cluster, ledger, `more-${ledger.accepted.size}`, 1);
    const { mtimeMs } = statSync(join(data, "log/CHECKPOINT"));
    return mtimeMs > sentMs + 500 ? true : undefined;
  });
  await sendSome(cluster, ledger, "fresh", 60);
  await cluster.kill("n2");
  const log = readdirSync(join(data, "log")).filter((name) => name.endsWith(".seg"));
  const flipped = log.map((name) =>
    flip(join(data, "log", name), /X-Ledger: (old-\d|fresh-5[26])\r/g),
  );
  expect(flipped.reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(12);
  for (const name of readdirSync(join(data, "blobs"))) {
    if (!name.includes(".")) flip(join(data, "blobs", name), /X-Ledger: large/g);
  }
  const back = cluster.serve("n2");
  cleanUp.push(() => back.stop().catch(() => undefined));
  await cluster.settled(90_000);
  // Only the shard whose newest entries are damaged; the scrubber finds the others' older bodies.
  expect(cluster.log().split("full copy is whole").length).toBe(2);
  const left = await damagedElsewhere(cluster);
  await until("the scrubber to repair what is left", 30_000, () =>
    repairs(cluster.log()) >= left ? true : undefined,
  );
  // All of it is read from there.
  await cluster.kill("n1");
  expect(await checkByImap(cluster, ledger)).toEqual([]);
  const other = cluster.serve("n1");
  cleanUp.push(() => other.stop().catch(() => undefined));
  await cluster.settled(90_000);
  const shards = await cluster.shards();
  const folders = cluster.ports.nodes;
  expect((await cluster.stop()).status).toBe(0);
  await back.stop();
  await other.stop();
  process.stdout.write(`full-copy: ${repairs(cluster.log())} repaired from the peer\n`);
  expect(await checkReplicas(folders, ledger, shards)).toEqual([]);
});

test("a stopped node is checked, and repaired from the running one", async () => {
  const { cluster, ledger } = await start("never");
  await sendSome(cluster, ledger, "old", 24);
  await sendSome(cluster, ledger, "large", 1, 400_000);
  // The same user's next message tells n2 that the one before is committed: else it lies in n2's log
  // without being in its index, where no check looks for it.
  await sendSome(cluster, ledger, "last", 1);
  await cluster.settled();
  const { data } = cluster.node("n2");
  await cluster.kill("n2", "SIGTERM");
  const segments = readdirSync(join(data, "log")).filter((name) => name.endsWith(".seg"));
  for (const name of segments) flip(join(data, "log", name), /X-Ledger: old-\d\r/g);
  for (const name of readdirSync(join(data, "blobs"))) {
    if (!name.includes(".")) flip(join(data, "blobs", name), /X-Ledger: large/g);
  }
  const check = (...options: readonly string[]) =>
    cluster.cli(["check", "--config", cluster.configFile("n2"), ...options]);
  const before = await check("--bodies");
  expect(before.status, before.stderr).toBe(1);
  const repaired = await check("--repair");
  expect(repaired.stdout + repaired.stderr).toContain("11 repaired, 0 lost on every node");
  expect(repaired.status).toBe(0);
  expect((await check("--bodies")).status).toBe(0);
  const back = cluster.serve("n2");
  cleanUp.push(() => back.stop().catch(() => undefined));
  await cluster.settled(90_000);
  const shards = await cluster.shards();
  const folders = cluster.ports.nodes;
  expect((await cluster.stop()).status).toBe(0);
  await back.stop();
  expect(await checkReplicas(folders, ledger, shards)).toEqual([]);
}, 180_000);

/** Of the ten old messages and the two large ones that were damaged: those not in u1's shard. */
async function damagedElsewhere(cluster: DevCluster): Promise<number> {
  const { text } = await cluster.admin("GET", "/admin/v1/users");
  const { users } = z
    .object({ users: z.array(z.object({ name: z.string(), shard: z.number() })) })
    .parse(JSON.parse(text));
  const shardOf = new Map(users.map(({ name, shard }) => [name, shard]));
  const shards = [...Array(10).keys(), 0, 1].map((n) => shardOf.get(`u${1 + (n % 4)}@pabal.test`));
  return shards.filter((shard) => shard !== shardOf.get("u1@pabal.test")).length;
}

/** Flips a bit in the text behind each match. @returns how many. */
function flip(file: string, where: RegExp): number {
  const bytes = readFileSync(file);
  let count = 0;
  for (const { index } of bytes.toString("latin1").matchAll(where)) {
    const at = index + 600;
    bytes[at] = (bytes[at] ?? 0) ^ 4;
    count++;
  }
  writeFileSync(file, bytes);
  return count;
}

function repairs(log: string): number {
  return log.split("repaired from another member").length - 1;
}
