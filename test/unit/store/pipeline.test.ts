// Changes under way: what is proposed is not visible, deliveries pipeline, exclusive changes wait,
// and a lost outcome is found again by a retry.

import { describe, expect, it } from "vitest";
import { allUids } from "../../../src/mail/uid-set.ts";
import { mailboxId } from "../../../src/mail/ids.ts";
import { addAccount, change, delivery, fetched, makeStore, message, never } from "./harness.ts";

const inbox = mailboxId(1);

describe("changes under way", () => {
  it("nothing proposed is visible before it is committed", async () => {
    const harness = makeStore();
    const { store, journal } = harness;
    const who = await addAccount(harness);
    await store.openMailbox(who, { name: "INBOX", claimRecent: false });
    journal.held = true;
    const first = store.deliver(delivery([who], message("1")), never);
    const second = store.deliver(delivery([who], message("2")), never);
    await expect.poll(() => journal.entries.length).toBe(3);
    expect((await store.mailboxStatus(who, "INBOX")).uidNext).toBe(1);
    expect((await store.quota(who)).usedMessages).toBe(0);
    const request = { mailbox: inbox, uids: allUids, items: { flags: true } };
    expect((await fetched(store.fetch(who, request, never))).size).toBe(0);
    journal.release();
    const outcomes = [...(await first), ...(await second)];
    expect(outcomes.map((outcome) => outcome.ok && outcome.uid)).toEqual([1, 2]);
    expect((await store.mailboxStatus(who, "INBOX")).highestModSeq).toBe(3);
  });

  it("an exclusive change waits for deliveries before it, and deliveries for it", async () => {
    const harness = makeStore();
    const { store, journal } = harness;
    const who = await addAccount(harness);
    journal.held = true;
    const first = store.deliver(delivery([who], message("1")), never);
    await expect.poll(() => journal.entries.length).toBe(2);
    const expunged = store.expunge(who, { ...change(), mailbox: inbox, force: true }, never);
    const last = store.deliver(delivery([who], message("2")), never);
    await Promise.resolve();
    expect(journal.entries.length).toBe(2);
    journal.release();
    await first;
    expect((await expunged).expunged).toEqual([1, 1]);
    expect((await last)[0]).toMatchObject({ ok: true, uid: 2 });
    expect((await store.mailboxStatus(who, "INBOX")).messages).toBe(1);
  });

  it("quota counts what is under way", async () => {
    const harness = makeStore();
    const { store, journal } = harness;
    const who = await addAccount(harness, { quotaMessages: 1 });
    journal.held = true;
    const first = store.deliver(delivery([who], message("1")), never);
    await expect.poll(() => journal.entries.length).toBe(2);
    const [refused] = await store.deliver(delivery([who], message("2")), never);
    expect(refused).toMatchObject({ ok: false, failure: { code: "OVER_QUOTA" } });
    journal.release();
    await first;
  });

  it("a delivery whose outcome was unknown is answered by its retry once it is applied", async () => {
    const harness = makeStore();
    const { store, journal } = harness;
    const who = await addAccount(harness);
    journal.losing = true;
    const request = delivery([who], message("1"));
    await expect(store.deliver(request, never)).rejects.toMatchObject({
      code: "REPLICA_UNREACHABLE",
    });
    journal.losing = false;
    const again = store.deliver({ ...request, retry: true }, never);
    const late = journal.entries.at(-1);
    if (late !== undefined) harness.engine.apply(late);
    expect((await again)[0]).toMatchObject({ ok: true, uid: 1 });
    expect((await store.mailboxStatus(who, "INBOX")).messages).toBe(1);
  });

  it("what was proposed and then cut is forgotten when the shard is reset", async () => {
    const harness = makeStore();
    const { store, journal, engine } = harness;
    const who = await addAccount(harness);
    journal.losing = true;
    const request = delivery([who], message("1"));
    await expect(store.deliver(request, never)).rejects.toMatchObject({
      code: "REPLICA_UNREACHABLE",
    });
    journal.losing = false;
    engine.resetShard(who.shard);
    expect((await store.deliver({ ...request, retry: true }, never))[0]).toMatchObject({
      ok: true,
      uid: 1,
    });
    expect((await store.mailboxStatus(who, "INBOX")).highestModSeq).toBe(2);
  });

  it("a member that stops serving answers no read and ends its listeners", async () => {
    const harness = makeStore();
    const { store, journal, engine } = harness;
    const who = await addAccount(harness);
    const events = store.watch(who, { mailboxes: "all" }, never)[Symbol.asyncIterator]();
    await store.deliver(delivery([who], message("1")), never);
    expect((await events.next()).value).toMatchObject({ kind: "mailbox", highestModSeq: 2 });
    journal.serving = false;
    engine.resetShard(who.shard);
    await expect(store.mailboxStatus(who, "INBOX")).rejects.toMatchObject({ code: "WRONG_NODE" });
    await expect(events.next()).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });
});
