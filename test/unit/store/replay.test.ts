// What a log replays into: the same rows as the first time, also when entries are applied twice, from
// any point on, over whatever an earlier life left.

import { Buffer } from "node:buffer";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { deliveryId, mailboxId } from "../../../src/mail/ids.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { indexMessage } from "../../../src/mail/mime/indexer.ts";
import { allUids } from "../../../src/mail/uid-set.ts";
import {
  addAccount,
  change,
  fetched,
  makeDatabase,
  makeStore,
  message,
  never,
  nextOp,
  shard,
} from "./harness.ts";
import type { Harness } from "./harness.ts";
import type { Database } from "../../../src/store/write-queue.ts";

type Act = readonly [kind: number, uid: number, target: number];
const act: fc.Arbitrary<Act> = fc.tuple(
  fc.integer({ min: 0, max: 8 }),
  fc.integer({ min: 1, max: 8 }),
  fc.integer({ min: 0, max: 2 }),
);

/** Changes that go through every kind of entry; refusals don't matter here. */
async function perform(harness: Harness, who: Principal, acts: readonly Act[]): Promise<void> {
  const { store } = harness;
  const targets = ["INBOX", "Archive", "Extra"];
  for (const [kind, uid, at] of acts) {
    const target = targets[at] ?? "INBOX";
    const uids = [uid, uid + 2];
    const mailbox = mailboxId(at === 0 ? 1 : at === 1 ? 6 : 7);
    await perform1().catch(() => undefined);
    async function perform1(): Promise<unknown> {
      const bytes = message(`m${uid}`);
      const source = { kind: "bytes" as const, bytes };
      const index = indexMessage(bytes);
      switch (kind) {
        case 0:
        case 1: {
          const recipients = [{ account: who.account, mailbox: target }];
          const id = deliveryId(nextOp().slice(0, 26));
          return store.deliver(
            { ...change(), shard, deliveryId: id, recipients, source, index },
            never,
          );
        }
        case 2:
          return store.append(
            who,
            {
              ...change(),
              mailbox: target,
              messages: [
                { source, index, flags: ["Work", "\\Seen"] },
                { source, index, flags: [] },
              ],
            },
            never,
          );
        case 3:
          return store.store(
            who,
            { ...change(), mailbox, uids, mode: "add", flags: ["\\Deleted", `k${uid}`] },
            never,
          );
        case 4:
          return store.expunge(who, { ...change(), mailbox, uids, force: true }, never);
        case 5:
          return store.copy(who, { ...change(), mailbox, uids, target }, never);
        case 6:
          return store.move(who, { ...change(), mailbox, uids, target: "Archive" }, never);
        case 7:
          return store.createMailbox(who, { ...change(), name: "Extra" }, never);
        default:
          return store.renameMailbox(who, { ...change(), from: target, to: `Was-${uid}` }, never);
      }
    }
  }
  await harness.engine.rows.drained();
}

async function dump(db: Database): Promise<Map<string, string>> {
  const rows = new Map<string, string>();
  for await (const [key, value] of db.iterator())
    rows.set(key.toString("hex"), value.toString("hex"));
  return rows;
}

/** Applies the harness's entries from `from` on to `db`, as replay and secondaries do: without payloads. */
async function replay(harness: Harness, db: Database, from: number): Promise<void> {
  const { engine } = makeStore({ db });
  for (const { payload: _, ...entry } of harness.journal.entries.slice(from)) engine.apply(entry);
  await engine.rows.drained();
}

async function visible(db: Database, harness: Harness, who: Principal): Promise<unknown> {
  const { store } = makeStore({ db, journal: harness.journal });
  const { mailboxes } = await store.listMailboxes(who);
  const texts: unknown[] = [];
  for (const { id, name, recent: _, ...figures } of mailboxes) {
    if (!figures.selectable) continue;
    const items = {
      flags: true,
      modSeq: true,
      envelope: true,
      internalDate: true,
      sections: [{ path: [], kind: "body" as const, label: "BODY[]" }],
    };
    texts.push([
      name,
      figures,
      ...(await fetched(store.fetch(who, { mailbox: id, uids: allUids, items }, never))),
    ]);
  }
  return texts;
}

describe("replay", () => {
  it("gives a secondary the same rows, applied once or twice", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 25 }), fc.nat(), async (acts, start) => {
        const harness = makeStore();
        const who = await addAccount(harness);
        await perform(harness, who, acts);
        const once = makeDatabase();
        await replay(harness, once, 0);
        const first = await dump(once);
        await replay(harness, once, start % harness.journal.entries.length);
        expect(await dump(once)).toEqual(first);
        // A primary that loaded, evicted and folded has other rows, but the same mail.
        expect(first).toEqual(await dump(harness.db));
        expect(await visible(once, harness, who)).toEqual(await visible(harness.db, harness, who));
      }),
      { numRuns: 60 },
    );
  });

  it("over a folded index shows the same mail", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 25 }), fc.nat(), async (acts, start) => {
        const harness = makeStore({
          limits: { summaryBytesMax: 0, accountsMax: 0, unfoldedMax: 2, pageMessagesMax: 2 },
        });
        const who = await addAccount(harness);
        await perform(harness, who, acts);
        const before = await visible(harness.db, harness, who);
        await replay(harness, harness.db, start % harness.journal.entries.length);
        expect(await visible(harness.db, harness, who)).toEqual(before);
      }),
      { numRuns: 60 },
    );
  });

  it("notices a flipped bit in a row", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    await perform(harness, who, [[0, 1, 0]]);
    for (const [key, value] of await harness.db.iterator().all()) {
      const bad = Buffer.from(value);
      bad[bad.length - 1] = (bad.at(-1) ?? 0) ^ 1;
      if (key[0] === 0x41 && key[9] === 8) await harness.db.put(key, bad);
    }
    const { store } = makeStore({ db: harness.db, journal: harness.journal });
    const request = { mailbox: mailboxId(1), uids: allUids, items: { envelope: true } };
    await expect(fetched(store.fetch(who, request, never))).rejects.toMatchObject({
      code: "DAMAGED",
    });
  });
});
