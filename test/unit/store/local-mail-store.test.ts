import { Buffer } from "node:buffer";
import { describe, expect, it } from "vitest";
import { allUids } from "../../../src/mail/uid-set.ts";
import { addAccount, change, delivery, fetched, makeStore, message, never } from "./harness.ts";

describe("a local mail store", () => {
  it("refuses an account that does not exist", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const other = { ...who, account: (await addAccount(makeStore())).account };
    await expect(harness.store.listMailboxes(other)).rejects.toMatchObject({
      code: "NO_SUCH_ACCOUNT",
    });
  });

  it("gives a new account its mailboxes with special uses", async () => {
    const harness = makeStore();
    const { mailboxes } = await harness.store.listMailboxes(await addAccount(harness));
    expect(mailboxes.map(({ name, specialUse }) => [name, specialUse])).toEqual([
      ["Archive", "\\Archive"],
      ["Drafts", "\\Drafts"],
      ["INBOX", undefined],
      ["Junk", "\\Junk"],
      ["Sent", "\\Sent"],
      ["Trash", "\\Trash"],
    ]);
  });

  it("delivers, opens and fetches", async () => {
    const harness = makeStore();
    const { store } = harness;
    const a = await addAccount(harness);
    const b = await addAccount(harness);
    const bytes = message("one");
    const outcomes = await store.deliver(delivery([a, b], bytes), never);
    expect(outcomes.map(({ ok }) => ok)).toEqual([true, true]);
    const open = await store.openMailbox(b, { name: "inbox", claimRecent: true });
    expect([...open.uids]).toEqual([1]);
    expect(open).toMatchObject({ recentFrom: 1, firstUnseen: 1, info: { messages: 1, recent: 1 } });
    const request = {
      mailbox: open.info.id,
      uids: allUids,
      items: { flags: true, size: true, sections: [{ path: [], kind: "body", label: "BODY[]" }] },
    } as const;
    expect([...(await fetched(store.fetch(b, request, never)))]).toEqual([
      [
        1,
        `UID 1 FLAGS () RFC822.SIZE ${bytes.length} BODY[] {${bytes.length}}\r\n${Buffer.from(bytes).toString()}`,
      ],
    ]);
    expect(change().retry).toBe(false);
  });
});
