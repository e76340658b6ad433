// Mailboxes by name: create, delete, rename, subscribe, list. RFC 9051 §6.3

import { describe, expect, test } from "vitest";
import type { MailboxInfo, MailStore, Principal } from "../../src/mail/mail-store.ts";
import type { Fixture } from "./mail-store.ts";
import * as kit from "./mail-store-kit.ts";
import { again, change, codeOf, never, open } from "./mail-store-kit.ts";

const badNames: readonly (readonly [string, string])[] = [
  ["empty", ""],
  ["an empty level", "a//b"],
  ["a leading delimiter", "/a"],
  ["NUL", "a\0b"],
  ["a line end", "a\r\nb"],
  ["DEL", "a\u007fb"],
  ["a lone surrogate", "a\ud800b"],
  ["a level over 255 bytes", "가".repeat(86)],
  ["33 levels", Array.from({ length: 33 }, () => "a").join("/")],
];

export function mailboxTests(use: Fixture): void {
  describe("mailboxes", () => {
    test.each(badNames)("a name with %s is refused everywhere", async (_, name) => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await create(store, who, "fine");
      expect(await codeOf(create(store, who, name))).toBe("BAD_MAILBOX_NAME");
      expect(await codeOf(rename(store, who, "fine", name))).toBe("BAD_MAILBOX_NAME");
      expect(await codeOf(subscribe(store, who, name, true))).toBe("BAD_MAILBOX_NAME");
      expect(await codeOf(open(store, who, name))).toBe("NO_SUCH_MAILBOX");
      expect(await codeOf(remove(store, who, name))).toBe("NO_SUCH_MAILBOX");
    });

    test("the longest names are fine: 32 levels, 255 bytes a level", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const deep = Array.from({ length: 32 }, () => "b").join("/");
      const wide = "가".repeat(85);
      expect((await create(store, who, deep)).name).toBe(deep);
      expect((await create(store, who, wide)).name).toBe(wide);
      expect(await codeOf(rename(store, who, "b", `${wide}/b`))).toBe("BAD_MAILBOX_NAME");
    });

    test("names that are not there", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      expect(await codeOf(open(store, who, "none"))).toBe("NO_SUCH_MAILBOX");
      expect(await codeOf(store.mailboxStatus(who, "none", never))).toBe("NO_SUCH_MAILBOX");
      expect(await codeOf(remove(store, who, "none"))).toBe("NO_SUCH_MAILBOX");
      expect(await codeOf(rename(store, who, "none", "some"))).toBe("NO_SUCH_MAILBOX");
      expect(await codeOf(kit.append(store, who, "none"))).toBe("NO_SUCH_MAILBOX");
    });

    test("INBOX is there in any case, is made by nobody and deleted by nobody", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      expect((await open(store, who, "inBox")).info.name).toBe("INBOX");
      expect(await codeOf(create(store, who, "Inbox"))).toBe("MAILBOX_EXISTS");
      expect(await codeOf(remove(store, who, "inbox"))).toBe("BAD_MAILBOX_NAME");
    });

    test("names are kept in NFC: both forms are one mailbox", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const name = "받은 편지/é";
      expect((await create(store, who, name.normalize("NFD"))).name).toBe(name.normalize("NFC"));
      expect(await codeOf(create(store, who, name))).toBe("MAILBOX_EXISTS");
      expect((await open(store, who, name.normalize("NFD"))).info.name).toBe(name);
      expect(await codeOf(create(store, who, "받은 편지/É"))).toBe("none"); // Case counts.
    });

    test("a new mailbox is empty and unsubscribed, with its special use", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const request = { ...change(), name: "Flagged ones", specialUse: "\\Flagged" };
      const made = await store.createMailbox(who, request, never);
      expect(made).toMatchObject({
        name: "Flagged ones",
        selectable: true,
        subscribed: false,
        specialUse: "\\Flagged",
        uidNext: 1,
        messages: 0,
        unseen: 0,
        deleted: 0,
        recent: 0,
        sizeBytes: 0,
      });
      expect(await listed(store, who, "Flagged ones")).toEqual(made);
      expect(await store.mailboxStatus(who, "Flagged ones", never)).toEqual(made);
    });

    test("superior names are there without being mailboxes", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await create(store, who, "a/b/c");
      expect(await listed(store, who, "a")).toMatchObject({ id: 0, selectable: false });
      expect(await listed(store, who, "a/b")).toMatchObject({ id: 0, selectable: false });
      expect(await codeOf(open(store, who, "a"))).toBe("NO_SUCH_MAILBOX");
      expect(await codeOf(remove(store, who, "a/b"))).toBe("MAILBOX_HAS_CHILDREN");
      expect((await create(store, who, "a/b")).selectable).toBe(true);
      expect(await codeOf(create(store, who, "a/b"))).toBe("MAILBOX_EXISTS");
    });

    test("a deleted mailbox with children stays as a name; made anew it is another one", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const before = await create(store, who, "p");
      await kit.append(store, who, "p");
      await create(store, who, "p/child");
      await remove(store, who, "p");
      expect(await listed(store, who, "p")).toMatchObject({ id: 0, selectable: false });
      expect(await listed(store, who, "p/child")).toMatchObject({ selectable: true });
      const after = await create(store, who, "p");
      expect(after.uidValidity).toBeGreaterThan(before.uidValidity);
      expect(after.id).not.toBe(before.id);
      expect(after.messages).toBe(0);
    });

    test("RENAME takes children along and changes nothing else", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const parent = await create(store, who, "x/old");
      const child = await create(store, who, "x/old/child");
      const neighbour = await create(store, who, "x/older");
      await kit.append(store, who, "x/old/child");
      await rename(store, who, "x/old", "y/new");
      expect(await names(store, who, "x")).toEqual(["x", "x/older"]);
      expect(await names(store, who, "y")).toEqual(["y", "y/new", "y/new/child"]);
      const moved = await listed(store, who, "y/new/child");
      expect(moved).toMatchObject({ id: child.id, uidValidity: child.uidValidity, messages: 1 });
      expect(await listed(store, who, "y/new")).toMatchObject({ id: parent.id });
      expect(await listed(store, who, "x/older")).toMatchObject({ id: neighbour.id });
      // The open mailbox goes on under its new name.
      expect(await codeOf(kit.setFlags(store, who, child.id, [1, 1], "add", ["\\Seen"]))).toBe(
        "none",
      );
    });

    test("RENAME is refused where a name would be in the way, and then nothing has moved", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      for (const name of ["m", "m/one", "m/two", "n", "t/two"]) await create(store, who, name);
      const before = await names(store, who, "");
      expect(await codeOf(rename(store, who, "m", "n"))).toBe("MAILBOX_EXISTS");
      expect(await codeOf(rename(store, who, "m", "m"))).toBe("MAILBOX_EXISTS");
      expect(await codeOf(rename(store, who, "m", "inbox"))).toBe("MAILBOX_EXISTS");
      expect(await codeOf(rename(store, who, "m", "t"))).toBe("MAILBOX_EXISTS");
      expect(await codeOf(rename(store, who, "m", "m/below"))).toBe("BAD_MAILBOX_NAME");
      expect(await names(store, who, "")).toEqual(before);
    });

    test("a name without a mailbox can be renamed with what is below it", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await create(store, who, "q/one");
      await rename(store, who, "q", "r");
      expect(await names(store, who, "r")).toEqual(["r", "r/one"]);
      expect(await names(store, who, "q")).toEqual([]);
    });

    test("RENAME INBOX moves its messages and leaves it empty, with its UIDs used up and its children", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await kit.append(store, who, "INBOX", kit.message("one"), { flags: ["\\Seen", "work"] });
      await kit.deliver(store, who, kit.message("two"));
      await create(store, who, "INBOX/child");
      const before = await open(store, who);
      await rename(store, who, "inbox", "old mail");
      const inbox = await open(store, who);
      expect(inbox.info).toMatchObject({
        id: before.info.id,
        uidValidity: before.info.uidValidity,
        uidNext: 3,
        messages: 0,
        sizeBytes: 0,
      });
      expect(inbox.info.highestModSeq).toBeGreaterThan(before.info.highestModSeq);
      expect(await listed(store, who, "INBOX/child")).toBeDefined();
      const moved = await open(store, who, "old mail");
      expect(moved.info).toMatchObject({ messages: 2, unseen: 1 });
      expect(moved.info.uidValidity).not.toBe(before.info.uidValidity);
      expect(Object.values(await kit.flagsOf(store, who, moved.info.id))).toEqual([
        ["\\Seen", "work"],
        [],
      ]);
    });

    test("a subscription outlives its mailbox and comes and goes with SUBSCRIBE alone", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await create(store, who, "s");
      await subscribe(store, who, "s", true);
      expect(await listed(store, who, "s")).toMatchObject({ subscribed: true });
      await remove(store, who, "s");
      expect(await orphans(store, who)).toEqual(["s"]);
      await create(store, who, "s");
      expect(await listed(store, who, "s")).toMatchObject({ subscribed: true });
      expect(await orphans(store, who)).toEqual([]);
      await subscribe(store, who, "s", false);
      expect(await listed(store, who, "s")).toMatchObject({ subscribed: false });
      await subscribe(store, who, "never/made", true);
      expect(await orphans(store, who)).toEqual(["never/made"]);
      await subscribe(store, who, "never/made", false);
      expect(await orphans(store, who)).toEqual([]);
    });

    test("asked again with the same operation, each change says what it said and happens once", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const making = { ...change(), name: "once" };
      const made = await store.createMailbox(who, making, never);
      expect((await store.createMailbox(who, again(making), never)).id).toBe(made.id);
      const renaming = { ...change(), from: "once", to: "twice" };
      await store.renameMailbox(who, renaming, never);
      await store.renameMailbox(who, again(renaming), never);
      expect(await listed(store, who, "twice")).toMatchObject({ id: made.id });
      const deleting = { ...change(), name: "twice" };
      await store.deleteMailbox(who, deleting, never);
      const another = await create(store, who, "twice");
      await store.deleteMailbox(who, again(deleting), never);
      expect(await listed(store, who, "twice")).toMatchObject({ id: another.id });
    });

    test("of many who create one name at once, one does", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const codes = await Promise.all(
        Array.from({ length: 8 }, () => codeOf(create(store, who, "race"))),
      );
      expect(codes.filter((code) => code === "none")).toHaveLength(1);
      expect(codes.filter((code) => code === "MAILBOX_EXISTS")).toHaveLength(7);
    });
  });
}

function create(store: MailStore, who: Principal, name: string): Promise<MailboxInfo> {
  return store.createMailbox(who, { ...change(), name }, never);
}

function remove(store: MailStore, who: Principal, name: string): Promise<void> {
  return store.deleteMailbox(who, { ...change(), name }, never);
}

function rename(store: MailStore, who: Principal, from: string, to: string): Promise<void> {
  return store.renameMailbox(who, { ...change(), from, to }, never);
}

function subscribe(
  store: MailStore,
  who: Principal,
  name: string,
  subscribed: boolean,
): Promise<void> {
  return store.setSubscribed(who, { ...change(), name, subscribed }, never);
}

async function listed(
  store: MailStore,
  who: Principal,
  name: string,
): Promise<MailboxInfo | undefined> {
  const { mailboxes } = await store.listMailboxes(who, never);
  const found = mailboxes.filter((each) => each.name === name);
  expect(found.length).toBeLessThanOrEqual(1);
  return found[0];
}

/** Names that start so, sorted. */
async function names(store: MailStore, who: Principal, start: string): Promise<readonly string[]> {
  const { mailboxes } = await store.listMailboxes(who, never);
  return mailboxes
    .map(({ name }) => name)
    .filter((name) => name.startsWith(start))
    .sort();
}

async function orphans(store: MailStore, who: Principal): Promise<readonly string[]> {
  return (await store.listMailboxes(who, never)).orphanSubscriptions;
}
