// LevelDB without sync loses, in a power loss, the older of two logs while the newer one survives: of
// what was written since the checkpoint any number of first writes is gone, the others are there.
// Whatever was folded into blocks by a lost write must come back from the log.

import { Buffer } from "node:buffer";
import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../../src/lib/random.ts";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { makeAccountId, mailboxId } from "../../../src/mail/ids.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { indexMessage } from "../../../src/mail/mime/indexer.ts";
import { allUids } from "../../../src/mail/uid-set.ts";
import { createAccount } from "../../../src/store/accounts.ts";
import { openStore } from "../../../src/store/open-store.ts";
import type { OpenedStore } from "../../../src/store/open-store.ts";
import type { Database } from "../../../src/store/write-queue.ts";
import { TestClock, change, fetched, makeDatabase, message, never, shard } from "./harness.ts";

const account = makeAccountId(shard, 1);
const who: Principal = { account, shard, credVersion: 1 };
const bytes = message("m");
const one = {
  source: { kind: "bytes" as const, bytes },
  index: indexMessage(bytes),
  flags: [],
};
function open(disk: SimulatedDisk, index: Database): Promise<OpenedStore> {
  return openStore({
    disk,
    index,
    clock: new TestClock(),
    random: new SeededRandom(5),
    shards: [shard],
    limits: { unfoldedMax: 1, messagesPerAppendMax: 2000 },
    onFatal: (error) => {
      throw error;
    },
  });
}

type Rows = ReadonlyMap<string, Buffer>;

async function rowsOf(db: Database): Promise<Rows> {
  const rows = new Map<string, Buffer>();
  for await (const [key, value] of db.iterator()) rows.set(key.toString("latin1"), value);
  return rows;
}

/** What `states[0]` becomes when only the writes behind state `lost` reach the disk. */
async function without(lost: number, states: readonly Rows[]): Promise<Database> {
  const left = new Map(states[0]);
  for (let at = lost + 1; at < states.length; at++) {
    const before: Rows = states[at - 1] ?? new Map<string, Buffer>();
    const after: Rows = states[at] ?? new Map<string, Buffer>();
    for (const [name, value] of after) if (before.get(name) !== value) left.set(name, value);
    for (const name of before.keys()) if (!after.has(name)) left.delete(name);
  }
  const db = makeDatabase();
  for (const [name, value] of left) await db.put(Buffer.from(name, "latin1"), value);
  return db;
}

function listing(opened: OpenedStore): Promise<Map<number, string>> {
  const items = { flags: true, modSeq: true };
  const request = { mailbox: mailboxId(1), uids: allUids, items };
  return fetched(opened.store.fetch(who, request, never));
}

/** Runs a history, loses the first `lost` writes since the checkpoint, and says what is seen before and after. */
async function run(lost: number) {
  const disk = new SimulatedDisk();
  const index = makeDatabase();
  const opened = await open(disk, index);
  const states: Rows[] = [];
  const written = async (): Promise<void> => {
    await opened.engine.rows.drained();
    states.push(await rowsOf(index));
  };
  const fields = { name: "u@pabal.test", aliases: [], credentials: { hash: "" }, profile: {} };
  const limits = { quotaBytes: 0, quotaMessages: 0, mailboxes: [], uidValidityFloor: 0 };
  await createAccount(opened.engine, { ...change(), shard, account, ...fields, ...limits }, never);
  const append = async (count: number): Promise<void> => {
    const messages = Array.from({ length: count }, () => one);
    await opened.store.append(who, { ...change(), mailbox: "INBOX", messages }, never);
    await written();
  };
  const mailbox = mailboxId(1);
  const flag = async (uid: number, mode: "add" | "remove", name: string): Promise<void> => {
    const request = { ...change(), mailbox, uids: [uid, uid], mode, flags: [name] };
    await opened.store.store(who, request, never);
    await written();
  };
  await append(1000);
  await flag(1, "add", "\\Seen");
  await flag(2, "add", "\\Flagged");
  await opened.checkpoint();
  states.length = 0;
  await written();
  await append(100);
  await flag(1, "add", "\\Answered"); // Folds: the one block becomes two.
  await flag(3, "add", "early");
  await flag(1090, "add", "\\Seen"); // From here on only the second block changes.
  await flag(1090, "remove", "\\Seen");
  await opened.store.expunge(who, { ...change(), mailbox, uids: [5, 5], force: true }, never);
  await written();
  await flag(1080, "add", "late");
  await flag(1081, "add", "late");
  const before = await listing(opened);
  await opened.upkeep.stop();
  disk.crash("lose");
  const again = await open(disk, await without(lost, states));
  const after = await listing(again);
  await again.close();
  return { before, after, count: states.length - 1 };
}

describe("after a power loss", () => {
  it("messages and flags are there, whichever writes the index lost since the checkpoint", async () => {
    const { count } = await run(0);
    expect(count).toBeGreaterThan(7);
    for (let lost = 1; lost <= count; lost++) {
      const { before, after } = await run(lost);
      expect(before.size).toBe(1099);
      expect(after, `${lost} of ${count} writes lost`).toEqual(before);
    }
  });
});
