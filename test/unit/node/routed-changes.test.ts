// Every change of a session, over a link that breaks after the node has committed it and before its
// answer is there: asked for again with the same opId, done once, answered as the first time.

import { afterEach, describe, expect, test } from "vitest";
import type { AppendRequest, MailStore, Principal } from "../../../src/mail/mail-store.ts";
import { MailError } from "../../../src/mail/errors.ts";
import { appendMessage } from "../../conformance/mail-store-kit.ts";
import { addAccount, change, makeStore, message, never, shard } from "../store/harness.ts";
import type { MemoryPeer } from "./memory-links.ts";
import { closeWorlds, world } from "./routed-world.ts";

afterEach(closeWorlds);

/** An account with messages 1..3 in INBOX, of which 2 is \Deleted, and a mailbox `target`. */
async function start() {
  const harness = makeStore();
  const who = await addAccount(harness);
  const running = await world(5000, harness.store, shard);
  const { routed } = running;
  const messages = ["one", "two", "three"].map((text) => appendMessage(message(text)));
  await routed.append(who, { ...change(), mailbox: "INBOX", messages }, never);
  await routed.createMailbox(who, { ...change(), name: "target" }, never);
  const { info } = await routed.openMailbox(who, { name: "INBOX", claimRecent: false }, never);
  const flags = { mode: "add" as const, flags: ["\\Deleted"] };
  await routed.store(who, { ...change(), mailbox: info.id, uids: [2, 2], ...flags }, never);
  return { ...running, who, inbox: info.id, journal: harness.journal };
}

type World = Awaited<ReturnType<typeof start>>;

/** What a change does to a store that answers. */
const changes: Readonly<Record<string, (world: World) => Promise<unknown>>> = {
  STORE: ({ routed, who, inbox }) =>
    routed.store(
      who,
      { ...change(), mailbox: inbox, uids: [1, 3], mode: "add", flags: ["$Work"] },
      never,
    ),
  EXPUNGE: ({ routed, who, inbox }) => routed.expunge(who, { ...change(), mailbox: inbox }, never),
  "POP3 QUIT": ({ routed, who, inbox }) =>
    routed.expunge(
      who,
      { ...change(), mailbox: inbox, uids: [1, 3], force: true, maildrop: change().opId },
      never,
    ),
  COPY: ({ routed, who, inbox }) =>
    routed.copy(who, { ...change(), mailbox: inbox, uids: [1, 2], target: "target" }, never),
  MOVE: ({ routed, who, inbox }) =>
    routed.move(who, { ...change(), mailbox: inbox, uids: [1, 2], target: "target" }, never),
  APPEND: ({ routed, who }) => routed.append(who, appendOf(["four", "five"]), never),
  CREATE: ({ routed, who }) => routed.createMailbox(who, { ...change(), name: "new" }, never),
  DELETE: ({ routed, who }) => routed.deleteMailbox(who, { ...change(), name: "target" }, never),
  RENAME: ({ routed, who }) =>
    routed.renameMailbox(who, { ...change(), from: "target", to: "other" }, never),
  SUBSCRIBE: ({ routed, who }) =>
    routed.setSubscribed(who, { ...change(), name: "target", subscribed: true }, never),
};

function appendOf(texts: readonly string[]): AppendRequest {
  const messages = texts.map((text) => appendMessage(message(text)));
  return { ...change(), mailbox: "INBOX", messages };
}

/** The next answer, of a call or of a stream, is lost. */
function loseAnswer(peer: MemoryPeer): void {
  peer.answersToLose = 1;
  peer.itemsUntilBreak = 0;
}

async function contentsOf(store: MailStore, who: Principal): Promise<unknown> {
  const { mailboxes, orphanSubscriptions } = await store.listMailboxes(who, never);
  const uids = [];
  for (const { name, selectable, id } of mailboxes) {
    if (!selectable) continue;
    const known = { mailbox: id, sinceModSeq: 0 as never, knownUidNext: 1 };
    uids.push([name, await store.changes(who, known, never)]);
  }
  return { mailboxes, orphanSubscriptions, uids };
}

describe("a change whose answer is lost behind its commit", () => {
  test.each(Object.keys(changes))(
    "%s is done once and answered as if nothing was",
    async (name) => {
      const run = changes[name] ?? (() => Promise.reject(new Error("no such change")));
      const [quiet, broken] = [await start(), await start()];
      const expected = await run(quiet);
      const entries = broken.journal.entries.length;
      loseAnswer(broken.peer);
      const answer = await run(broken);
      expect(timeless(answer)).toEqual(timeless(expected));
      expect(broken.journal.entries.length).toBe(entries + 1);
      expect(broken.peer.answersToLose === 0 || broken.peer.itemsUntilBreak > 0).toBe(true);
      expect(timeless(await contentsOf(broken.routed, broken.who))).toEqual(
        timeless(await contentsOf(quiet.routed, quiet.who)),
      );
    },
  );

  test("many in a row, each lost, are done once each and in order", async () => {
    const { routed, who, inbox, peer } = await start();
    for (let n = 0; n < 20; n++) {
      loseAnswer(peer);
      const flags = { mode: n % 2 === 0 ? ("add" as const) : ("remove" as const), flags: ["$x"] };
      const request = { ...change(), mailbox: inbox, uids: [1, 1], ...flags };
      const { stored, highestModSeq } = await routed.store(who, request, never);
      expect(stored).toMatchObject([{ uid: 1, modSeq: highestModSeq }]);
      expect(stored[0]?.flags.includes("$x")).toBe(n % 2 === 0);
    }
  });
});

describe("a body that a client sends once", () => {
  async function* sent(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += 60_000) {
      await Promise.resolve();
      yield bytes.subarray(at, at + 60_000);
    }
  }

  test.each([0, 1, 3, 17])("is sent again when it is refused after %i pieces", async (pieces) => {
    const { routed, who, peer, journal } = await start();
    const upload = peer.upload.bind(peer);
    let tries = 0;
    peer.upload = async (method, head, chunks, options) => {
      if (++tries > 1) return upload(method, head, chunks, options);
      const reader = chunks[Symbol.asyncIterator]();
      for (let n = 0; n < pieces; n++) await reader.next();
      reader.next().catch(() => undefined); // As a sender does that has not heard of it yet.
      throw new MailError({ code: "WRONG_NODE", shard: who.shard });
    };
    const large = message("once", "x".repeat(1_200_000));
    const blob = await routed.writeBlob(who.shard, "once", sent(large), never);
    expect(blob.sizeBytes).toBe(large.length);
    expect(Buffer.from(journal.blobs.get("once") ?? []).equals(large)).toBe(true);
  });

  test("fails when too much of it is gone, and its source is closed", async () => {
    const { routed, who, peer } = await start();
    peer.upload = async (_method, _head, chunks) => {
      for await (const _ of chunks) continue;
      throw new MailError({ code: "UNAVAILABLE", why: "link broke" });
    };
    let closed = false;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        yield* sent(new Uint8Array(3_000_000));
      } finally {
        closed = true;
      }
    }
    const failing = routed.writeBlob(who.shard, "lost", source(), never);
    await expect(failing).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await expect.poll(() => closed).toBe(true);
  });
});

describe("an answer that is longer than a frame", () => {
  test("comes in pieces, of a change that is done once", async () => {
    const { routed, who, inbox, journal } = await start();
    const keywords = Array.from({ length: 200 }, (_, n) => `$${n}`.padEnd(200, "k"));
    const messages = Array.from({ length: 200 }, (_, n) => appendMessage(message(`${n}`)));
    await routed.append(who, { ...change(), mailbox: "INBOX", messages }, never);
    const entries = journal.entries.length;
    const request = { ...change(), mailbox: inbox, uids: [1, 203], mode: "add" as const };
    const { stored } = await routed.store(who, { ...request, flags: keywords }, never);
    expect(stored).toHaveLength(203);
    expect(stored.every(({ flags }) => keywords.every((each) => flags.includes(each)))).toBe(true);
    expect(journal.entries.length).toBe(entries + 1);
    const known = { mailbox: inbox, sinceModSeq: 0 as never, knownUidNext: 1 };
    expect((await routed.changes(who, known, never)).added).toHaveLength(203);
  });

  test("is a literal that goes on by pieces, for one message as for many", async () => {
    const { routed, who, inbox, peer } = await start();
    const large = message("large", "x".repeat(250_000));
    await routed.append(
      who,
      { ...change(), mailbox: "INBOX", messages: [appendMessage(large)] },
      never,
    );
    const sections = ["BODY[]", "RFC822"].map((label) => ({
      path: [],
      kind: "body" as const,
      label,
    }));
    peer.itemsUntilBreak = 1;
    const request = { mailbox: inbox, uids: [4, 4], items: { flags: true, sections } };
    let text = "";
    for await (const { bytes } of routed.fetch(who, request, never)) {
      text += Buffer.from(bytes).toString();
    }
    const literal = `{${large.length}}\r\n${Buffer.from(large).toString()}`;
    expect(text).toBe(`UID 4 FLAGS () BODY[] ${literal} RFC822 ${literal}`);
  });
});

describe("a body that comes in frames of its own", () => {
  test("is sent again when its link breaks, as long as the bytes are at hand", async () => {
    const { routed, who, peer } = await start();
    const large = message("large", "x".repeat(240_000));
    const messages = [large, large, large, large].map((bytes) => appendMessage(bytes));
    let uploads = 0;
    const upload = peer.upload.bind(peer);
    peer.upload = async (...request) => {
      const reply = await upload(...request);
      if (++uploads === 1) throw new MailError({ code: "UNAVAILABLE", why: "answer lost" });
      return reply;
    };
    const { uids } = await routed.append(who, { ...change(), mailbox: "INBOX", messages }, never);
    expect(uids).toEqual([4, 5, 6, 7]);
    expect(uploads).toBe(2);
  });
});

/** UIDVALIDITY and the like are of the clock. */
function timeless(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value ?? null, (key, each: unknown) => (/uidValidity/.test(key) ? 0 : each)),
  );
}
