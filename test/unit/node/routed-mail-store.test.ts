// The routed store against a mail service in this process: retries with the same operation id, epochs,
// streams that break anywhere.

import { setMaxListeners } from "node:events";
import { afterEach, describe, expect, test } from "vitest";
import { chunkOf, partsOf } from "../../../src/mail/fetch-parts.ts";
import { shardId, uid } from "../../../src/mail/ids.ts";
import type { MailboxId } from "../../../src/mail/ids.ts";
import type {
  FetchChunk,
  FetchItems,
  FetchRequest,
  MailStore,
  Principal,
} from "../../../src/mail/mail-store.ts";
import { allUids, uidSetHas } from "../../../src/mail/uid-set.ts";
import * as kit from "../../conformance/mail-store-kit.ts";
import { deliver, deliverRequest, message, never, open } from "../../conformance/mail-store-kit.ts";
import { FakeMailStore } from "../../support/fake-mail-store.ts";
import { closeWorlds, world } from "./routed-world.ts";

afterEach(closeWorlds);

async function fakeWorld(retryMs?: number) {
  const fake = new FakeMailStore();
  return { ...(await world(retryMs, fake)), who: fake.addAccount("u@test").who };
}

/** Serves one rendered answer in pieces of the given size. */
function storeOf(messages: readonly string[], pieceBytes: number): MailStore {
  async function* fetch(_who: unknown, request: FetchRequest): AsyncGenerator<FetchChunk> {
    for (const [at, text] of messages.entries()) {
      if (!uidSetHas(request.uids, at + 1)) continue;
      for (let from = 0; from < text.length; from += pieceBytes) {
        const bytes = Buffer.from(text.slice(from, from + pieceBytes));
        const more = from + pieceBytes < text.length;
        yield chunkOf([{ uid: uid(at + 1), bytes, more }]);
      }
    }
  }
  return Object.assign(new FakeMailStore(), { fetch });
}

const fetchAll = { mailbox: 1 as never, uids: allUids, items: { flags: true } };
const somebody = { account: 1 as never, shard: shardId(1), credVersion: 1 };

async function textOf(chunks: AsyncIterable<FetchChunk> | Iterable<FetchChunk>): Promise<string> {
  let text = "";
  for await (const chunk of chunks) {
    for (const part of partsOf(chunk))
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
        for await (const { uids } of chunks) {
          if (uids[0] === 2) changing[1] = "UID 2 (other flags) two";
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
        for await (const { uids } of chunks) if (uids[0] === 2) changing[1] = "";
      })(),
    ).rejects.toMatchObject({ code: "INVALID" });
  });

  /** A message whose literal comes in pieces, and the same message later. */
  async function cutInLiteral(
    change: (world: {
      readonly routed: MailStore;
      readonly who: Principal;
      readonly mailbox: MailboxId;
    }) => Promise<unknown>,
    items: FetchItems,
  ) {
    const { peer, routed, who } = await fakeWorld();
    const bytes = message("long", "0123456789abcdef".repeat(40_000));
    await deliver(routed, who, message("before"));
    await deliver(routed, who, bytes);
    await deliver(routed, who, message("behind"));
    const mailbox = (await open(routed, who)).info.id;
    peer.itemsUntilBreak = 3;
    const chunks: FetchChunk[] = [];
    for await (const chunk of routed.fetch(who, { mailbox, uids: allUids, items }, never)) {
      chunks.push(chunk);
      if (chunks.length === 3) await change({ routed, who, mailbox });
    }
    expect(peer.itemsUntilBreak).toBe(Number.POSITIVE_INFINITY);
    const text = await textOf(chunks);
    return { text, bytes: bytes.toString() };
  }
  const wholeMessage = { path: [], kind: "body" as const, label: "BODY[]" };

  test("a literal goes on though the message's flags have changed", async () => {
    const { text, bytes } = await cutInLiteral(
      ({ routed, who, mailbox }) => kit.setFlags(routed, who, mailbox, [2, 2], "add", ["$Longer"]),
      { flags: true, modSeq: true, sections: [wholeMessage, { ...wholeMessage, label: "RFC822" }] },
    );
    const [, second = ""] = text.split("|");
    expect(second).toMatch(/^UID 2 FLAGS \(\) MODSEQ \(\d+\) BODY\[\] \{\d+\}/);
    expect(second.slice(second.indexOf("}") + 3)).toBe(
      `${bytes} RFC822 {${bytes.length}}\r\n${bytes}`,
    );
    expect(text.split("|")).toHaveLength(4);
  });

  test("a literal goes on though the message was expunged", async () => {
    const { text, bytes } = await cutInLiteral(
      ({ routed, who, mailbox }) =>
        routed.expunge(who, { ...kit.change(), mailbox, uids: [1, 2], force: true }, never),
      { flags: true, sections: [wholeMessage] },
    );
    const [first, second, third, end] = text.split("|");
    expect(first).toMatch(/^UID 1 /);
    expect(second).toBe(`UID 2 FLAGS () BODY[] {${bytes.length}}\r\n${bytes}`);
    expect(third).toMatch(/^UID 3 /);
    expect(end).toBe("");
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

  test("a body goes on though its message was expunged, but does not begin then", async () => {
    const { peer, routed, who } = await fakeWorld();
    const bytes = message("body", "x".repeat(700_000));
    await deliver(routed, who, bytes);
    const mailbox = (await open(routed, who)).info.id;
    peer.itemsUntilBreak = 2;
    const parts: Uint8Array[] = [];
    const read = { mailbox, uid: uid(1), offset: 0 };
    for await (const part of routed.readMessage(who, read, never)) {
      parts.push(part);
      const all = { ...kit.change(), mailbox, uids: allUids, force: true };
      if (parts.length === 1) await routed.expunge(who, all, never);
    }
    expect(Buffer.concat(parts).equals(bytes)).toBe(true);
    expect(await kit.codeOf(routed.readMessage(who, read, never))).toBe("INVALID");
  });

  test("the time to find the primary begins when it is lost, not with the FETCH", async () => {
    const { peer, routed } = await world(150, storeOf(messages, 5));
    peer.itemsUntilBreak = 5;
    const text: string[] = [];
    for await (const { bytes } of routed.fetch(somebody, fetchAll, never)) {
      text.push(Buffer.from(bytes).toString());
      if (text.length === 5) {
        await passed(200); // A slow client.
        peer.setUp(false);
        setTimeout(() => peer.setUp(true), 50);
      }
    }
    expect(text.join("")).toBe(messages.join(""));
  });
});

describe("a watch over a link that breaks", () => {
  test("says so, finds the primary again within its time, however long it was quiet", async () => {
    const { peer, routed, who } = await fakeWorld(150);
    const mailbox = (await open(routed, who)).info.id;
    const heard: string[] = [];
    const stop = new AbortController();
    const request = {
      mailboxes: [mailbox],
      listening: () => heard.push("listening"),
      interrupted: () => heard.push("interrupted"),
    };
    const watching = (async () => {
      for await (const event of routed.watch(who, request, stop.signal)) heard.push(event.kind);
    })();
    await expect.poll(() => heard).toEqual(["listening"]);
    await passed(200);
    peer.breakStreams();
    await expect.poll(() => heard).toEqual(["listening", "interrupted", "listening"]);
    await deliver(routed, who);
    await expect.poll(() => heard.at(-1)).toBe("mailbox");
    stop.abort();
    await watching;
  });

  test("ends as UNAVAILABLE when no primary is found, and is said to be interrupted at once", async () => {
    const { peer, routed, who } = await fakeWorld(60);
    peer.setUp(false);
    let interrupted = 0;
    const request = { mailboxes: "all" as const, interrupted: () => interrupted++ };
    const first = routed.watch(who, request, never)[Symbol.asyncIterator]().next();
    await expect.poll(() => interrupted).toBe(1);
    await expect(first).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  test("is made anew when the shard has other members, though the old node says nothing", async () => {
    const { node, routed, who, put } = await fakeWorld();
    const mailbox = (await open(routed, who)).info.id;
    let listening = 0;
    const stop = new AbortController();
    const request = { mailboxes: [mailbox], listening: () => listening++ };
    const watching = (async () => {
      for await (const event of routed.watch(who, request, stop.signal)) void event;
    })();
    await expect.poll(() => listening).toBe(1);
    node.epoch = 2;
    await put(2);
    await expect.poll(() => listening).toBe(2);
    stop.abort();
    await watching;
  });

  test("many come back, a few at a time", async () => {
    const { peer, routed, who } = await fakeWorld();
    const stop = new AbortController();
    setMaxListeners(0, stop.signal);
    let listening = 0;
    const request = { mailboxes: "all" as const, listening: () => listening++ };
    const watching = Array.from({ length: 100 }, async () => {
      for await (const event of routed.watch(who, request, stop.signal)) void event;
    });
    await expect.poll(() => listening).toBe(100);
    peer.streamsAtOnce = 0;
    peer.breakStreams();
    await expect.poll(() => listening).toBe(200);
    expect(peer.streamsAtOnce).toBeLessThanOrEqual(16);
    stop.abort();
    await Promise.all(watching);
  });
});

describe("a maildrop whose link breaks", () => {
  test("is taken again by its holder, whatever the node still thinks", async () => {
    const { peer, routed, who } = await fakeWorld();
    const states: string[] = [];
    const stop = new AbortController();
    await routed.lockMaildrop(who, stop.signal, ({ kind }) => states.push(kind), kit.change().opId);
    peer.breakStreams({ quietly: true }); // The node has not noticed.
    await expect.poll(() => states).toEqual(["broken", "held"]);
    expect(await kit.codeOf(routed.lockMaildrop(who, never))).toBe("IN_USE");
    stop.abort();
    await expect.poll(() => kit.codeOf(routed.lockMaildrop(who, never))).toBe("none");
  });
});

function passed(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
