// What dialogues can't say of extensions: bombs and large answers under COMPRESS, INPROGRESS while a
// command takes long, an overflow of NOTIFY, large messages of CATENATE.

import { constants, deflateRawSync } from "node:zlib";
import { afterEach, describe, expect, test } from "vitest";
import type { ImapLimits } from "../../../src/gateway/imap/limits.ts";
import type { Listener } from "../../../src/gateway/services.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import type { FakeServices } from "../../support/fake-services.ts";
import { LineClient } from "../../support/line-client.ts";
import { addMessage } from "./support.ts";
import { loggedIn, startTestImap } from "./test-imap.ts";

let services: FakeServices;
let who: Principal;
let listener: Listener | undefined;

afterEach(async () => {
  await listener?.close(AbortSignal.abort());
  listener = undefined;
});

async function start(limits: Partial<ImapLimits> = {}): Promise<number> {
  const started = await startTestImap({ limits, limitExempt: () => false });
  ({ services, who, listener } = started);
  return started.port;
}

async function compressed(port: number): Promise<LineClient> {
  const client = await loggedIn(port);
  client.send("c COMPRESS DEFLATE\r\n");
  await client.skipTo("c OK");
  return client;
}

describe("COMPRESS", () => {
  test("a bomb ends its own session with BYE, and nobody else's", async () => {
    const port = await start();
    const other = await compressed(port);
    other.startDeflate();
    const client = await compressed(port);
    const text = Buffer.alloc(32 * 1024 * 1024, `t NOOP${" ".repeat(1000)}\r\n`);
    client.send(deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH }));
    client.startInflate();
    expect(await client.skipTo("* BYE")).toBe("* BYE The compressed data grows too much");
    await client.readEnd();
    other.send("a NOOP\r\n");
    expect(await other.readLine()).toBe("a OK NOOP completed");
    other.close();
  });

  test("what is no deflate data ends the session", async () => {
    const client = await compressed(await start());
    client.send("a NOOP\r\n");
    client.startInflate();
    expect(await client.skipTo("* BYE")).toBe("* BYE The compressed data is broken");
    await client.readEnd();
  });

  test("large messages come and go as they are, and many commands in one piece", async () => {
    const port = await start();
    const client = await compressed(port);
    client.startDeflate();
    const lines = Array.from({ length: 200_000 }, (_, at) => `line ${at * 7919}`).join("\r\n");
    const message = Buffer.from(`Subject: large\r\n\r\n${lines}\r\n`);
    client.send(`a APPEND INBOX {${message.length}+}\r\n`);
    client.send(message);
    client.send("\r\nb SELECT INBOX\r\nd FETCH 4 BODY.PEEK[]\r\n");
    expect(await client.skipTo("a ")).toMatch(/^a OK \[APPENDUID \d+ 4\]/);
    await client.skipTo("b OK");
    expect(await client.readLine()).toBe(`* 4 FETCH (BODY[] {${message.length}}`);
    expect((await client.readBytes(message.length)).equals(message)).toBe(true);
    expect(await client.readLine()).toBe(")");
    expect(await client.readLine()).toBe("d OK FETCH completed");
    const tags = Array.from({ length: 3000 }, (_, at) => `t${at}`);
    client.send(tags.map((tag) => `${tag} NOOP\r\n`).join(""));
    for (const tag of tags) expect(await client.readLine()).toBe(`${tag} OK NOOP completed`);
    client.close();
  });
});

test("UNAUTHENTICATE gives the user's connection back", async () => {
  const port = await start({ connectionsPerUserMax: 1 });
  const first = await loggedIn(port);
  const second = await LineClient.connect({ port });
  second.send("a LOGIN u1 secret\r\n");
  expect(await second.skipTo("a ")).toMatch(/^a NO \[LIMIT\]/);
  first.send("u UNAUTHENTICATE\r\n");
  await first.skipTo("u OK");
  second.send("b LOGIN u1 secret\r\n");
  expect(await second.skipTo("b ")).toMatch(/^b OK/);
  first.close();
  second.close();
});

test("INPROGRESS is told while a COPY takes long, and not afterwards", async () => {
  const port = await start({ inProgressMs: 10 });
  const client = await loggedIn(port);
  client.send("y SELECT INBOX\r\n");
  await client.skipTo("y OK");
  let finish: () => void = () => {};
  const held = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const copy = services.store.copy.bind(services.store);
  services.store.copy = async (...args) => {
    await held;
    return copy(...args);
  };
  client.send('a"b COPY 1 Sent\r\na COPY 1 Sent\r\n');
  expect(await client.readLine()).toMatch(/BAD/);
  expect(await client.readLine()).toBe('* OK [INPROGRESS ("a" NIL NIL)] Still at work');
  finish();
  expect(await client.skipTo("a OK")).toMatch(/COPYUID/);
  client.close();
});

test("NOTIFY: more mailboxes than can be told at once are an overflow, and then silence", async () => {
  const port = await start({ notifyMailboxesMax: 2 });
  const client = await loggedIn(port);
  client.send("a CREATE f/1\r\nb CREATE f/2\r\nc CREATE f/3\r\n");
  await client.skipTo("c OK");
  client.send("d NOTIFY SET (PERSONAL (MessageNew MessageExpunge MailboxName))\r\n");
  await client.skipTo("d OK");
  const other = await loggedIn(port);
  other.send("a RENAME f g\r\n");
  await other.skipTo("a OK");
  expect(await client.readLine()).toMatch(/^\* OK \[NOTIFICATIONOVERFLOW\] /);
  await addMessage(services, who, "Sent", "x: 1\r\n\r\n");
  client.send("e NOOP\r\n");
  expect(await client.readLine()).toBe("e OK NOOP completed");
  client.close();
  other.close();
});

test("NOTIFY tells nothing in the middle of a command's answer", async () => {
  const port = await start();
  const text = `x: 1\r\n\r\n${"y".repeat(100_000)}\r\n`;
  await addMessage(services, who, "INBOX", text);
  const client = await loggedIn(port);
  client.send("y SELECT INBOX\r\nn NOTIFY SET (SELECTED (MessageNew MessageExpunge FlagChange)) ");
  client.send("(PERSONAL (MessageNew MessageExpunge FlagChange))\r\n");
  await client.skipTo("n OK");
  for (let round = 0; round < 20; round++) {
    client.send(`f${round} FETCH 4 BODY.PEEK[TEXT]\r\n`);
    await addMessage(services, who, round % 2 === 0 ? "INBOX" : "Sent", "z: 1\r\n\r\n");
    await client.skipTo("* 4 FETCH (BODY[TEXT] {100002}");
    expect((await client.readBytes(100_002)).toString()).toBe(text.slice(8));
    expect(await client.readLine()).toBe(")");
    await client.skipTo(`f${round} OK`);
  }
  client.close();
});

test.each([10, 1000, 1_000_000])("CATENATE with %i bytes in memory", async (inlineBytesMax) => {
  const port = await start({ inlineBytesMax });
  await addMessage(services, who, "Sent", `a: b\r\n\r\n${"0123456789".repeat(20_000)}`);
  const client = await loggedIn(port);
  client.send('a APPEND Drafts CATENATE (TEXT {3+}\r\nh:  URL "/Sent/;UID=1" TEXT {3+}\r\n');
  client.send('end URL "/Sent/;UID=1/;section=TEXT")\r\n');
  expect(await client.skipTo("a ")).toMatch(/^a OK \[APPENDUID/);
  client.send("b SELECT Drafts\r\nc FETCH 1 BODY.PEEK[]\r\n");
  await client.skipTo("* 1 FETCH (BODY[] {400014}");
  const digits = "0123456789".repeat(20_000);
  expect((await client.readBytes(400_014)).toString()).toBe(`h: a: b\r\n\r\n${digits}end${digits}`);
  client.close();
});

test("a mailbox of others shows the rights that the store says, and keeps the flags they allow", async () => {
  const port = await start();
  const { store } = services;
  const mailboxStatus = store.mailboxStatus.bind(store);
  const openMailbox = store.openMailbox.bind(store);
  const rights = "lrste";
  store.mailboxStatus = async (...args) => ({
    ...(await mailboxStatus(...args)),
    rights,
  });
  store.openMailbox = async (...args) => {
    const open = await openMailbox(...args);
    return { ...open, info: { ...open.info, rights } };
  };
  const client = await loggedIn(port);
  client.send(
    "a MYRIGHTS Sent\r\nb GETACL Sent\r\nc LISTRIGHTS Sent u1\r\nd SETACL Sent u2 lr\r\n",
  );
  expect(await client.readLine()).toBe('* MYRIGHTS "Sent" lrsted');
  expect(await client.readLine()).toBe("a OK MYRIGHTS completed");
  for (const tag of ["b", "c", "d"])
    expect(await client.readLine()).toContain(`${tag} NO [NOPERM]`);
  client.send("e SELECT Sent\r\n");
  const flags = await client.skipTo("* OK [PERMANENTFLAGS");
  expect(flags).toBe("* OK [PERMANENTFLAGS (\\Deleted \\Seen)] Kept for ever");
  client.close();
});

test("QUOTA: no root without limits, and exact figures with them", async () => {
  const port = await start();
  const client = await loggedIn(port);
  client.send('a GETQUOTA ""\r\nb GETQUOTAROOT INBOX\r\n');
  expect(await client.readLine()).toBe("a NO [NONEXISTENT] There is no such quota root");
  expect(await client.readLine()).toBe('* QUOTAROOT "INBOX"');
  expect(await client.readLine()).toBe("b OK GETQUOTAROOT completed");
  services.store.updateAccount(who.account, { quotaBytes: 10_240, quotaMessages: 7 });
  client.send('c GETQUOTAROOT INBOX\r\nd GETQUOTA ""\r\n');
  expect(await client.readLine()).toBe('* QUOTAROOT "INBOX" ""');
  for (const tag of ["c OK GETQUOTAROOT", "d OK GETQUOTA"]) {
    expect(await client.readLine()).toBe('* QUOTA "" (STORAGE 1 10 MESSAGE 3 7)');
    expect(await client.readLine()).toBe(`${tag} completed`);
  }
  client.close();
});
