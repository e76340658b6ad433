// COPY and MOVE: what arrives, all or nothing, and many at once. RFC 9051 §6.4.7, RFC 6851

import { describe, expect, test } from "vitest";
import { allUids } from "../../src/mail/uid-set.ts";
import type { Fixture } from "./mail-store.ts";
import * as kit from "./mail-store-kit.ts";
import { again, change, codeOf, message, never, open, withTarget } from "./mail-store-kit.ts";

export function transferTests(use: Fixture): void {
  describe.each(["copy", "move"] as const)("%s", (verb) => {
    test("to a name that is no mailbox changes nothing", async () => {
      const { store, who, inbox } = await withTarget(use);
      await kit.deliver(store, who);
      const request = { ...change(), mailbox: inbox, uids: allUids, target: "no such" };
      expect(await codeOf(store[verb](who, request, never))).toBe("NO_SUCH_MAILBOX");
      expect((await open(store, who)).info.messages).toBe(1);
    });

    test("takes flags, dates and bytes along, in order, and says where each went", async () => {
      const { store, who, inbox } = await withTarget(use);
      const internalDateMs = Date.UTC(2001, 1, 3, 4, 5, 6);
      for (const subject of ["1", "2", "3", "4"]) {
        await kit.append(store, who, "INBOX", message(subject), {
          flags: ["\\Seen", `key${subject}`],
          internalDateMs,
        });
      }
      await kit.setFlags(store, who, inbox, [3, 3], "add", ["\\Deleted"]);
      await store.expunge(who, { ...change(), mailbox: inbox }, never);
      const before = (await open(store, who)).info;
      const request = { ...change(), mailbox: inbox, uids: [2, 99], target: "target" };
      const outcome = await store[verb](who, request, never);
      const target = await open(store, who, "target");
      expect(outcome).toMatchObject({ from: [2, 4], to: [1, 2] });
      expect(outcome.uidValidity).toBe(target.info.uidValidity);
      const items = { flags: true, internalDate: true, size: true };
      const there = await kit.fetch(store, who, target.info.id, items);
      expect([...there.keys()]).toEqual([1, 2]);
      expect(kit.flagList(there.get(2)?.get("FLAGS") ?? "")).toEqual(["\\Seen", "key4"]);
      expect(there.get(1)?.get("INTERNALDATE")).toBe(" 3-Feb-2001 04:05:06 +0000");
      expect(there.get(1)?.get("RFC822.SIZE")).toBe(String(message("2").length));
      const after = await open(store, who);
      expect([...after.uids]).toEqual(verb === "copy" ? [1, 2, 4] : [1]);
      expect(outcome.highestModSeq).toBe(after.info.highestModSeq);
      if (verb === "move") expect(after.info.highestModSeq).toBeGreaterThan(before.highestModSeq);
    });

    test("within one mailbox gives new UIDs", async () => {
      const { store, who, inbox } = await withTarget(use);
      await kit.deliver(store, who);
      await kit.deliver(store, who);
      const request = { ...change(), mailbox: inbox, uids: [1, 1], target: "INBOX" };
      expect(await store[verb](who, request, never)).toMatchObject({ from: [1], to: [3] });
      expect([...(await open(store, who)).uids]).toEqual(verb === "copy" ? [1, 2, 3] : [2, 3]);
    });

    test("of nothing does nothing", async () => {
      const { store, who, inbox } = await withTarget(use);
      const request = { ...change(), mailbox: inbox, uids: [5, 9], target: "target" };
      expect(await store[verb](who, request, never)).toMatchObject({ from: [], to: [] });
      expect((await open(store, who, "target")).info.uidNext).toBe(1);
    });

    test("asked again, happens once", async () => {
      const { store, who, inbox } = await withTarget(use);
      await kit.deliver(store, who);
      const request = { ...change(), mailbox: inbox, uids: allUids, target: "target" };
      const outcome = await store[verb](who, request, never);
      await kit.deliver(store, who);
      expect(await store[verb](who, again(request), never)).toEqual(outcome);
      expect((await open(store, who, "target")).info.messages).toBe(1);
      expect((await open(store, who)).info.messages).toBe(verb === "copy" ? 2 : 1);
    });

    test("at once with deliveries to both mailboxes, loses and doubles nothing", async () => {
      const { store, who, inbox } = await withTarget(use);
      for (let at = 0; at < 5; at++) await kit.deliver(store, who);
      const request = (uid: number) =>
        ({ ...change(), mailbox: inbox, uids: [uid, uid], target: "target" }) as const;
      const deliveries = [who, { ...who, mailbox: "target" }].flatMap((to) =>
        Array.from({ length: 5 }, () =>
          store.deliver(kit.deliverRequest([to], message("x")), never),
        ),
      );
      const transfers = [1, 2, 3, 4, 5].map((uid) => store[verb](who, request(uid), never));
      await Promise.all([...deliveries, ...transfers]);
      const [from, to] = [await open(store, who), await open(store, who, "target")];
      expect(from.info.messages).toBe(verb === "copy" ? 10 : 5);
      expect(to.info.messages).toBe(10);
      expect(new Set(to.uids).size).toBe(10);
      const { usedMessages } = await store.quota(who, never);
      expect(usedMessages).toBe(from.info.messages + to.info.messages);
    });
  });

  test("two moves of one message at once move it once", async () => {
    const { store, who, inbox } = await withTarget(use);
    await kit.deliver(store, who);
    const outcomes = await Promise.all(
      [1, 2].map(() => {
        const request = { ...change(), mailbox: inbox, uids: [1, 1], target: "target" };
        return store.move(who, request, never);
      }),
    );
    expect(outcomes.flatMap(({ from }) => from)).toEqual([1]);
    expect((await open(store, who, "target")).info.messages).toBe(1);
  });
}
