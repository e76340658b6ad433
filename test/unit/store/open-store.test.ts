// The store on a disk that crashes: what was acknowledged is there after a reopen, whatever the disk
// loses of what was not synced; a lost or exchanged index is refused.

import { Buffer } from "node:buffer";
import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../../src/lib/random.ts";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { makeAccountId, mailboxId } from "../../../src/mail/ids.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { allUids } from "../../../src/mail/uid-set.ts";
import { beginRow, endRow, openRow } from "../../../src/store/row.ts";
import { decodePayload } from "../../../src/store/entry-codec.ts";
import { createAccount, firstMailboxes } from "../../../src/store/accounts.ts";
import { openStore } from "../../../src/store/open-store.ts";
import type { OpenedStore } from "../../../src/store/open-store.ts";
import { salvage } from "../../../src/store/salvage.ts";
import type { Database } from "../../../src/store/write-queue.ts";
import {
  TestClock,
  change,
  delivery,
  fetched,
  makeDatabase,
  message,
  never,
  shard,
} from "./harness.ts";

function open(disk: SimulatedDisk, index: Database, segmentBytes = 20_000): Promise<OpenedStore> {
  return openStore({
    disk,
    index,
    clock: new TestClock(),
    random: new SeededRandom(5),
    shards: [shard],
    logSizes: { segmentBytes, windowMs: 0, windowBytesMax: 0 },
    onFatal: (error) => {
      throw error;
    },
  });
}

async function addUser(opened: OpenedStore): Promise<Principal> {
  const account = makeAccountId(shard, 1);
  await createAccount(
    opened.engine,
    {
      ...change(),
      shard,
      account,
      name: "u@pabal.test",
      aliases: [],
      credentials: { hash: "" },
      quotaBytes: 0,
      quotaMessages: 0,
      profile: {},
      mailboxes: firstMailboxes,
      uidValidityFloor: 0,
    },
    never,
  );
  return { account, shard, credVersion: 1 };
}

const wholeMessages = {
  mailbox: mailboxId(1),
  uids: allUids,
  items: { flags: true, sections: [{ path: [], kind: "body" as const, label: "BODY[]" }] },
};

/** A LevelDB that kept, of the writes since `older`, only those that `keeps` says. */
async function afterPowerLoss(
  older: ReadonlyMap<string, Buffer>,
  db: Database,
  keeps: () => boolean,
): Promise<Database> {
  const left = makeDatabase();
  const now = await snapshot(db);
  for (const name of new Set([...older.keys(), ...now.keys()])) {
    const value = older.get(name) === now.get(name) || keeps() ? now.get(name) : older.get(name);
    if (value !== undefined) await left.put(Buffer.from(name, "latin1"), value);
  }
  return left;
}

async function snapshot(db: Database): Promise<Map<string, Buffer>> {
  const rows = new Map<string, Buffer>();
  for await (const [key, value] of db.iterator()) rows.set(key.toString("latin1"), value);
  return rows;
}

describe("a store on a disk", () => {
  it("has everything acknowledged after a crash, whatever the index lost since the checkpoint", async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const random = new SeededRandom(seed);
      const disk = new SimulatedDisk({ seed });
      const index = makeDatabase();
      const opened = await open(disk, index);
      const who = await addUser(opened);
      await opened.store.deliver(delivery([who], message("old")), never);
      await opened.checkpoint();
      const older = await snapshot(index);
      for (let n = 0; n < 10; n++) {
        await opened.store.deliver(delivery([who], message(`m${n}`)), never);
        const uids = [1 + random.below(n + 1), 1 + random.below(n + 1) + 1];
        const set = {
          ...change(),
          mailbox: mailboxId(1),
          uids: [Math.min(...uids), Math.max(...uids)],
        };
        await opened.store.store(who, { ...set, mode: "add", flags: ["\\Seen", `k${n}`] }, never);
        if (n === 5)
          await opened.store.move(
            who,
            { ...change(), mailbox: mailboxId(1), uids: [2, 3], target: "Trash" },
            never,
          );
      }
      const before = await fetched(opened.store.fetch(who, wholeMessages, never));
      const listing = await opened.store.listMailboxes(who);
      await opened.engine.rows.drained();
      await opened.upkeep.stop();
      disk.crash("random");
      const left = await afterPowerLoss(older, index, () => random.chance(0.5));
      const again = await open(disk, left);
      expect(await fetched(again.store.fetch(who, wholeMessages, never)), `seed ${seed}`).toEqual(
        before,
      );
      expect(await again.store.listMailboxes(who), `seed ${seed}`).toEqual(listing);
      await again.close();
    }
  });

  it("streams a large body through a blob and fetches it in pieces", async () => {
    const opened = await open(new SimulatedDisk(), makeDatabase());
    const who = await addUser(opened);
    const bytes = Buffer.from(message("large", "x".repeat(700_000)));
    async function* pieces(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < bytes.length; at += 50_000) yield bytes.subarray(at, at + 50_000);
    }
    const blob = await opened.store.writeBlob(shard, "d1", pieces(), never);
    const { source: _, ...rest } = delivery([who], bytes);
    await opened.store.deliver({ ...rest, source: { kind: "blob", blob } }, never);
    const texts = await fetched(opened.store.fetch(who, wholeMessages, never));
    expect(texts.get(1)).toBe(
      `UID 1 FLAGS () BODY[] {${bytes.length}}\r\n${bytes.toString("latin1")}`,
    );
    const missing = {
      ...rest,
      ...change(),
      source: { kind: "blob" as const, blob: { ...blob, id: "d2" } },
    };
    await expect(opened.store.deliver(missing, never)).rejects.toMatchObject({
      code: "UNAVAILABLE",
    });
    await opened.close();
  });

  it("rewrites garbage without losing what is owned, and forgets what is not", async () => {
    const opened = await open(new SimulatedDisk(), makeDatabase(), 4000);
    const who = await addUser(opened);
    for (let n = 0; n < 30; n++) {
      await opened.store.deliver(delivery([who], message(`m${n}`, "x".repeat(500))), never);
    }
    await opened.store.copy(
      who,
      { ...change(), mailbox: mailboxId(1), uids: [5, 6], target: "Archive" },
      never,
    );
    await opened.store.expunge(
      who,
      { ...change(), mailbox: mailboxId(1), uids: [1, 25], force: true },
      never,
    );
    const archive = (await opened.store.openMailbox(who, { name: "Archive", claimRecent: false }))
      .info.id;
    const inArchive = { ...wholeMessages, mailbox: archive };
    const before = [
      await fetched(opened.store.fetch(who, wholeMessages, never)),
      await fetched(opened.store.fetch(who, inArchive, never)),
    ];
    await opened.checkpoint();
    const collectable = opened.log.collectable();
    expect(collectable.length).toBeGreaterThan(3);
    const { removed } = await opened.log.rewrite(
      collectable.map(({ segment }) => segment),
      opened.garbage,
    );
    expect(removed.length).toBe(collectable.length);
    const after = [
      await fetched(opened.store.fetch(who, wholeMessages, never)),
      await fetched(opened.store.fetch(who, inArchive, never)),
    ];
    expect(after).toEqual(before);
    await opened.close();
  });

  it("sweeps the rows of a deleted mailbox", async () => {
    const index = makeDatabase();
    const opened = await open(new SimulatedDisk(), index);
    const who = await addUser(opened);
    const { id } = await opened.store.createMailbox(who, { ...change(), name: "gone" }, never);
    const bytes = message("m");
    const recipients = [{ account: who.account, mailbox: "gone" }];
    await opened.store.deliver({ ...delivery([who], bytes), recipients }, never);
    await opened.store.deleteMailbox(who, { ...change(), name: "gone" }, never);
    await opened.upkeep.sweepNow();
    await opened.engine.rows.drained();
    const left = [...(await snapshot(index)).keys()].map((name) => Buffer.from(name, "latin1"));
    const ofMailbox = left.filter(
      (key) => key[0] === 0x41 && [6, 9, 10, 11, 12, 15, 16].includes(key[9] ?? 0),
    );
    expect(ofMailbox.filter((key) => key.readUInt32BE(10) === id)).toEqual([]);
    expect(left.filter((key) => key[0] === 0x47)).toEqual([]);
    await opened.close();
  });

  it("salvages mail from segments alone, also behind a damaged record", async () => {
    const disk = new SimulatedDisk();
    const opened = await open(disk, makeDatabase());
    const who = await addUser(opened);
    for (let n = 1; n <= 4; n++) {
      await opened.store.deliver(delivery([who], message(`m${n}`)), never);
    }
    const set = { ...change(), mailbox: mailboxId(1), uids: [3, 3] };
    await opened.store.store(who, { ...set, mode: "add", flags: ["\\Seen", "work"] }, never);
    await opened.store.move(
      who,
      { ...change(), mailbox: mailboxId(1), uids: [4, 4], target: "Trash" },
      never,
    );
    await opened.store.expunge(
      who,
      { ...change(), mailbox: mailboxId(1), uids: [1, 1], force: true },
      never,
    );
    await opened.close();
    const read = async (): Promise<string[]> => {
      const found: string[] = [];
      for await (const { accountName, mailbox, flags, body } of salvage(disk, "log")) {
        const text = body.kind === "bytes" ? Buffer.from(body.bytes).toString() : body.kind;
        found.push(
          [accountName, mailbox, flags.join("+"), /m\d/.exec(text)?.[0] ?? text].join(" "),
        );
      }
      return found.sort();
    };
    const name = "u@pabal.test";
    expect(await read()).toEqual([
      `${name} INBOX  m2`,
      `${name} INBOX \\Seen+work m3`,
      `${name} Trash  m4`,
    ]);
    const [segment = ""] = await disk.list("log");
    const file = await disk.open(`log/${segment}`, "write");
    const bytes = Buffer.from(await file.read(0, await file.size()));
    await file.writev([Buffer.from("X")], bytes.indexOf("Subject: m2"));
    await file.close();
    expect(await read()).toEqual([`${name} INBOX \\Seen+work m3`, `${name} Trash  m4`]);
  });

  it("refuses an index that is lost or another's", async () => {
    const disk = new SimulatedDisk();
    const opened = await open(disk, makeDatabase());
    await addUser(opened);
    await opened.close();
    await expect(open(disk, makeDatabase())).rejects.toMatchObject({ code: "DAMAGED" });
    const other = makeDatabase();
    const elsewhere = await openStore({
      disk: new SimulatedDisk(),
      index: other,
      clock: new TestClock(),
      random: new SeededRandom(6),
      shards: [shard],
      onFatal: () => undefined,
    });
    await elsewhere.engine.rows.drained();
    await expect(open(disk, other)).rejects.toMatchObject({ code: "DAMAGED" });
  });
});

describe("formats of other versions", () => {
  const key = Buffer.from([0x4e]);
  const formatOf = async (index: Database): Promise<number> => {
    await index.open();
    const row = await index.get(key);
    return openRow(key, row ?? Buffer.alloc(0)).varint();
  };
  const setFormat = async (index: Database, by: number): Promise<void> => {
    await index.open();
    const old = openRow(key, (await index.get(key)) ?? Buffer.alloc(0));
    const format = old.varint() + by;
    const id = old.text();
    const out = beginRow();
    out.varint(format);
    out.text(id);
    await index.batch([{ type: "put", key, value: endRow(key) }]);
  };

  it("a folder of the format before is read, and is marked, so that an older program refuses it", async () => {
    const disk = new SimulatedDisk();
    const index = makeDatabase();
    const first = await open(disk, index);
    const who = await addUser(first);
    await first.close();
    const now = await formatOf(index);
    await setFormat(index, -1);
    const again = await open(disk, index);
    expect(await formatOf(index)).toBe(now);
    expect(await again.store.listMailboxes(who)).not.toEqual([]);
    await again.close();
    await setFormat(index, 1);
    await expect(open(disk, index)).rejects.toThrow(/format 3, this program knows 2/);
  });

  it("an entry that is not known is refused, never passed over", () => {
    expect(() => decodePayload(63, Buffer.from([1]))).toThrow(/kind 63 .*upgrade this node/);
    expect(() => decodePayload(2, Buffer.from([9]))).toThrow(/kind 2 .*upgrade this node/);
    expect(decodePayload(64, Buffer.from([9]))).toBeUndefined();
  });
});
