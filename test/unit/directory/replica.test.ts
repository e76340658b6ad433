// What a gateway makes of the rows of all shards, which come in any order among each other.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DirectoryDb } from "../../../src/cluster/directory/directory-db.ts";
import { directoryFolder } from "../../../src/cluster/directory/directory-files.ts";
import { DirectoryReplica } from "../../../src/cluster/directory/replica.ts";
import type { DirectoryRow } from "../../../src/mail/account.ts";
import { accountId, epoch, lsn, shardId } from "../../../src/mail/ids.ts";

let folder: string;
let db: DirectoryDb;
let replica: DirectoryReplica;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "pabal-replica-"));
  db = await DirectoryDb.open(directoryFolder(folder), { clusterId: "test", shardCount: 2 });
  replica = new DirectoryReplica(db, 2, 100);
});

afterEach(async () => {
  await db.close();
  await rm(folder, { recursive: true, force: true });
});

function row(account: number, shard: number, state: DirectoryRow["state"]): DirectoryRow {
  const credentials = { hash: "" };
  const versions = { credVersion: 1, userVersion: state === "deleted" ? 2 : 1 };
  const name = "alice@example.test";
  const ids = { account: accountId(account), shard: shardId(shard) };
  return { ...ids, name, aliases: [], state, credentials, ...versions, overQuota: false };
}

async function take(...rows: readonly DirectoryRow[]): Promise<void> {
  const [first] = rows;
  const at = { shard: first?.shard ?? shardId(0), epoch: epoch(1), lsn: lsn(1) };
  await replica.apply({ kind: "rows", at, rows, claims: [] }, new Map());
}

const listed = async () => (await replica.list("", 10)).map(({ account }) => account);

test("an account's end, told late by its shard, does not hide who has its name since", async () => {
  await take(row(1, 0, "active"));
  await take(row(2, 1, "active"));
  await take(row(1, 0, "deleted"));
  expect(await listed()).toEqual([2]);
  expect(await db.userCount()).toBe(1);
});

test("the same in one message", async () => {
  await take(row(7, 0, "active"));
  await take(row(9, 0, "active"), row(7, 0, "deleted"));
  expect(await listed()).toEqual([9]);
});

test("a snapshot without the account does not hide who has its name since", async () => {
  await take(row(1, 0, "active"));
  await take(row(2, 1, "active"));
  const at = { shard: shardId(0), epoch: epoch(2), lsn: lsn(5) };
  const through = Number.MAX_SAFE_INTEGER;
  await replica.apply({ kind: "accounts", at, rows: [], through }, new Map());
  expect(await listed()).toEqual([2]);
});

test("a deleted account whose name nobody took is gone from the list", async () => {
  await take(row(1, 0, "active"));
  await take(row(1, 0, "deleted"));
  expect(await listed()).toEqual([]);
});
