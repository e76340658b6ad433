// Annotations (RFC 5464) and messages that replace others (RFC 8508): limits first, all or none,
// what becomes of them with RENAME and DELETE, repeated requests.

import { describe, expect, test } from "vitest";
import { modSeq, uid } from "../../src/mail/ids.ts";
import type { MailboxId } from "../../src/mail/ids.ts";
import type { Annotation, MailStore, Principal } from "../../src/mail/mail-store.ts";
import { allUids } from "../../src/mail/uid-set.ts";
import type { Fixture } from "./mail-store.ts";
import * as kit from "./mail-store-kit.ts";
import { again, change, codeOf, never, open } from "./mail-store-kit.ts";

const comment = "/private/comment";

export function annotationTests(use: Fixture): void {
  describe("annotations", () => {
    test("what is too much is refused as a whole, and removing is always possible", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const large = new Uint8Array(32 * 1024 + 1);
      const most = large.subarray(1);
      expect(await codeOf(set(store, who, "none", { [comment]: "x" }))).toBe("NO_SUCH_MAILBOX");
      const both = { [comment]: "x", "/private/large": large };
      expect(await codeOf(set(store, who, "INBOX", both))).toBe("LIMIT");
      expect(await get(store, who, "INBOX")).toEqual({});
      const many = Object.fromEntries(
        Array.from({ length: 256 }, (_, at) => [`/private/${at}`, ""]),
      );
      await set(store, who, "INBOX", many);
      expect(await codeOf(set(store, who, "INBOX", { [comment]: "x" }))).toBe("LIMIT");
      await set(store, who, "INBOX", { "/private/7": undefined });
      await set(store, who, "INBOX", { [comment]: "x" });
      // 31 of 32 KiB each leave some room in the account's megabyte, and the next has none.
      for (let at = 0; at < 31; at++) await set(store, who, "", { [`/private/${at}`]: most });
      expect(await codeOf(set(store, who, "Sent", { [comment]: most }))).toBe("LIMIT");
      await set(store, who, "", { "/private/0": undefined });
      await set(store, who, "Sent", { [comment]: most });
    });

    test("they are the account's own, of the server and of mailboxes, any bytes", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const other = await addAccount();
      const bytes = Uint8Array.of(0, 255, 13, 10);
      await set(store, who, "", { [comment]: "mine", "/private/empty": "" });
      await set(store, who, "inbox", { [comment]: bytes, "/shared/comment": "글" });
      expect(await get(store, who, "")).toEqual({ [comment]: "mine", "/private/empty": "" });
      expect(await store.annotations(who, { mailbox: "INBOX" }, never)).toEqual([
        {
          mailbox: "INBOX",
          annotations: [
            { entry: comment, value: bytes },
            { entry: "/shared/comment", value: Uint8Array.from(Buffer.from("글")) },
          ],
        },
      ]);
      expect(names(await store.annotations(who, { mailbox: undefined }, never))).toEqual([
        "",
        "INBOX",
      ]);
      expect(await store.annotations(other, { mailbox: undefined }, never)).toEqual([]);
      expect(await codeOf(store.annotations(who, { mailbox: "none" }, never))).toBe(
        "NO_SUCH_MAILBOX",
      );
    });

    test("they move with RENAME, go with DELETE, and a new mailbox has none", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await create(store, who, "a/b");
      await set(store, who, "a/b", { [comment]: "x" });
      await store.renameMailbox(who, { ...change(), from: "a", to: "c" }, never);
      expect(await get(store, who, "c/b")).toEqual({ [comment]: "x" });
      await store.deleteMailbox(who, { ...change(), name: "c/b" }, never);
      await create(store, who, "c/b");
      expect(await get(store, who, "c/b")).toEqual({});
      expect(await store.annotations(who, { mailbox: undefined }, never)).toEqual([]);
    });

    test("the same request again changes nothing", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const value = Buffer.from("first");
      const request = { ...change(), mailbox: "INBOX", entries: [{ entry: comment, value }] };
      await store.annotate(who, request, never);
      await set(store, who, "INBOX", { [comment]: "second" });
      await store.annotate(who, again(request), never);
      expect(await get(store, who, "INBOX")).toEqual({ [comment]: "second" });
    });
  });

  describe("a message that replaces another", () => {
    test("one that is gone is no more replaced, and nothing is stored", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const { info } = await open(store, who, "Drafts");
      const request = replacing("Drafts", info.id, 7);
      expect(await codeOf(store.append(who, request, never))).toBe("INVALID");
      expect((await open(store, who, "Drafts")).info.messages).toBe(0);
    });

    test.each(["Drafts", "Sent"])("from Drafts to %s, in one change", async (target) => {
      const { store, addAccount } = use();
      const bytes = kit.message("old", "much longer than what comes\r\n");
      const who = await addAccount({ quotaBytes: bytes.length + 10, quotaMessages: 1 });
      const old = await kit.append(store, who, "Drafts", bytes);
      const before = (await open(store, who, target)).info;
      const request = replacing(target, old.mailbox, old.uids[0] ?? 0);
      const outcome = await store.append(who, request, never);
      expect(outcome.uids).toEqual([before.uidNext]);
      expect((await open(store, who, target)).uids).toEqual(Uint32Array.from(outcome.uids));
      const drafts = (await open(store, who, "Drafts")).info;
      expect(drafts.messages).toBe(target === "Drafts" ? 1 : 0);
      expect(outcome.highestModSeq).toBe(drafts.highestModSeq);
      const since = { mailbox: old.mailbox, sinceModSeq: modSeq(2), knownUidNext: 2 };
      expect((await store.changes(who, since, never)).vanished).toEqual([1, 1]);
      expect((await store.quota(who, never)).usedMessages).toBe(1);
      // A lost answer is asked for again, and found.
      expect(await store.append(who, again(request), never)).toEqual(outcome);
      expect((await open(store, who, target)).info.messages).toBe(1);
      const items = { size: true };
      const all = { mailbox: outcome.mailbox, uids: allUids, items };
      let count = 0;
      for await (const { uids } of store.fetch(who, all, never)) count += uids.length;
      expect(count).toBe(1);
    });
  });
}

function replacing(mailbox: string, from: MailboxId, old: number) {
  const messages = [kit.appendMessage(kit.message("new"))];
  return { ...change(), mailbox, messages, replaces: { mailbox: from, uid: uid(old) } };
}

function set(
  store: MailStore,
  who: Principal,
  mailbox: string,
  values: Readonly<Record<string, string | Uint8Array | undefined>>,
): Promise<void> {
  const entries = Object.entries(values).map(([entry, value]) => ({
    entry,
    value: typeof value === "string" ? Buffer.from(value) : value,
  }));
  return store.annotate(who, { ...change(), mailbox, entries }, never);
}

async function get(
  store: MailStore,
  who: Principal,
  mailbox: string,
): Promise<Readonly<Record<string, string>>> {
  const [found] = await store.annotations(who, { mailbox }, never);
  const text = ({ entry, value }: Annotation) => [entry, Buffer.from(value).toString()] as const;
  return Object.fromEntries((found?.annotations ?? []).map(text));
}

function names(all: readonly { readonly mailbox: string }[]): readonly string[] {
  return all.map(({ mailbox }) => mailbox);
}

async function create(store: MailStore, who: Principal, name: string): Promise<void> {
  await store.createMailbox(who, { ...change(), name }, never);
}
