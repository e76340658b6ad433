// The directory over real links, logs and disks: two mail nodes, gateways' directories in folders.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AccountAdminClient } from "../../src/cluster/directory/account-admin-client.ts";
import { DirectoryAuthenticator } from "../../src/cluster/directory/authenticator.ts";
import { nodesOf, primariesOf } from "../../src/cluster/directory/cluster-view.ts";
import { directoryFolder } from "../../src/cluster/directory/directory-files.ts";
import { DirectoryService } from "../../src/cluster/directory/directory-service.ts";
import { EngineDirectoryStore } from "../../src/cluster/directory/engine-directory-store.ts";
import { GatewayDirectory } from "../../src/cluster/directory/gateway-directory.ts";
import { freshLoads, Placement } from "../../src/cluster/directory/placement.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { opIdMaker } from "../../src/lib/id-maker.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { isMailError } from "../../src/mail/errors.ts";
import { opId } from "../../src/mail/ids.ts";
import { knownHash, weakHash } from "../support/directory/directory-cluster.ts";
import { MailCluster, until } from "../support/mail-cluster.ts";

const log = pino({ level: "silent" });
const makeOpId = opIdMaker(systemRandom);
const nextOpId = () => opId(makeOpId());
const domains = ["example.test"];
const freshnessMs = 1000;
const shardCount = 8;
const services = new Map<string, DirectoryService>();
const folders: string[] = [];
const opened = new Set<GatewayDirectory>();
let cluster: MailCluster;
let directory: GatewayDirectory;
let admin: AccountAdminClient;

beforeAll(async () => {
  cluster = await MailCluster.start({ nodes: ["n1", "n2"], shardsPerNode: 4 });
  for (const name of ["n1", "n2"]) serve(name);
  directory = await openDirectory();
  const { links, shards } = cluster.gateway.cluster;
  const primaries = primariesOf(shards);
  const loadOf = freshLoads(() => links.loads(), systemClock);
  admin = new AccountAdminClient({
    directory,
    links,
    primaries,
    placement: new Placement({ shardCount, primaries, loadOf, random: systemRandom }),
    shardCount,
    domains,
    clock: systemClock,
    nextOpId,
    hash: weakHash,
  });
  await complete(directory);
});

afterAll(async () => {
  for (const each of opened) await each.close();
  for (const service of services.values()) service.close();
  await cluster.close();
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

function serve(name: string): void {
  const node = cluster.node(name);
  const service = new DirectoryService({
    store: new EngineDirectoryStore(node.opened.engine, node.journal),
    registry: node.cluster.registry,
    links: node.cluster.links,
    primaries: primariesOf(node.cluster.shards),
    shardCount,
    clock: systemClock,
    nextOpId,
    log,
    freshnessMs,
  });
  services.set(name, service);
  service.start();
}

async function openDirectory(): Promise<GatewayDirectory> {
  const folder = await mkdtemp(join(tmpdir(), "pabal-directory-"));
  folders.push(folder);
  const { links, shards } = cluster.gateway.cluster;
  const made = await GatewayDirectory.open({
    files: directoryFolder(folder),
    clusterId: "test",
    shardCount,
    links,
    clock: systemClock,
    log,
    freshnessMs,
    cacheMax: 1000,
  });
  opened.add(made);
  made.follow(nodesOf(shards));
  return made;
}

async function complete(each: GatewayDirectory): Promise<void> {
  await until(() => each.stale().length === 0, "a complete and fresh directory");
}

const soon = (): AbortSignal => AbortSignal.timeout(20_000);

test("accounts are made, changed and deleted, and the gateway knows at once", async () => {
  const made = await admin.create(
    { name: "alice@example.test", password: "secret", aliases: ["@example.test"] },
    soon(),
  );
  expect(directory.lookupNow("alice@example.test")).toEqual({ kind: "found", row: made });
  expect(directory.lookupNow("anyone@example.test")).toEqual({ kind: "found", row: made });
  const auth = new DirectoryAuthenticator({
    directory,
    domains,
    clock: systemClock,
    log,
    hash: weakHash,
    secret: Buffer.alloc(32),
    queueMax: 10,
    cache: { most: 10, ageMs: 60_000 },
    guessesPerMinute: 20,
    currentRow: (row, signal) => admin.currentRow(row, signal),
  });
  expect(await auth.verify("alice", "secret", "127.0.0.1", soon())).toEqual({
    kind: "ok",
    row: made,
  });

  const changed = await admin.update(
    "alice@example.test",
    { password: "new", aliases: [] },
    soon(),
  );
  expect(changed.credVersion).toBe(made.credVersion + 1);
  expect(directory.lookupNow("anyone@example.test")).toEqual({ kind: "none" });
  expect((await auth.verify("alice", "secret", "127.0.0.1", soon())).kind).toBe("refused");
  expect((await auth.verify("alice", "new", "127.0.0.1", soon())).kind).toBe("ok");

  const { store } = cluster.gateway;
  const stale = { account: made.account, shard: made.shard, credVersion: made.credVersion };
  await expect(store.quota(stale, soon())).rejects.toSatisfy((error) =>
    isMailError(error, "STALE_CREDENTIALS"),
  );
  const before = await store.openMailbox(
    { ...stale, credVersion: changed.credVersion },
    { name: "INBOX", claimRecent: false },
    soon(),
  );
  expect((await admin.show("alice@example.test", soon())).quota.usedMessages).toBe(0);

  await admin.remove("alice@example.test", soon());
  expect(directory.lookupNow("alice@example.test")).toEqual({ kind: "none" });
  const again = await admin.create({ name: "alice@example.test", hash: knownHash }, soon());
  expect(again.account).not.toBe(made.account);
  const after = await store.openMailbox(again, { name: "INBOX", claimRecent: false }, soon());
  expect(after.info.uidValidity).toBeGreaterThan(before.info.uidValidity);
});

test("a batch is imported, and a new gateway gets all of it", async () => {
  const accounts = Array.from({ length: 500 }, (_, index) => ({
    name: `u${index}@example.test`,
    hash: knownHash,
  }));
  const results = await admin.importBatch(accounts, soon());
  expect(results.filter(({ error }) => error !== undefined)).toEqual([]);
  // A member has one directory: the first one waits meanwhile.
  directory.follow([]);
  const other = await openDirectory();
  await complete(other);
  for (const { name } of accounts) expect(other.lookupNow(name).kind).toBe("found");
  expect(await other.list("", 1000)).toEqual(await directory.list("", 1000));
  opened.delete(other);
  await other.close();
  directory.follow(nodesOf(cluster.gateway.cluster.shards));
  await complete(directory);
});

test("a node that restarts goes on where it was; meanwhile nothing is denied", async () => {
  services.get("n1")?.close();
  await cluster.stopNode("n1");
  await until(() => directory.stale().length > 0, "marks run out");
  const kinds = new Set(
    Array.from({ length: 50 }, (_, index) => directory.lookupNow(`x${index}@example.test`).kind),
  );
  expect(kinds.has("unsure")).toBe(true);
  expect(directory.lookupNow("u7@example.test").kind).toBe("found");
  await cluster.startNode("n1");
  serve("n1");
  await complete(directory);
  expect(directory.lookupNow("x1@example.test")).toEqual({ kind: "none" });
  expect((await admin.update("u7@example.test", { disabled: true }, soon())).state).toBe(
    "disabled",
  );
  await admin.create({ name: "late@example.test", hash: knownHash }, soon());
  expect(directory.lookupNow("late@example.test").kind).toBe("found");
});
