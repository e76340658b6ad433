// Changes of messages: delivery, APPEND, STORE, EXPUNGE, and that a repeated request is
// recognised.

import { describe, expect, test } from "vitest";
import type { DeliverOutcome } from "../../src/mail/mail-store.ts";
import { allUids } from "../../src/mail/uid-set.ts";
import type { Fixture } from "./mail-store.ts";
import * as kit from "./mail-store-kit.ts";
import { again, change, message, never, open, stored, withTarget } from "./mail-store-kit.ts";

export function messageTests(use: Fixture): void {
  describe("deliveries", () => {
    test("go to the named mailbox, and to INBOX when there is none of that name", async () => {
      const { store, who } = await withTarget(use);
      const ways = [who, { ...who, mailbox: "target" }, { ...who, mailbox: "no such" }];
      const requests = ways.map((to) => kit.deliverRequest([to], message("x")));
      const outcomes: DeliverOutcome[] = [];
      for (const request of requests) outcomes.push(...(await store.deliver(request, never)));
      const [inbox, target] = [await open(store, who), await open(store, who, "target")];
      expect(outcomes.map((each) => [stored(each).mailbox, stored(each).uid])).toEqual([
        [inbox.info.id, 1],
        [target.info.id, 1],
        [inbox.info.id, 2],
      ]);
      expect(stored(outcomes[1]).uidValidity).toBe(target.info.uidValidity);
    });

    test("arrive unseen, without flags, with every byte", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const bytes = message("bytes", "\0bin\xff\nbare\rboth\r\n.\r\n");
      const uid = await kit.deliver(store, who, bytes);
      const { info } = await open(store, who);
      expect(info).toMatchObject({ messages: 1, unseen: 1, deleted: 0, sizeBytes: bytes.length });
      expect(await kit.flagsOf(store, who, info.id)).toEqual({ 1: [] });
      const sections = [{ path: [], kind: "body" as const, label: "BODY[]" }];
      const items = await kit.fetchOne(store, who, info.id, uid, { sections });
      expect(items.get("BODY[]")).toBe(bytes.toString("latin1"));
    });

    test("a repeated delivery has the same outcome and stores nothing more", async () => {
      const { store, addAccount } = use();
      const [a, b] = [await addAccount(), await addAccount({ quotaMessages: 1 })];
      await kit.deliver(store, b);
      const request = kit.deliverRequest([a, b], message("once"));
      const outcome = await store.deliver(request, never);
      expect(outcome).toMatchObject([{ ok: true }, { ok: false }]);
      await kit.deliver(store, a);
      expect(await store.deliver(again(request), never)).toEqual(outcome);
      expect((await open(store, a)).info.messages).toBe(2);
      expect((await open(store, b)).info.messages).toBe(1);
    });

    test("a repetition while the first is still under way is stored once", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const request = kit.deliverRequest([who], message("once"));
      const both = await Promise.all([
        store.deliver(request, never),
        store.deliver(again(request), never),
      ]);
      expect(both[1]).toEqual(both[0]);
      expect((await open(store, who)).info.messages).toBe(1);
    });

    test("an account named twice gets one message, where it was named first", async () => {
      const { store, who } = await withTarget(use);
      const other = await use().addAccount();
      const to = [{ ...who, mailbox: "target" }, other, who];
      const request = kit.deliverRequest(to, message("once"));
      const outcomes = await store.deliver(request, never);
      expect(stored(outcomes[2])).toEqual(stored(outcomes[0]));
      expect(await store.deliver(again(request), never)).toEqual(outcomes);
      expect((await open(store, who)).info.messages).toBe(0);
      expect((await open(store, who, "target")).info.messages).toBe(1);
      expect((await open(store, other)).info.messages).toBe(1);
    });

    test("many at once, with APPENDs between, get UIDs without gaps or doubles", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const uids = await Promise.all(
        Array.from({ length: 60 }, async (_, at) => {
          if (at % 3 > 0) return kit.deliver(store, who, message(`${at}`));
          return (await kit.append(store, who, "INBOX", message(`${at}`))).uids[0];
        }),
      );
      const sorted = uids.map(Number).sort((a, b) => a - b);
      expect(sorted).toEqual(Array.from({ length: 60 }, (_, at) => at + 1));
      const inbox = await open(store, who);
      expect([...inbox.uids]).toEqual(sorted);
      expect(inbox.info).toMatchObject({ messages: 60, unseen: 60, uidNext: 61 });
    });

    test("a large body goes by a blob and comes back whole", async () => {
      const { store, addAccount } = use();
      const both = [await addAccount(), await addAccount()];
      const bytes = message("large", "0123456789\r\n".repeat(100_000));
      const request = kit.deliverRequest(both, bytes);
      const blob = await store.writeBlob(request.shard, request.deliveryId, pieces(bytes), never);
      expect(blob).toMatchObject({ sizeBytes: bytes.length, shard: request.shard });
      const outcomes = await store.deliver({ ...request, source: { kind: "blob", blob } }, never);
      for (const [at, who] of both.entries()) {
        const { info } = await open(store, who);
        expect(info.sizeBytes).toBe(bytes.length);
        const read = { mailbox: info.id, uid: stored(outcomes[at]).uid, offset: 0 };
        const parts: Uint8Array[] = [];
        for await (const part of store.readMessage(who, read, never)) parts.push(part);
        expect(Buffer.concat(parts).equals(bytes)).toBe(true);
      }
    });
  });

  describe("APPEND", () => {
    test("keeps flags, date and zone", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const options = {
        flags: ["\\seen", "\\Flagged", "Work", "\\Recent"],
        internalDateMs: Date.UTC(1996, 6, 17, 9, 44, 25),
        internalDateZone: -420,
      };
      const { uids, mailbox, uidValidity } = await kit.append(
        store,
        who,
        "inbox",
        message("dated"),
        options,
      );
      const { info, keywords } = await open(store, who);
      expect({ uids, mailbox, uidValidity }).toEqual({
        uids: [1],
        mailbox: info.id,
        uidValidity: info.uidValidity,
      });
      expect(info).toMatchObject({ unseen: 0 });
      expect(keywords).toEqual(["Work"]);
      const items = await kit.fetchOne(store, who, info.id, 1, { flags: true, internalDate: true });
      expect(kit.flagList(items.get("FLAGS") ?? "")).toEqual(
        ["Work", "\\Flagged", "\\Seen"].sort(),
      );
      expect(items.get("INTERNALDATE")).toBe("17-Jul-1996 02:44:25 -0700");
    });

    test("asked again, stores nothing more", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const messages = [message("one"), message("two")].map((each) => kit.appendMessage(each));
      const request = { ...change(), mailbox: "INBOX", messages };
      const outcome = await store.append(who, request, never);
      expect(outcome.uids).toEqual([1, 2]);
      expect(await store.append(who, again(request), never)).toEqual(outcome);
      expect((await open(store, who)).info.messages).toBe(2);
    });
  });

  describe("STORE", () => {
    test("adds, removes and replaces; keywords compare without case and keep the first spelling", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      for (const subject of ["1", "2", "3"]) await kit.deliver(store, who, message(subject));
      const { id } = (await open(store, who)).info;
      const flags = (): Promise<unknown> => kit.flagsOf(store, who, id);
      await kit.setFlags(store, who, id, [1, 2], "add", ["\\SEEN", "Work"]);
      await kit.setFlags(store, who, id, [2, 2], "add", ["wORK", "\\Answered", "other"]);
      expect(await flags()).toEqual({
        1: ["Work", "\\Seen"],
        2: ["Work", "\\Answered", "\\Seen", "other"],
        3: [],
      });
      await kit.setFlags(store, who, id, allUids, "remove", ["WORK", "\\answered", "absent"]);
      expect(await flags()).toEqual({ 1: ["\\Seen"], 2: ["\\Seen", "other"], 3: [] });
      await kit.setFlags(store, who, id, [2, 3], "replace", ["\\Draft", "\\Deleted"]);
      expect(await flags()).toEqual({
        1: ["\\Seen"],
        2: ["\\Deleted", "\\Draft"],
        3: ["\\Deleted", "\\Draft"],
      });
      await kit.setFlags(store, who, id, [3, 3], "replace", []);
      const { info, firstUnseen } = await open(store, who);
      expect(info).toMatchObject({ unseen: 2, deleted: 1 });
      expect(firstUnseen).toBe(2);
    });

    test("names every message it found, changed or not, and leaves out those that are gone", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      for (const subject of ["1", "2", "3"]) await kit.deliver(store, who, message(subject));
      const { id } = (await open(store, who)).info;
      await kit.setFlags(store, who, id, [2, 2], "add", ["\\Deleted"]);
      await kit.expunge(store, who, id);
      await kit.setFlags(store, who, id, [1, 1], "add", ["\\Seen"]);
      const before = (await open(store, who)).info.highestModSeq;
      const outcome = await kit.setFlags(store, who, id, [1, 2, 99, 99], "add", ["\\Seen"]);
      expect(outcome.stored).toMatchObject([{ uid: 1, flags: ["\\Seen"] }]);
      expect(outcome.modified).toEqual([]);
      expect(outcome.highestModSeq).toBeGreaterThanOrEqual(before);
    });

    test("says whether it changed something, and that its MODSEQ is the next", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await kit.deliver(store, who);
      const { id, highestModSeq } = (await open(store, who)).info;
      const request = { ...change(), mailbox: id, uids: allUids, mode: "add" as const };
      const first = await store.store(who, { ...request, flags: ["\\Seen"] }, never);
      expect(first).toMatchObject({ changed: true, highestModSeq: highestModSeq + 1 });
      const repeated = await store.store(who, again({ ...request, flags: ["\\Seen"] }), never);
      expect(repeated).toMatchObject({ changed: true, highestModSeq: highestModSeq + 1 });
      const none = await kit.setFlags(store, who, id, allUids, "add", ["\\SEEN"]);
      expect(none).toMatchObject({ changed: false, highestModSeq: highestModSeq + 1 });
    });

    test("UNCHANGEDSINCE leaves newer ones alone and names them. RFC 7162 §3.1.3", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      for (const subject of ["1", "2", "3"]) await kit.deliver(store, who, message(subject));
      const { id, highestModSeq } = (await open(store, who)).info;
      await kit.setFlags(store, who, id, [2, 2], "add", ["\\Answered"]);
      const request = { ...change(), mailbox: id, uids: allUids, unchangedSince: highestModSeq };
      const outcome = await store.store(who, { ...request, mode: "add", flags: ["\\Seen"] }, never);
      expect(outcome.modified).toEqual([2, 2]);
      expect(outcome.stored.map(({ uid }) => uid)).toEqual([1, 3]);
      expect(await kit.flagsOf(store, who, id)).toEqual({
        1: ["\\Seen"],
        2: ["\\Answered"],
        3: ["\\Seen"],
      });
      const none = {
        ...request,
        ...change(),
        mode: "add" as const,
        flags: ["x"],
        unchangedSince: 0,
      };
      expect((await store.store(who, none, never)).modified).toEqual([1, 3]);
    });

    test("of two with the same UNCHANGEDSINCE at once, one wins", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await kit.deliver(store, who);
      const { id, highestModSeq: unchangedSince } = (await open(store, who)).info;
      const outcomes = await Promise.all(
        ["a", "b", "c"].map((flag) => {
          const request = { ...change(), mailbox: id, uids: allUids, unchangedSince };
          return store.store(who, { ...request, mode: "add", flags: [flag] }, never);
        }),
      );
      expect(outcomes.filter(({ modified }) => modified.length === 0)).toHaveLength(1);
      expect((await kit.flagsOf(store, who, id))[1]).toHaveLength(1);
    });

    test("asked again, has the same outcome and undoes nothing that came between", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      for (let at = 0; at < 4; at++) await kit.deliver(store, who);
      const { id } = (await open(store, who)).info;
      await kit.setFlags(store, who, id, [2, 2], "add", ["\\Seen", "Work"]);
      await kit.setFlags(store, who, id, [3, 3], "add", ["Other"]);
      const fields = { mailbox: id, uids: allUids, mode: "add", flags: ["\\Seen"] } as const;
      const request = { ...change(), ...fields };
      const outcome = await store.store(who, request, never);
      expect(outcome.stored.map(({ uid }) => uid)).toEqual([1, 2, 3, 4]);
      await kit.setFlags(store, who, id, [1, 1], "remove", ["\\Seen"]);
      await kit.setFlags(store, who, id, [4, 4], "replace", ["\\Deleted"]);
      await kit.expunge(store, who, id);
      expect(await store.store(who, again(request), never)).toEqual(outcome);
      expect(await kit.flagsOf(store, who, id)).toEqual({
        1: [],
        2: ["Work", "\\Seen"],
        3: ["Other", "\\Seen"],
      });
    });
  });

  describe("EXPUNGE", () => {
    test("removes what is \\Deleted, within the UIDs when given; with force all of them", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      for (let at = 0; at < 6; at++) await kit.deliver(store, who);
      const { id } = (await open(store, who)).info;
      const request = () => ({ ...change(), mailbox: id });
      expect((await store.expunge(who, request(), never)).expunged).toEqual([]);
      await kit.setFlags(store, who, id, [1, 4], "add", ["\\Deleted"]);
      const some = await store.expunge(who, { ...request(), uids: [2, 3, 5, 9] }, never);
      expect(some.expunged).toEqual([2, 3]);
      const forced = await store.expunge(who, { ...request(), uids: [4, 5], force: true }, never);
      expect(forced.expunged).toEqual([4, 5]);
      expect((await store.expunge(who, request(), never)).expunged).toEqual([1, 1]);
      expect([...(await open(store, who)).uids]).toEqual([6]);
    });

    test("a UID is never used again, not even the last one", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      for (let round = 0; round < 3; round++) {
        const uid = await kit.deliver(store, who);
        expect(uid).toBe(round + 1);
        const { id } = (await open(store, who)).info;
        await kit.setFlags(store, who, id, allUids, "add", ["\\Deleted"]);
        await kit.expunge(store, who, id);
        expect((await open(store, who)).info).toMatchObject({ messages: 0, uidNext: uid + 1 });
      }
    });

    test("asked again, has the same outcome and removes nothing more", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await kit.deliver(store, who);
      await kit.deliver(store, who);
      const { id } = (await open(store, who)).info;
      await kit.setFlags(store, who, id, [1, 1], "add", ["\\Deleted"]);
      const request = { ...change(), mailbox: id };
      const outcome = await store.expunge(who, request, never);
      await kit.setFlags(store, who, id, [2, 2], "add", ["\\Deleted"]);
      expect(await store.expunge(who, again(request), never)).toEqual(outcome);
      expect([...(await open(store, who)).uids]).toEqual([2]);
    });
  });
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 64 * 1024) {
    yield bytes.subarray(at, at + 64 * 1024);
    await Promise.resolve();
  }
}
