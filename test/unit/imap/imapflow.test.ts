// ImapFlow, a client that uses what a server announces (CONDSTORE, QRESYNC, LIST-STATUS, SPECIAL-USE,
// ESEARCH, IDLE, MOVE, LITERAL+), against the front-end over the fake store.

import { ImapFlow } from "imapflow";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startImap } from "../../../src/gateway/imap/listener.ts";
import type { Listener } from "../../../src/gateway/services.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { fakeServices } from "../../support/fake-services.ts";
import type { FakeServices } from "../../support/fake-services.ts";
import { addMessage, messages, seedAccount } from "./support.ts";

let services: FakeServices;
let who: Principal;
let listener: Listener;
let client: ImapFlow;

beforeEach(async () => {
  services = fakeServices();
  who = await seedAccount(services);
  listener = await startImap({ services, address: "127.0.0.1", port: 0, implicitTls: false });
  client = new ImapFlow({
    host: "127.0.0.1",
    port: listener.port,
    secure: false,
    doSTARTTLS: false,
    logger: false,
    qresync: true,
    auth: { user: "u1", pass: "secret" },
  });
  await client.connect();
});
afterEach(async () => {
  await client.logout();
  await listener.close(AbortSignal.abort());
});

describe("imapflow", () => {
  test("lists mailboxes with special uses and status", async () => {
    const list = await client.list({ statusQuery: { messages: true, unseen: true } });
    const inbox = list.find(({ path }) => path === "INBOX");
    expect(inbox?.status).toMatchObject({ messages: 3, unseen: 2 });
    const uses = list.flatMap(({ specialUse }) => (specialUse === undefined ? [] : [specialUse]));
    expect(uses.sort()).toEqual(
      ["\\Archive", "\\Drafts", "\\Inbox", "\\Junk", "\\Sent", "\\Trash"].sort(),
    );
  });

  test("reads envelopes, structures and bodies", async () => {
    await client.mailboxOpen("INBOX");
    const found = await client.fetchAll("1:*", {
      uid: true,
      flags: true,
      envelope: true,
      bodyStructure: true,
      size: true,
      source: true,
    });
    expect(found.map(({ uid }) => uid)).toEqual([1, 2, 3]);
    expect(found.map(({ source }) => source?.toString())).toEqual(messages.map(({ text }) => text));
    expect(found[2]?.envelope?.subject).toBe("우리네 파발");
    expect(found[2]?.envelope?.from?.[0]).toEqual({ name: "홍길동", address: "hong@example.kr" });
    expect(found[1]?.bodyStructure?.childNodes?.length).toBe(2);
    expect([...(found[2]?.flags ?? [])]).toContain("$Forwarded");
  });

  test("searches, flags, copies, moves and deletes", async () => {
    await client.mailboxOpen("INBOX");
    expect(await client.search({ body: "파발" }, { uid: true })).toEqual([3]);
    expect(await client.search({ seen: false }, { uid: true })).toEqual([2, 3]);
    expect(await client.messageFlagsAdd("2", ["\\Flagged"], { uid: true })).toBe(true);
    expect(await client.search({ flagged: true }, { uid: true })).toEqual([2, 3]);
    const copied = await client.messageCopy("1:2", "Archive", { uid: true });
    expect(copied).toMatchObject({ destination: "Archive" });
    const moved = await client.messageMove("3", "Trash", { uid: true });
    expect(moved !== false && moved.uidMap?.get(3)).toBe(1);
    expect(await client.messageDelete("1", { uid: true })).toBe(true);
    expect((await client.fetchAll("1:*", { uid: true })).map(({ uid }) => uid)).toEqual([2]);
    expect(await client.status("Archive", { messages: true })).toMatchObject({ messages: 2 });
  });

  test("appends, and makes, renames and deletes mailboxes with Korean names", async () => {
    expect(await client.mailboxCreate("보관/올해")).toMatchObject({
      path: "보관/올해",
      created: true,
    });
    const text = "Subject: hi\r\n\r\nhello\r\n";
    const appended = await client.append("보관/올해", text, ["\\Seen"], new Date(0));
    expect(appended).toMatchObject({ destination: "보관/올해", uid: 1 });
    await client.mailboxRename("보관/올해", "보관/작년");
    expect(await client.status("보관/작년", { messages: true, unseen: true })).toMatchObject({
      messages: 1,
      unseen: 0,
    });
    await client.mailboxDelete("보관/작년");
    const paths = (await client.list()).map(({ path }) => path);
    expect(paths).not.toContain("보관/작년");
  });

  test("learns of new mail while idle, within 50 ms", async () => {
    await client.mailboxOpen("INBOX");
    const idling = client.idle();
    const exists = new Promise<{ count: number; atMs: number }>((resolve) => {
      client.on("exists", ({ count }: { count: number }) =>
        resolve({ count, atMs: performance.now() }),
      );
    });
    const flags = new Promise<number>((resolve) => {
      client.on("flags", ({ seq }: { seq: number }) => resolve(seq));
    });
    await client.noop();
    const again = client.idle();
    await expect.poll(() => services.store.accounts.get(who.account)?.watchers.size).toBe(1);
    const startedMs = performance.now();
    await addMessage(services, who, "INBOX", "Subject: new\r\n\r\n");
    const told = await exists;
    expect(told.count).toBe(4);
    // Some milliseconds; the rest is for a busy test machine.
    expect(told.atMs - startedMs).toBeLessThan(1000);
    await services.store.store(
      who,
      {
        opId: services.nextOpId(),
        retry: false,
        mailbox: (await services.store.mailboxStatus(who, "INBOX", AbortSignal.timeout(1000))).id,
        uids: [1, 1],
        mode: "add",
        flags: ["\\Flagged"],
      },
      AbortSignal.timeout(1000),
    );
    expect(await flags).toBe(1);
    await client.noop();
    await Promise.all([idling, again]);
  });

  test("tells the quota", async () => {
    services.store.updateAccount(who.account, { quotaBytes: 1024 * 1024, quotaMessages: 100 });
    const quota = await client.getQuota("INBOX");
    expect(quota).toMatchObject({ path: "INBOX", storage: { limit: 1024 * 1024 } });
  });
});
