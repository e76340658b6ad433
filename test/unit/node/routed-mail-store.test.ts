// The routed store against a mail service in this process: retries with the same operation id, epochs,
// streams that break anywhere.

import { afterEach, describe, expect, test } from "vitest";
import { pino } from "pino";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EmbeddedCoordinator } from "../../../src/cluster/coordinator/embedded.ts";
import { MailService } from "../../../src/cluster/node/mail-service.ts";
import { RoutedMailStore } from "../../../src/cluster/node/routed-mail-store.ts";
import { encodeShardConfig, shardKey } from "../../../src/cluster/node/shard-codec.ts";
import { ShardTable } from "../../../src/cluster/node/shard-table.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { realDisk } from "../../../src/lib/real-disk.ts";
import { epoch, memberId, shardId, storeId, uid } from "../../../src/mail/ids.ts";
import type { FetchChunk, FetchRequest, MailStore } from "../../../src/mail/mail-store.ts";
import { allUids } from "../../../src/mail/uid-set.ts";
import { deliver, deliverRequest, message, never, open } from "../../conformance/mail-store-kit.ts";
import { FakeMailStore } from "../../support/fake-mail-store.ts";
import { linksTo, MemoryPeer } from "./memory-links.ts";

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function world(retryMs = 2000, store: MailStore = new FakeMailStore()) {
  const folder = await mkdtemp(join(tmpdir(), "pabal-routed-"));
  const log = pino({ level: "silent" });
  const coordinator = await EmbeddedCoordinator.open({
    disk: realDisk(folder),
    path: "coordinator.log",
    clock: systemClock,
    log,
    fatal: () => undefined,
  });
  const put = async (number: number): Promise<void> => {
    const key = shardKey(shardId(1));
    const ifRevision = (await coordinator.get(key))?.revision ?? 0;
    const value = encodeShardConfig({
      shard: shardId(1),
      epoch: epoch(number),
      primary: { node: memberId("n1"), store: storeId("0".repeat(32)) },
      secondaries: [],
      minCopies: 1,
      nonce: "",
    });
    await coordinator.compareAndSet([{ key, ifRevision, value }]);
  };
  await put(1);
  const table = await ShardTable.open({ coordinator, clock: systemClock, logger: log });
  closers.push(async () => {
    table.close();
    await coordinator.close();
    await rm(folder, { recursive: true });
  });
  const peer = new MemoryPeer();
  const node = { epoch: 1, serving: true };
  new MailService(store, {
    serves: () => node.serving,
    epochOf: () => epoch(node.epoch),
  }).register(peer.registry);
  const links = linksTo(peer);
  const routed = new RoutedMailStore({ table, links, clock: systemClock, retryMs });
  return { peer, node, routed, put, store };
}

async function fakeWorld(retryMs?: number) {
  const fake = new FakeMailStore();
  return { ...(await world(retryMs, fake)), who: fake.addAccount("u@test").who };
}

/** Serves one rendered answer in pieces of the given size. */
function storeOf(messages: readonly string[], pieceBytes: number): MailStore {
  async function* fetch(_who: unknown, request: FetchRequest): AsyncGenerator<FetchChunk> {
    for (const [at, text] of messages.entries()) {
      if (at + 1 < (request.uids[0] ?? 0)) continue;
      for (let from = 0; from < text.length; from += pieceBytes) {
        const bytes = Buffer.from(text.slice(from, from + pieceBytes));
        yield { parts: [{ uid: uid(at + 1), bytes, more: from + pieceBytes < text.length }] };
      }
    }
  }
  return Object.assign(new FakeMailStore(), { fetch });
}

const fetchAll = { mailbox: 1 as never, uids: allUids, items: { flags: true } };
const somebody = { account: 1 as never, shard: shardId(1), credVersion: 1 };

async function textOf(chunks: AsyncIterable<FetchChunk>): Promise<string> {
  let text = "";
  for await (const { parts } of chunks) {
    for (const part of parts)
      text += `${Buffer.from(part.bytes).toString()}${part.more ? "" : "|"}`;
  }
  return text;
}

describe("a change whose answer is lost", () => {
  test("is asked for again with the same opId and retry, and stored once", async () => {
    const { peer, routed, who } = await fakeWorld();
    peer.answersToLose = 2;
    expect(await deliver(routed, who)).toBe(1);
    expect((await open(routed, who)).info.messages).toBe(1);
    const tries = peer.heads.slice(0, 3).map((head) => (head as unknown[]).slice(4, 6));
    expect(tries.map(([, retry]) => retry)).toEqual([false, true, true]);
    expect(new Set(tries.map(([op]) => op)).size).toBe(1);
  });

  test("ends as UNAVAILABLE when the time is over", async () => {
    const { peer, routed, who } = await fakeWorld(60);
    peer.answersToLose = 1000;
    await expect(deliver(routed, who)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  test("is not repeated when the store refused it", async () => {
    const { peer, routed, who } = await fakeWorld();
    const request = { ...deliverRequest([who], message("x")), name: "INBOX" };
    await expect(routed.createMailbox(who, request, never)).rejects.toMatchObject({
      code: "MAILBOX_EXISTS",
    });
    expect(peer.heads).toHaveLength(1);
  });
});

describe("the serve test", () => {
  test("a node of another epoch answers WRONG_NODE; the table is read again", async () => {
    const { node, routed, who, put } = await fakeWorld();
    node.epoch = 2;
    await put(2);
    expect((await open(routed, who)).info.messages).toBe(0);
  });

  test("a primary that does not serve yet is waited for", async () => {
    const { node, routed, who } = await fakeWorld();
    node.serving = false;
    const waiting = open(routed, who);
    setTimeout(() => {
      node.serving = true;
    }, 30);
    expect((await waiting).info.messages).toBe(0);
  });

  test("an answer that comes after the epoch has ended is not given", async () => {
    const fake = new FakeMailStore();
    const { who } = fake.addAccount("u@test");
    const { node, routed } = await world(60, fake);
    const quota = fake.quota.bind(fake);
    fake.quota = async (...args) => {
      const result = await quota(...args);
      node.serving = false;
      return result;
    };
    await expect(routed.quota(who, never)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  test("a primary without a link is waited for, and the caller may stop waiting", async () => {
    const { peer, routed, who } = await fakeWorld();
    peer.setUp(false);
    const stop = new AbortController();
    const stopped = routed.listMailboxes(who, stop.signal);
    stop.abort(new Error("enough"));
    await expect(stopped).rejects.toThrow("enough");
    const waiting = open(routed, who);
    peer.setUp(true);
    expect((await waiting).info.messages).toBe(0);
  });
});

describe("FETCH over a link that breaks", () => {
  const messages = ["UID 1 one", "UID 2 two is longer", "UID 3 three"];

  test.each([0, 1, 2, 3, 4, 5, 6, 7, 8])(
    "goes on where it stopped after %i items",
    async (items) => {
      const { peer, routed } = await world(2000, storeOf(messages, 5));
      peer.itemsUntilBreak = items;
      expect(await textOf(routed.fetch(somebody, fetchAll, never))).toBe(`${messages.join("|")}|`);
    },
  );

  test("a message that changed in the middle of it ends the stream with an error", async () => {
    const changing = [...messages];
    const { peer, routed } = await world(2000, storeOf(changing, 5));
    peer.itemsUntilBreak = 4;
    const chunks = routed.fetch(somebody, fetchAll, never);
    await expect(
      (async () => {
        for await (const { parts } of chunks) {
          if (parts[0]?.uid === 2) changing[1] = "UID 2 (other flags) two";
        }
      })(),
    ).rejects.toMatchObject({ code: "INVALID" });
  });

  test("a message that is gone in the middle of it ends the stream with an error", async () => {
    const changing = [...messages];
    const { peer, routed } = await world(2000, storeOf(changing, 5));
    peer.itemsUntilBreak = 4;
    const chunks = routed.fetch(somebody, fetchAll, never);
    await expect(
      (async () => {
        for await (const { parts } of chunks) if (parts[0]?.uid === 2) changing[1] = "";
      })(),
    ).rejects.toMatchObject({ code: "INVALID" });
  });

  test("a body goes on at its offset", async () => {
    const { peer, routed, who } = await fakeWorld();
    const bytes = message("body", "x".repeat(2_000_000));
    const blob = await routed.writeBlob(who.shard, "b1", once(bytes), never);
    const request = deliverRequest([who], bytes);
    await routed.deliver({ ...request, source: { kind: "blob", blob } }, never);
    const mailbox = (await open(routed, who)).info.id;
    peer.itemsUntilBreak = 2;
    const parts: Uint8Array[] = [];
    const read = { mailbox, uid: uid(1), offset: 10 };
    for await (const part of routed.readMessage(who, read, never)) parts.push(part);
    expect(Buffer.concat(parts).equals(bytes.subarray(10))).toBe(true);
  });
});

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
