// Who may do what: unknown, disabled and stale principals, other people's mail, quotas, the maildrop.

import { describe, expect, test } from "vitest";
import { accountId, mailboxId, modSeq, uid } from "../../src/mail/ids.ts";
import type { MailboxId, OpId } from "../../src/mail/ids.ts";
import type { MailStore, Principal } from "../../src/mail/mail-store.ts";
import { allUids } from "../../src/mail/uid-set.ts";
import type { Fixture } from "./mail-store.ts";
import * as kit from "./mail-store-kit.ts";
import { change, codeOf, message, never, open } from "./mail-store-kit.ts";

type Call = (
  store: MailStore,
  who: Principal,
  mailbox: MailboxId,
) => Promise<unknown> | AsyncIterable<unknown>;

const uids = { uids: allUids };
const byName: Readonly<Record<string, Call>> = {
  listMailboxes: (store, who) => store.listMailboxes(who, never),
  mailboxStatus: (store, who) => store.mailboxStatus(who, "INBOX", never),
  createMailbox: (store, who) => store.createMailbox(who, { ...change(), name: "x" }, never),
  deleteMailbox: (store, who) => store.deleteMailbox(who, { ...change(), name: "x" }, never),
  renameMailbox: (store, who) =>
    store.renameMailbox(who, { ...change(), from: "x", to: "y" }, never),
  setSubscribed: (store, who) =>
    store.setSubscribed(who, { ...change(), name: "x", subscribed: true }, never),
  openMailbox: (store, who) => open(store, who),
  append: (store, who) => kit.append(store, who, "INBOX"),
  quota: (store, who) => store.quota(who, never),
  lockMaildrop: (store, who) => store.lockMaildrop(who, never),
};
const byId: Readonly<Record<string, Call>> = {
  changes: (store, who, mailbox) =>
    store.changes(who, { mailbox, sinceModSeq: modSeq(1), knownUidNext: 1 }, never),
  fetch: (store, who, mailbox) =>
    store.fetch(who, { mailbox, ...uids, items: { flags: true } }, never),
  flags: (store, who, mailbox) => store.flags(who, { mailbox, ...uids, wantModSeqs: true }, never),
  readMessage: (store, who, mailbox) =>
    store.readMessage(who, { mailbox, uid: uid(1), offset: 0 }, never),
  search: (store, who, mailbox) => store.search(who, { mailbox, key: { kind: "all" } }, never),
  store: (store, who, mailbox) => kit.setFlags(store, who, mailbox, allUids, "add", ["\\Seen"]),
  expunge: (store, who, mailbox) => kit.expunge(store, who, mailbox),
  copy: (store, who, mailbox) =>
    store.copy(who, { ...change(), mailbox, ...uids, target: "INBOX" }, never),
  move: (store, who, mailbox) =>
    store.move(who, { ...change(), mailbox, ...uids, target: "INBOX" }, never),
};
const calls = Object.entries({ ...byName, ...byId });

export function accessTests(use: Fixture): void {
  describe("principals", () => {
    test.each(calls)("%s for an unknown account is NO_SUCH_ACCOUNT", async (_, call) => {
      const { store, addAccount } = use();
      const known = await addAccount();
      const who = { ...known, account: accountId(known.account + 1_000_000) };
      expect(await codeOf(call(store, who, mailboxId(1)))).toBe("NO_SUCH_ACCOUNT");
    });

    test("a disabled account can do nothing and get nothing", async () => {
      const { store, addAccount, revoke } = use();
      const who = await addAccount();
      const inbox = await open(store, who);
      await revoke(who, "disable");
      for (const [, call] of calls) {
        expect(await codeOf(call(store, who, inbox.info.id))).toBe("ACCOUNT_DISABLED");
      }
      const outcomes = await store.deliver(kit.deliverRequest([who], message("x")), never);
      expect(outcomes).toMatchObject([{ ok: false, failure: { code: "ACCOUNT_DISABLED" } }]);
    });

    test("after a new password, sessions with the old one can do nothing; new ones and mail go on", async () => {
      const { store, addAccount, revoke } = use();
      const who = await addAccount();
      const inbox = await open(store, who);
      await revoke(who, "password");
      for (const [, call] of calls) {
        expect(await codeOf(call(store, who, inbox.info.id))).toBe("STALE_CREDENTIALS");
      }
      const now = { ...who, credVersion: who.credVersion + 1 };
      await kit.deliver(store, now);
      expect((await open(store, now)).info.messages).toBe(1);
    });

    test.each(Object.entries(byId))(
      "%s on a mailbox that was deleted is MAILBOX_GONE, also after one of the same name is made",
      async (_, call) => {
        const { store, addAccount } = use();
        const who = await addAccount();
        const { id } = await store.createMailbox(who, { ...change(), name: "gone" }, never);
        await store.deleteMailbox(who, { ...change(), name: "gone" }, never);
        await store.createMailbox(who, { ...change(), name: "gone" }, never);
        expect(await codeOf(call(store, who, id))).toBe("MAILBOX_GONE");
      },
    );

    test("another account's mail can't be reached by its mailbox ids", async () => {
      const { store, addAccount } = use();
      const [mine, theirs] = [await addAccount(), await addAccount()];
      const { id } = await store.createMailbox(theirs, { ...change(), name: "secret" }, never);
      await kit.append(store, theirs, "secret", message("secret"));
      for (const [, call] of Object.entries(byId)) {
        expect(await codeOf(call(store, mine, id))).toBe("MAILBOX_GONE");
      }
      expect((await open(store, theirs, "secret")).info.messages).toBe(1);
    });
  });

  describe("quotas", () => {
    const bytes = message("quota");

    test("a delivery over quota is that recipient's failure alone", async () => {
      const { store, addAccount } = use();
      const full = await addAccount({ quotaBytes: bytes.length - 1 });
      const free = await addAccount();
      const nobody = { ...free, account: accountId(free.account + 1_000_000) };
      const request = kit.deliverRequest([full, nobody, free], bytes);
      const outcomes = await store.deliver(request, never);
      expect(outcomes).toMatchObject([
        { ok: false, failure: { code: "OVER_QUOTA", limitBytes: bytes.length - 1 } },
        { ok: false, failure: { code: "NO_SUCH_ACCOUNT" } },
        { ok: true, uid: 1 },
      ]);
      expect((await open(store, full)).info.messages).toBe(0);
    });

    test("exactly the limit fits, one byte or message more doesn't; EXPUNGE makes room", async () => {
      const { store, addAccount } = use();
      for (const quota of [{ quotaBytes: 2 * bytes.length }, { quotaMessages: 2 }]) {
        const who = await addAccount(quota);
        await kit.append(store, who, "INBOX", bytes);
        await kit.deliver(store, who, bytes);
        expect(await codeOf(kit.append(store, who, "INBOX", bytes))).toBe("OVER_QUOTA");
        const inbox = await open(store, who);
        const copy = { ...change(), mailbox: inbox.info.id, uids: [1, 1], target: "INBOX" };
        expect(await codeOf(store.copy(who, copy, never))).toBe("OVER_QUOTA");
        expect(await codeOf(store.move(who, { ...copy, ...change() }, never))).toBe("none");
        await kit.setFlags(store, who, inbox.info.id, allUids, "add", ["\\Deleted"]);
        await kit.expunge(store, who, inbox.info.id);
        await kit.append(store, who, "INBOX", bytes);
        expect(await store.quota(who, never)).toEqual({
          usedBytes: bytes.length,
          usedMessages: 1,
          limitBytes: quota.quotaBytes ?? 0,
          limitMessages: quota.quotaMessages ?? 0,
        });
      }
    });

    test("an APPEND of several messages is stored whole or not at all", async () => {
      const { store, addAccount } = use();
      const who = await addAccount({ quotaMessages: 2 });
      const three = [bytes, bytes, bytes].map((each) => kit.appendMessage(each));
      const request = { ...change(), mailbox: "INBOX", messages: three };
      expect(await codeOf(store.append(who, request, never))).toBe("OVER_QUOTA");
      expect((await open(store, who)).info).toMatchObject({ messages: 0, uidNext: 1 });
      const two = { ...change(), mailbox: "INBOX", messages: three.slice(1) };
      expect((await store.append(who, two, never)).uids).toEqual([1, 2]);
    });

    test("deleting a mailbox gives its room back", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await store.createMailbox(who, { ...change(), name: "big" }, never);
      await kit.append(store, who, "big", bytes);
      await store.deleteMailbox(who, { ...change(), name: "big" }, never);
      expect(await store.quota(who, never)).toMatchObject({ usedBytes: 0, usedMessages: 0 });
    });

    test("concurrent deliveries never pass the limit", async () => {
      const { store, addAccount } = use();
      const who = await addAccount({ quotaMessages: 5 });
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, () => store.deliver(kit.deliverRequest([who], bytes), never)),
      );
      expect(outcomes.flat().filter(({ ok }) => ok)).toHaveLength(5);
      expect((await store.quota(who, never)).usedMessages).toBe(5);
    });
  });

  describe("the maildrop", () => {
    test("is held by one until its signal aborts", async () => {
      const { store, addAccount } = use();
      const [who, other] = [await addAccount(), await addAccount()];
      const holding = new AbortController();
      await store.lockMaildrop(who, holding.signal);
      expect(await codeOf(store.lockMaildrop(who, never))).toBe("IN_USE");
      await store.lockMaildrop(other, holding.signal);
      holding.abort();
      await expect
        .poll(() => codeOf(store.lockMaildrop(who, never)), { timeout: 5_000 })
        .toBe("none");
    });

    test("is taken over by its own holder, and let go by the last hold alone", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const holder = change().opId;
      const [first, second] = [new AbortController(), new AbortController()];
      await store.lockMaildrop(who, first.signal, undefined, holder);
      await store.lockMaildrop(who, second.signal, undefined, holder);
      first.abort();
      const other = change().opId;
      expect(await codeOf(store.lockMaildrop(who, never, undefined, other))).toBe("IN_USE");
      second.abort();
      await expect
        .poll(() => codeOf(store.lockMaildrop(who, never)), { timeout: 5_000 })
        .toBe("none");
    });

    test("is emptied by its holder, or by one whom nobody followed, never against another", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      for (let n = 0; n < 2; n++) await kit.deliver(store, who);
      const mailbox = (await open(store, who)).info.id;
      const [mine, other] = [change().opId, change().opId];
      const remove = (uid: number, maildrop: OpId) =>
        store.expunge(
          who,
          { ...change(), mailbox, uids: [uid, uid], force: true, maildrop },
          never,
        );
      const holding = new AbortController();
      await store.lockMaildrop(who, holding.signal, undefined, other);
      expect(await codeOf(remove(1, mine))).toBe("IN_USE");
      expect((await remove(1, other)).expunged).toEqual([1, 1]);
      holding.abort();
      await expect.poll(() => codeOf(remove(2, mine)), { timeout: 5_000 }).toBe("none");
      expect((await open(store, who)).info.messages).toBe(0);
    });
  });
}
