// A selected mailbox whose node is away: commands that need no node are answered, IDLE stays, what
// changed is told behind it, and only a long absence or another mailbox ends the session.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startImap } from "../../../src/gateway/imap/listener.ts";
import type { ImapLimits } from "../../../src/gateway/imap/limits.ts";
import type { Listener } from "../../../src/gateway/services.ts";
import { modSeq } from "../../../src/mail/ids.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { fakeServices } from "../../support/fake-services.ts";
import type { FakeServices } from "../../support/fake-services.ts";
import type { FakeMailbox } from "../../support/fake/account.ts";
import { ImapClient } from "../../support/imap-client.ts";
import type { MemoryPeer } from "../node/memory-links.ts";
import { closeWorlds, world } from "../node/routed-world.ts";
import { addMessage, seedAccount } from "./support.ts";

let services: FakeServices;
let who: Principal;
let peer: MemoryPeer;
let listener: Listener;
let client: ImapClient;

/** A gateway over a link to a node with the fake store; u1 has INBOX selected, and is watched. */
async function start(limits: Partial<ImapLimits> = {}): Promise<void> {
  services = fakeServices();
  who = await seedAccount(services);
  const running = await world(5000, services.store, who.shard);
  ({ peer } = running);
  listener = await startImap({
    services: { ...services, store: running.routed },
    address: "127.0.0.1",
    port: 0,
    implicitTls: false,
    limits,
  });
  client = await ImapClient.connect(listener.port, { user: "u1", password: "secret" }, 5000);
  await client.ok("SELECT INBOX");
  await client.ok("NOOP");
}

beforeEach(() => start());
afterEach(async () => {
  client.close();
  await listener.close(AbortSignal.abort());
  await closeWorlds();
});

function goAway(): void {
  peer.setUp(false);
  peer.breakStreams();
}

function inbox(): FakeMailbox {
  const found = [...(services.store.accounts.get(who.account)?.mailboxes.values() ?? [])].find(
    ({ name }) => name === "INBOX",
  );
  if (found === undefined) throw new Error("no INBOX");
  return found;
}

/** Message 1 goes, 2 gets a keyword, a new one comes. */
async function changeAll(): Promise<void> {
  const change = () => ({ opId: services.nextOpId(), retry: false, mailbox: inbox().id });
  const never = new AbortController().signal;
  await services.store.expunge(who, { ...change(), uids: [1, 1], force: true }, never);
  const flags = { uids: [2, 2], mode: "add" as const, flags: ["$Later"] };
  await services.store.store(who, { ...change(), ...flags }, never);
  await addMessage(services, who, "INBOX", "x: new\r\n");
}

describe("while the node is away", () => {
  test("commands that need no node are answered at once", async () => {
    goAway();
    for (const command of ["NOOP", "CHECK", "CAPABILITY", "ID NIL", "NAMESPACE", "NOOP"]) {
      const { untagged } = await client.ok(command);
      expect(untagged.filter(({ text }) => /EXISTS|EXPUNGE/.test(text))).toEqual([]);
    }
    await client.ok("UNSELECT");
    await client.logout();
  });

  test("a NOOP that asks when the node is lost is answered without the news", async () => {
    let asked: () => void = () => undefined;
    const underWay = new Promise<void>((resolve) => {
      asked = resolve;
    });
    services.store.changes = () => {
      asked();
      return new Promise(() => {});
    };
    const noop = client.ok("NOOP");
    await underWay;
    goAway();
    await noop;
  });

  test("what changed is told by NOOP once the node is back", async () => {
    goAway();
    await changeAll();
    peer.setUp(true);
    const told: string[] = [];
    await expect
      .poll(async () => {
        const { untagged } = await client.ok("NOOP");
        told.push(...untagged.map(({ text }) => text));
        return told.length;
      })
      .toBeGreaterThanOrEqual(3);
    expect(told).toContain("* 1 EXPUNGE");
    expect(told).toContain("* 3 EXISTS");
    expect(told.join("\n")).toMatch(/\* 1 FETCH \(FLAGS \(\$Later \\Recent\)\)/);
  });

  test("IDLE stays and tells what changed", async () => {
    await client.idle();
    goAway();
    await changeAll();
    peer.setUp(true);
    await client.untilLine(/^\* 1 EXPUNGE$/);
    await client.untilLine(/^\* 3 EXISTS$/);
    await client.untilLine(/^\* 1 FETCH \(FLAGS \(\$Later \\Recent\)\)$/);
    await addMessage(services, who, "INBOX", "x: newer\r\n");
    await client.untilLine(/^\* 4 EXISTS$/);
    await client.done();
  });

  test("NOTIFY stays and tells what changed, here and elsewhere, without a command", async () => {
    const groups = "(SELECTED (MessageNew MessageExpunge)) (PERSONAL (MessageNew MessageExpunge))";
    await client.ok(`NOTIFY SET ${groups}`);
    goAway();
    await client.ok("NOOP");
    await changeAll();
    await addMessage(services, who, "Sent", "x: sent\r\n");
    peer.setUp(true);
    await client.untilLine(/^\* 1 EXPUNGE$/);
    await client.untilLine(/^\* 3 EXISTS$/);
    await client.untilLine(/^\* STATUS "Sent" \(MESSAGES 1 UIDNEXT 2\)$/);
    await addMessage(services, who, "INBOX", "x: newer\r\n");
    await client.untilLine(/^\* 4 EXISTS$/);
  });

  test("a client with QRESYNC is told VANISHED, and no HIGHESTMODSEQ that it can't rely on", async () => {
    await client.ok("ENABLE QRESYNC");
    await client.ok("STORE 1 +FLAGS (\\Deleted)");
    const { store } = services;
    const expunge = store.expunge.bind(store);
    store.expunge = async (...request) => {
      const outcome = await expunge(...request);
      setImmediate(goAway); // Behind the answer, before the news.
      return outcome;
    };
    await addMessage(services, who, "INBOX", "x: between\r\n");
    store.changes = () => new Promise(() => {});
    const reply = await client.ok("EXPUNGE");
    expect(reply.untagged.map(({ text }) => text)).toContain("* VANISHED 1");
    expect(reply.text).not.toContain("HIGHESTMODSEQ");
  });
});

describe("a session that can't go on", () => {
  test("is told BYE [UNAVAILABLE] after a while", async () => {
    client.close();
    await listener.close(AbortSignal.abort());
    await closeWorlds();
    await start({ resyncMs: 100 });
    await client.idle();
    goAway();
    await client.untilLine(/^\* BYE \[UNAVAILABLE\] /);
    await expect.poll(() => client.isClosed).toBe(true);
  });

  test.each([
    ["another UIDVALIDITY", () => Object.assign(inbox(), { uidValidity: 77 })],
    ["less than the session knows", () => Object.assign(inbox(), { highestModSeq: modSeq(1) })],
    ["fewer UIDs given than the session knows", () => Object.assign(inbox(), { uidNext: 2 })],
  ])("is told BYE when the mailbox has %s", async (_, change) => {
    await client.idle();
    goAway();
    change();
    peer.setUp(true);
    await client.untilLine(/^\* BYE /);
    await expect.poll(() => client.isClosed).toBe(true);
  });

  test("is told BYE when its numbers would be wrong", async () => {
    await client.idle();
    goAway();
    inbox().messages.splice(1, 1); // As if a change had been lost.
    peer.setUp(true);
    await client.untilLine(/^\* BYE \[UNAVAILABLE\] /);
  });
});

test("a FETCH goes on in the middle of a literal, and the session behind it", async () => {
  const body = `Subject: long\r\n\r\n${"0123456789abcdef".repeat(30_000)}\r\n`;
  await addMessage(services, who, "INBOX", body, ["\\Seen"]);
  await client.ok("NOOP");
  peer.itemsUntilBreak = 5;
  const { untagged } = await client.ok("FETCH 1:* (FLAGS BODY[])");
  expect(peer.itemsUntilBreak).toBe(Number.POSITIVE_INFINITY);
  const literals = untagged.filter(({ literals: [one] }) => one !== undefined);
  expect(literals).toHaveLength(4);
  expect(literals[3]?.literals[0]?.toString()).toBe(body);
  await client.ok("NOOP");
});
