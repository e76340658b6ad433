// What a gateway's directory on disk is believed after which end.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DirectoryBatch, DirectoryDb } from "../../../src/cluster/directory/directory-db.ts";
import { directoryFolder } from "../../../src/cluster/directory/directory-files.ts";
import type { DirectoryLevel } from "../../../src/cluster/directory/directory-files.ts";
import { epoch, lsn, shardId } from "../../../src/mail/ids.ts";

const identity = { clusterId: "test", shardCount: 2 };
const position = { shard: shardId(1), epoch: epoch(1), lsn: lsn(7) };

let folder: string;
let level: DirectoryLevel;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "pabal-directory-"));
  const db = await open("first boot");
  const batch = new DirectoryBatch();
  batch.putPosition(position);
  await db.write(batch);
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

function open(boot: string): Promise<DirectoryDb> {
  const files = directoryFolder(folder);
  const kept = () => {
    level = files.level();
    return level;
  };
  return DirectoryDb.open({ ...files, level: kept, bootId: () => boot }, identity);
}

/** The process ends without saying so. */
async function kill(): Promise<void> {
  await level.close();
}

test("a killed process leaves what it had", async () => {
  await kill();
  const db = await open("first boot");
  expect(db.suspect).toBe(false);
  expect(await db.positions()).toEqual([position]);
  await db.close();
});

test("a power loss leaves nothing that is believed", async () => {
  await kill();
  const db = await open("second boot");
  expect(db.suspect).toBe(true);
  await db.close();
});

test("nor does it for the next process, if the first one dies before everything is here again", async () => {
  await kill();
  await open("second boot");
  await kill();
  const db = await open("second boot");
  expect(await db.positions()).toEqual([]);
  await db.close();
});
