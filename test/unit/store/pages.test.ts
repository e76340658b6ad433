// Pages of static rows are copies: a listing reads them where they are right, and is the same without
// them, whatever was expunged, moved, lost in a crash, damaged or swept.

import { Buffer } from "node:buffer";
import { afterEach, describe, expect, it } from "vitest";
import { mailboxId } from "../../../src/mail/ids.ts";
import type { MailboxId } from "../../../src/mail/ids.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { indexMessage } from "../../../src/mail/mime/indexer.ts";
import { allUids } from "../../../src/mail/uid-set.ts";
import { checkStore } from "../../../src/store/check.ts";
import { table } from "../../../src/store/keyspace.ts";
import { sweepGone } from "../../../src/store/sweep.ts";
import {
  addAccount,
  change,
  delivery,
  fetched,
  makeStore,
  message,
  never,
  shard,
} from "./harness.ts";
import type { Harness } from "./harness.ts";

const inbox = mailboxId(1);
const pageMessagesMax = 4;
const listing = { envelope: true, bodyStructure: true, flags: true } as const;

async function withMail(count: number): Promise<{ harness: Harness; who: Principal }> {
  const harness = makeStore({ limits: { pageMessagesMax } });
  const who = await addAccount(harness);
  // Loaded, so that pages are made as mail arrives.
  await harness.store.openMailbox(who, { name: "INBOX", claimRecent: false });
  for (let n = 1; n <= count; n++) {
    await harness.store.deliver(delivery([who], message(`subject ${n}`)), never);
  }
  await settle(harness);
  return { harness, who };
}

async function settle({ engine }: Harness): Promise<void> {
  const paging = (): boolean =>
    [...engine.accounts.all()].some(({ mailboxes }) =>
      [...mailboxes.values()].some(({ summary }) => summary?.paging === true),
    );
  await expect.poll(paging).toBe(false);
  await engine.rows.drained();
}

async function rowsOf(harness: Harness, which: number): Promise<Map<Buffer, Buffer>> {
  await harness.engine.rows.drained();
  const rows = await harness.db.iterator().all();
  return new Map(rows.filter(([key]) => key[0] === 0x41 && key[9] === which));
}

const pagesOf = async (harness: Harness, mailbox: number = inbox): Promise<number[]> =>
  [...(await rowsOf(harness, table.page)).keys()]
    .filter((key) => key.readUInt32BE(10) === mailbox)
    .map((key) => key.readUInt32BE(14));

/** Takes static rows away, so that only pages can answer. */
async function dropRows(harness: Harness): Promise<void> {
  for (const key of (await rowsOf(harness, table.static)).keys()) await harness.db.del(key);
}

async function subjects(
  { store }: Harness,
  who: Principal,
  mailbox: MailboxId = inbox,
): Promise<string[]> {
  const texts = await fetched(store.fetch(who, { mailbox, uids: allUids, items: listing }, never));
  return [...texts].map(([uid, text]) => `${uid} ${/"(subject \d+)"/.exec(text)?.[1]}`);
}

const expected = (...uids: number[]): string[] => uids.map((uid) => `${uid} subject ${uid}`);
const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, at) => from + at);

describe("pages of static rows", () => {
  const open: Harness[] = [];
  afterEach(async () => {
    for (const harness of open.splice(0)) await harness.engine.accounts.stop();
  });
  async function make(count: number): Promise<{ harness: Harness; who: Principal }> {
    const made = await withMail(count);
    open.push(made.harness);
    return made;
  }

  it("are made of full pages as mail arrives, and answer without the rows", async () => {
    const { harness, who } = await make(10);
    expect(await pagesOf(harness)).toEqual([1, 5]);
    await harness.store.expunge(
      who,
      { ...change(), mailbox: inbox, uids: [9, 10], force: true },
      never,
    );
    await dropRows(harness);
    expect(await subjects(harness, who)).toEqual(expected(...range(1, 8)));
  });

  it("are made of what APPEND brings, too, while the mailbox is loaded", async () => {
    const { harness, who } = await make(0);
    for (let n = 1; n <= 9; n++) {
      const bytes = message(`subject ${n}`);
      const one = {
        source: { kind: "bytes", bytes },
        index: indexMessage(bytes),
        flags: [],
      } as const;
      await harness.store.append(who, { ...change(), mailbox: "INBOX", messages: [one] }, never);
    }
    await settle(harness);
    expect(await pagesOf(harness)).toEqual([1, 5]);
  });

  it("are found again after the mailbox was evicted, and by another process", async () => {
    const { harness, who } = await make(8);
    await dropRows(harness);
    harness.engine.accounts.forgetIdle();
    expect(await subjects(harness, who)).toEqual(expected(...range(1, 8)));
    const again = makeStore({ db: harness.db, journal: harness.journal });
    expect(await subjects(again, who)).toEqual(expected(...range(1, 8)));
  });

  it("are made when a mailbox that arrived by replay is opened", async () => {
    const { harness, who } = await make(9);
    const secondary = makeStore({ limits: { pageMessagesMax } });
    for (const { payload: _, ...entry } of harness.journal.entries) secondary.engine.apply(entry);
    expect(await pagesOf(secondary)).toEqual([]);
    const { engine } = secondary;
    const taken = makeStore({
      db: secondary.db,
      journal: harness.journal,
      limits: { pageMessagesMax },
    });
    open.push(taken);
    await engine.rows.drained();
    expect(await subjects(taken, who)).toEqual(expected(...range(1, 9)));
    await settle(taken);
    expect(await pagesOf(taken)).toEqual([1, 5]);
  });

  it("replaying the log over them changes nothing", async () => {
    const { harness, who } = await make(12);
    await harness.store.expunge(
      who,
      { ...change(), mailbox: inbox, uids: [2, 3], force: true },
      never,
    );
    await settle(harness);
    const before = await pagesOf(harness);
    const replayed = makeStore({ db: harness.db, journal: harness.journal });
    for (const { payload: _, ...entry } of harness.journal.entries) replayed.engine.apply(entry);
    expect(await pagesOf(replayed)).toEqual(before);
    expect(await subjects(replayed, who)).toEqual(expected(1, ...range(4, 12)));
  });

  it("an expunged message in a page is not shown, a page with few left is made anew", async () => {
    const { harness, who } = await make(12);
    const expunge = (from: number, to: number) =>
      harness.store.expunge(
        who,
        { ...change(), mailbox: inbox, uids: [from, to], force: true },
        never,
      );
    await expunge(2, 2);
    expect(await subjects(harness, who)).toEqual(expected(1, ...range(3, 12)));
    await expunge(3, 7);
    await settle(harness);
    // Of the first two pages one message each was left: they are one page now.
    expect(await pagesOf(harness)).toEqual([1, 9]);
    expect(await subjects(harness, who)).toEqual(expected(1, ...range(8, 12)));
    await expunge(1, 12);
    await settle(harness);
    expect(await pagesOf(harness)).toEqual([]);
    expect(await subjects(harness, who)).toEqual([]);
  });

  it("a page lost in a crash, or damaged, is as if it weren't there, and is made again", async () => {
    const { harness, who } = await make(12);
    const [first, second] = [...(await rowsOf(harness, table.page))];
    if (first === undefined || second === undefined) throw new Error("there are pages");
    await harness.db.del(first[0]);
    const bad = Buffer.from(second[1]);
    bad[bad.length - 1] = (bad.at(-1) ?? 0) ^ 1;
    await harness.db.put(second[0], bad);
    expect(await subjects(harness, who)).toEqual(expected(...range(1, 12)));
    await harness.store.deliver(delivery([who], message("subject 13")), never);
    await settle(harness);
    expect(await pagesOf(harness)).toEqual([1, 5, 9]);
    await harness.store.expunge(
      who,
      { ...change(), mailbox: inbox, uids: [13, 13], force: true },
      never,
    );
    await dropRows(harness);
    expect(await subjects(harness, who)).toEqual(expected(...range(1, 12)));
  });

  it("a page of other bodies under the same UIDs is not believed", async () => {
    const { harness, who } = await make(4);
    const other = await addAccount(harness);
    await harness.store.openMailbox(other, { name: "INBOX", claimRecent: false });
    for (let n = 1; n <= 4; n++) {
      await harness.store.deliver(delivery([other], message(`subject ${n + 50}`)), never);
    }
    await settle(harness);
    // Their bodies change places: every UID of the page is right, every body another.
    const [mine, theirs] = [who, other].map(
      ({ account }) =>
        harness.engine.accounts.peek(account)?.mailboxes.get(inbox)?.summary?.columns,
    );
    if (mine === undefined || theirs === undefined) throw new Error("both are loaded");
    mine.bodyLsn.reverse();
    mine.bodyLsn.copyWithin(0, mine.bodyLsn.length - 4);
    expect(await subjects(harness, who)).toEqual([
      "1 subject 4",
      "2 subject 3",
      "3 subject 2",
      "4 subject 1",
    ]);
  });

  it("copies and moved messages are listed from rows, then from pages of their own", async () => {
    const { harness, who } = await make(8);
    const { store } = harness;
    const archive = (await store.openMailbox(who, { name: "Archive", claimRecent: false })).info.id;
    await store.copy(who, { ...change(), mailbox: inbox, uids: [2, 4], target: "Archive" }, never);
    const three = ["1 subject 2", "2 subject 3", "3 subject 4"];
    expect(await subjects(harness, who, archive)).toEqual(three);
    await store.move(who, { ...change(), mailbox: inbox, uids: [7, 7], target: "Archive" }, never);
    await settle(harness);
    expect(await pagesOf(harness, archive)).toEqual([1]);
    await dropRows(harness);
    expect(await subjects(harness, who, archive)).toEqual([...three, "4 subject 7"]);
    expect(await subjects(harness, who)).toEqual(expected(...range(1, 6), 8));
  });

  it("sparse sets of UIDs read what they name", async () => {
    const { harness, who } = await make(21);
    const uids = [2, 2, 7, 9, 20, 21];
    const texts = await fetched(
      harness.store.fetch(who, { mailbox: inbox, uids, items: listing }, never),
    );
    expect([...texts.keys()]).toEqual([2, 7, 8, 9, 20, 21]);
    expect(texts.get(8)).toContain('"subject 8"');
  });

  it("of a deleted mailbox are swept, and what is left passes the check", async () => {
    const { harness, who } = await make(5);
    const { store, engine } = harness;
    await store.createMailbox(who, { ...change(), name: "Extra" }, never);
    await store.openMailbox(who, { name: "Extra", claimRecent: false });
    await store.copy(who, { ...change(), mailbox: inbox, uids: [1, 4], target: "Extra" }, never);
    await settle(harness);
    expect((await rowsOf(harness, table.page)).size).toBe(2);
    await store.deleteMailbox(who, { ...change(), name: "Extra" }, never);
    await sweepGone(engine, never);
    expect(await pagesOf(harness)).toEqual([1]);
    expect((await rowsOf(harness, table.page)).size).toBe(1);
    expect((await rowsOf(harness, table.pages)).size).toBe(1);
    const findings: unknown[] = [];
    const options = { shards: [shard], damage: [], bodies: true };
    for await (const finding of checkStore(engine, options, never)) findings.push(finding);
    expect(findings).toEqual([]);
  });
});
