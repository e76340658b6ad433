// A POP3 session whose node goes away and comes back: messages go on in the middle, QUIT deletes once,
// and a maildrop that is another's or another one ends the session with nothing deleted.

import { afterEach, beforeEach, expect, test } from "vitest";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { LineClient } from "../../support/line-client.ts";
import { startPop3Server } from "../../support/pop3-server.ts";
import type { Pop3Server } from "../../support/pop3-server.ts";
import type { FakeMailbox } from "../../support/fake/account.ts";
import type { MemoryPeer } from "../node/memory-links.ts";
import { closeWorlds, world } from "../node/routed-world.ts";

const never = new AbortController().signal;
const long = `Subject: long\r\n\r\n${"0123456789abcdef\r\n".repeat(20_000)}`;
let server: Pop3Server;
let peer: MemoryPeer;
let client: LineClient;
let who: Principal;

beforeEach(async () => {
  const messages = ["Subject: one\r\n\r\n1\r\n", long, "Subject: three\r\n\r\n3\r\n"];
  server = await startPop3Server({
    messages,
    wrapStore: async (store) => {
      const running = await world(5000, store);
      ({ peer } = running);
      return running.routed;
    },
  });
  ({ who } = server);
  client = await LineClient.connect({ port: server.port });
  await client.readLine();
  await say("USER u1");
  expect(await say("PASS secret")).toMatch(/^\+OK 3 /);
});
afterEach(async () => {
  client.close();
  await server.close();
  await closeWorlds();
});

async function say(line: string): Promise<string> {
  client.send(`${line}\r\n`);
  return client.readLine();
}

function inbox(): FakeMailbox {
  const account = server.services.store.accounts.get(who.account);
  const found = [...(account?.mailboxes.values() ?? [])].find(({ name }) => name === "INBOX");
  if (found === undefined) throw new Error("no INBOX");
  return found;
}

async function retrieve(number: number): Promise<string> {
  expect(await say(`RETR ${number}`)).toMatch(/^\+OK/);
  let text = "";
  for (let line = await client.readLine(); line !== "."; line = await client.readLine()) {
    text += `${line}\r\n`;
  }
  return text;
}

test("RETR goes on in the middle of a message, even when that was expunged meanwhile", async () => {
  const { store } = server.services;
  const readMessage = store.readMessage.bind(store);
  store.readMessage = async function* gone(...request) {
    for await (const piece of readMessage(...request)) {
      yield piece;
      store.readMessage = readMessage;
      const change = { opId: server.services.nextOpId(), retry: false, mailbox: inbox().id };
      await store.expunge(who, { ...change, uids: [2, 2], force: true }, never);
      peer.breakStreams();
    }
  };
  expect(await retrieve(2)).toBe(long);
  expect(await say("RETR 2")).toMatch(/^-ERR The message is gone/);
  expect(await retrieve(3)).toContain("3\r\n");
});

test("QUIT whose answer is lost deletes once, and what came meanwhile stays", async () => {
  await say("DELE 1");
  await say("DELE 3");
  peer.breakStreams();
  peer.itemsUntilBreak = 2; // One for the lock, one for the check; the next answers are QUIT's.
  expect(await say("QUIT")).toBe("+OK Bye");
  expect(inbox().messages.map(({ uid }) => uid)).toEqual([2]);
  expect(inbox().vanished.map(({ uid }) => uid)).toEqual([1, 3]);
});

test("NOOP, STAT and UIDL are answered while the node is away, and the lock comes back", async () => {
  peer.setUp(false);
  peer.breakStreams();
  expect(await say("NOOP")).toMatch(/^\+OK/);
  expect(await say("STAT")).toMatch(/^\+OK 3 /);
  expect(await say("DELE 1")).toMatch(/^\+OK/);
  client.send("QUIT\r\n");
  peer.setUp(true);
  expect(await client.readLine()).toBe("+OK Bye");
  expect(inbox().messages).toHaveLength(2);
});

test("a maildrop that has another UIDVALIDITY behind the failure is lost, and nothing deleted", async () => {
  await say("DELE 1");
  Object.assign(inbox(), { uidValidity: 77 });
  peer.breakStreams();
  expect(await client.readLine()).toMatch(/^-ERR \[SYS\/TEMP\] The maildrop was lost/);
  expect(inbox().messages).toHaveLength(3);
});

test("a session whose maildrop another has by now deletes nothing", async () => {
  await say("DELE 1");
  const { store } = server.services;
  const account = store.accounts.get(who.account);
  // The node lost the hold and gave it to another before this gateway noticed.
  if (account !== undefined) account.maildrop = undefined;
  await store.lockMaildrop(who, never, undefined, server.services.nextOpId());
  expect(await say("QUIT")).toMatch(/^-ERR /);
  expect(inbox().messages).toHaveLength(3);
});
