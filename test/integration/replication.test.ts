// Two mail nodes with real disks and one gateway: what is acknowledged is on both disks, and members
// that stop, restart or stay away lose nothing and hold nobody up for longer than said.

import { afterEach, describe, expect, test } from "vitest";
import { createHash } from "node:crypto";
import { isMailError } from "../../src/mail/errors.ts";
import { shardId, uid } from "../../src/mail/ids.ts";
import type { MailboxEvent, Principal } from "../../src/mail/mail-store.ts";
import type { MailNode } from "../../src/cluster/node/mail-node.ts";
import {
  again,
  deliver,
  deliverRequest,
  message,
  never,
  open,
  stored,
} from "../conformance/mail-store-kit.ts";
import { MailCluster, until } from "../support/mail-cluster.ts";

let cluster: MailCluster | undefined;

afterEach(async () => {
  await cluster?.close();
  cluster = undefined;
});

async function start(options: Partial<Parameters<typeof MailCluster.start>[0]> = {}) {
  cluster = await MailCluster.start({ nodes: ["n1", "n2"], ...options });
  return cluster;
}

/** The chain hash at the end of a shard's log: equal ones mean equal logs. */
function end(
  node: MailNode,
  shard: number,
): { readonly lastLsn: number; readonly lastHash: number } {
  const { lastLsn, lastHash } = node.opened.log.state(shardId(shard));
  return { lastLsn, lastHash };
}

async function bodyOf(running: MailCluster, who: Principal, which: number): Promise<Buffer> {
  const { store } = running.gateway;
  const mailbox = (await open(store, who)).info.id;
  const parts: Uint8Array[] = [];
  const request = { mailbox, uid: uid(which), offset: 0 };
  for await (const part of store.readMessage(who, request, never)) parts.push(part);
  return Buffer.concat(parts);
}

describe("two nodes and a gateway", () => {
  test("what is acknowledged lies on both disks, byte for byte", async () => {
    const running = await start();
    const who = await running.addAccount(0);
    const bytes = message("both", "on two disks\r\n");
    expect(await deliver(running.gateway.store, who, bytes)).toBe(1);
    expect(await bodyOf(running, who, 1)).toEqual(bytes);
    const [n1, n2] = [running.node("n1"), running.node("n2")];
    expect(end(n1, 0)).toEqual(end(n2, 0));
    expect(end(n1, 0).lastLsn).toBeGreaterThan(1);
    const secondary = running.node(running.secondaryOf(0));
    const applied = () => secondary.journal.replicas().find(({ shard }) => shard === 0)?.state;
    await until(() => applied()?.appliedLsn === end(n1, 0).lastLsn, "applied on the secondary");
  });

  test("each node is primary of its shards, and the other follows", async () => {
    const running = await start({ shardsPerNode: 2 });
    const [a, b] = [await running.addAccount(0), await running.addAccount(1)];
    expect(running.primaryOf(0)).not.toBe(running.primaryOf(1));
    const uids = await Promise.all([
      deliver(running.gateway.store, a),
      deliver(running.gateway.store, b),
    ]);
    expect(uids).toEqual([1, 1]);
    for (const shard of [0, 1]) {
      expect(end(running.node("n1"), shard)).toEqual(end(running.node("n2"), shard));
    }
  });

  test("a secondary that was away catches up from the log", async () => {
    const running = await start({ replicaLimits: { commitMs: 200 } });
    const who = await running.addAccount(0);
    await deliver(running.gateway.store, who);
    const secondary = running.secondaryOf(0);
    await running.killNode(secondary);
    const waiting = Array.from({ length: 20 }, () => deliver(running.gateway.store, who));
    const outcomes = await Promise.allSettled(waiting);
    for (const outcome of outcomes) {
      const failure: unknown = outcome.status === "rejected" ? outcome.reason : undefined;
      expect(isMailError(failure, "REPLICA_UNREACHABLE")).toBe(true);
    }
    expect((await open(running.gateway.store, who)).info.messages).toBe(1);
    await running.startNode(secondary);
    const node = running.node(running.primaryOf(0));
    const shell = node.journal.replicas().find(({ shard }) => shard === 0);
    await until(() => shell?.log.pending.size === 0, "everything committed");
    expect(end(running.node("n1"), 0)).toEqual(end(running.node("n2"), 0));
    expect((await open(running.gateway.store, who)).info.messages).toBe(21);
  });

  test("a change without an answer commits later, and its retry gets the same UID", async () => {
    const running = await start({ replicaLimits: { commitMs: 200 } });
    const who = await running.addAccount(0);
    const secondary = running.secondaryOf(0);
    await running.killNode(secondary);
    const { store } = running.gateway;
    const request = deliverRequest([who], message("unknown"));
    await expect(store.deliver(request, never)).rejects.toMatchObject({
      code: "REPLICA_UNREACHABLE",
    });
    await running.startNode(secondary);
    const [outcome] = await store.deliver(again(request), never);
    expect(stored(outcome).uid).toBe(1);
    const [repeated] = await store.deliver(again(request), never);
    expect(stored(repeated).uid).toBe(1);
    expect((await open(store, who)).info.messages).toBe(1);
  });

  test("a burst of more than the link may hold arrives, in pieces", async () => {
    const running = await start();
    const who = await running.addAccount(0);
    const bytes = message("burst", "0123456789abcdef".repeat(15_000));
    const { store } = running.gateway;
    const uids = await Promise.all(Array.from({ length: 80 }, () => deliver(store, who, bytes)));
    expect(new Set(uids).size).toBe(80);
    expect(end(running.node("n1"), 0)).toEqual(end(running.node("n2"), 0));
  });

  test("commands wait for a primary that restarts, and go on", async () => {
    const running = await start();
    const who = await running.addAccount(0);
    await deliver(running.gateway.store, who);
    const primary = running.primaryOf(0);
    await running.stopNode(primary);
    const waiting = deliver(running.gateway.store, who);
    await running.startNode(primary);
    expect(await waiting).toBe(2);
    expect((await open(running.gateway.store, who)).info.messages).toBe(2);
  });

  test("deliveries under way when the primary is killed are there once, or not at all", async () => {
    const running = await start();
    const who = await running.addAccount(0);
    const { store } = running.gateway;
    const primary = running.primaryOf(0);
    const deliveries = Array.from({ length: 50 }, () => deliver(store, who));
    const [first] = deliveries;
    await first;
    await running.killNode(primary);
    await running.startNode(primary);
    const uids = await Promise.all(deliveries);
    expect(new Set(uids).size).toBe(50);
    expect((await open(store, who)).info.messages).toBe(50);
    expect(end(running.node("n1"), 0)).toEqual(end(running.node("n2"), 0));
  });

  test("both nodes restart and everything acknowledged is there", async () => {
    const running = await start();
    const who = await running.addAccount(0);
    const bytes = message("kept");
    await deliver(running.gateway.store, who, bytes);
    await Promise.all(["n1", "n2"].map((name) => running.killNode(name)));
    await Promise.all(["n1", "n2"].map((name) => running.startNode(name)));
    expect(await bodyOf(running, who, 1)).toEqual(bytes);
    expect(await deliver(running.gateway.store, who)).toBe(2);
  });

  test("after the deadline a call to an absent primary is UNAVAILABLE", async () => {
    const running = await start({ retryMs: 150 });
    const who = await running.addAccount(0);
    await running.killNode(running.primaryOf(0));
    await expect(open(running.gateway.store, who)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });
});

describe("large bodies", () => {
  async function* piecesOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += 64 * 1024) yield bytes.subarray(at, at + 64 * 1024);
  }

  async function deliverLarge(running: MailCluster, who: Principal, bytes: Uint8Array, id: string) {
    const { store } = running.gateway;
    const blob = await store.writeBlob(who.shard, id, piecesOf(bytes), never);
    expect(blob.sha256).toBe(createHash("sha256").update(bytes).digest("hex"));
    const request = deliverRequest([who], bytes);
    return { ...request, source: { kind: "blob", blob } as const };
  }

  test("go to both disks while they arrive", async () => {
    const running = await start();
    const who = await running.addAccount(0);
    const bytes = message("large", "0123456789abcdef\r\n".repeat(60_000));
    const request = await deliverLarge(running, who, bytes, "large-1");
    for (const name of ["n1", "n2"]) {
      expect(await running.node(name).opened.blobs.size("large-1")).toBe(bytes.length);
    }
    expect(stored((await running.gateway.store.deliver(request, never))[0]).uid).toBe(1);
    expect((await bodyOf(running, who, 1)).equals(bytes)).toBe(true);
  });

  test("are sent again to a secondary that lacks them", async () => {
    const running = await start();
    const who = await running.addAccount(0);
    const secondary = running.secondaryOf(0);
    await running.killNode(secondary);
    const bytes = message("late", "fedcba9876543210\r\n".repeat(30_000));
    const request = await deliverLarge(running, who, bytes, "late-1");
    const delivery = running.gateway.store.deliver(request, never);
    await running.startNode(secondary);
    expect(stored((await delivery)[0]).uid).toBe(1);
    expect(await running.node(secondary).opened.blobs.size("late-1")).toBe(bytes.length);
  });
});

describe("sessions that survive a restart of the primary", () => {
  test("a watch says what changed meanwhile", async () => {
    const running = await start();
    const who = await running.addAccount(0);
    const { store } = running.gateway;
    const { info } = await open(store, who);
    const stop = new AbortController();
    const events: MailboxEvent[] = [];
    const watching = (async () => {
      for await (const event of store.watch(who, { mailboxes: [info.id] }, stop.signal)) {
        events.push(event);
      }
    })();
    await deliver(store, who);
    await until(() => events.length > 0, "the first event");
    const primary = running.primaryOf(0);
    await running.stopNode(primary);
    events.length = 0;
    await running.startNode(primary);
    await until(() => events.some(({ kind }) => kind === "mailbox"), "an event after the restart");
    events.length = 0;
    await deliver(store, who);
    await until(() => events.length > 0, "an event of the new watch");
    stop.abort();
    await watching;
  });

  test("a maildrop stays locked", async () => {
    const running = await start();
    const who = await running.addAccount(0);
    const { store } = running.gateway;
    const held = new AbortController();
    await store.lockMaildrop(who, held.signal);
    const primary = running.primaryOf(0);
    await running.stopNode(primary);
    const node = await running.startNode(primary);
    const { engine } = node.opened;
    const isHeld = () => engine.accounts.peek(who.account)?.maildrop !== undefined;
    await until(isHeld, "the lock is taken again");
    await expect(store.lockMaildrop(who, never)).rejects.toMatchObject({ code: "IN_USE" });
    held.abort();
    await until(() => !isHeld(), "the lock is let go");
  });
});

describe("starting a node", () => {
  test("on a port in use fails with the system's error and lets the data folder go", async () => {
    const running = await start();
    const name = running.secondaryOf(0);
    const taken = running.node(running.primaryOf(0)).cluster.port;
    await running.stopNode(name);
    await expect(running.startNode(name, taken)).rejects.toMatchObject({ code: "EADDRINUSE" });
    await running.startNode(name);
    const who = await running.addAccount(0);
    expect(await deliver(running.gateway.store, who)).toBe(1);
  });
});
