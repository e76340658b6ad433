// How sessions learn what happened: MODSEQs, changes since any of them, \Recent, and events.

import { setTimeout } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { modSeq } from "../../src/mail/ids.ts";
import type { MailboxId } from "../../src/mail/ids.ts";
import type { MailboxEvent, MailStore, Principal } from "../../src/mail/mail-store.ts";
import { uidSetHas } from "../../src/mail/uid-set.ts";
import type { Fixture } from "./mail-store.ts";
import * as kit from "./mail-store-kit.ts";
import { change, message, never, open } from "./mail-store-kit.ts";

export function changesTests(use: Fixture): void {
  describe("MODSEQ", () => {
    test("grows with every change and with nothing else", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const { id } = (await open(store, who)).info;
      await store.createMailbox(who, { ...change(), name: "target" }, never);
      const to = { mailbox: id, target: "target" };
      const steps: readonly (readonly [string, boolean, () => Promise<unknown>])[] = [
        ["deliver", true, () => kit.deliver(store, who)],
        ["append", true, () => kit.append(store, who, "INBOX")],
        ["store", true, () => kit.setFlags(store, who, id, [1, 1], "add", ["\\Seen"])],
        [
          "copy here",
          true,
          () => store.copy(who, { ...change(), ...to, uids: [1, 1], target: "INBOX" }, never),
        ],
        ["copy away", false, () => store.copy(who, { ...change(), ...to, uids: [1, 1] }, never)],
        ["open", false, () => open(store, who)],
        ["claim", false, () => store.openMailbox(who, { name: "INBOX", claimRecent: true }, never)],
        ["move", true, () => store.move(who, { ...change(), ...to, uids: [1, 1] }, never)],
        ["expunge of nothing", false, () => kit.expunge(store, who, id)],
        ["flag", true, () => kit.setFlags(store, who, id, [2, 2], "add", ["\\Deleted"])],
        ["expunge", true, () => kit.expunge(store, who, id)],
      ];
      let last = (await open(store, who)).info.highestModSeq;
      expect(last).toBeGreaterThan(0);
      for (const [name, grows, run] of steps) {
        await run();
        const now = (await open(store, who)).info.highestModSeq;
        expect([name, now > last]).toEqual([name, grows]);
        expect(now).toBeGreaterThanOrEqual(last);
        last = now;
      }
    });

    test("of a message is that of its last change and no more than the mailbox's", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      for (const subject of ["1", "2"]) await kit.deliver(store, who, message(subject));
      const { id, highestModSeq } = (await open(store, who)).info;
      const { stored } = await kit.setFlags(store, who, id, [1, 1], "add", ["x"]);
      const all = await kit.fetch(store, who, id, { modSeq: true });
      const seqs = [...all.values()].map((items) => Number(items.get("MODSEQ")?.slice(1, -1)));
      expect(seqs[0]).toBe(stored[0]?.modSeq);
      expect(seqs[0]).toBeGreaterThan(highestModSeq);
      expect(seqs[1]).toBe(highestModSeq);
      expect((await open(store, who)).info.highestModSeq).toBe(seqs[0]);
      const newer = await kit.fetch(
        store,
        who,
        id,
        { flags: true },
        { changedSince: highestModSeq },
      );
      expect([...newer.keys()]).toEqual([1]);
    });
  });

  describe("changes", () => {
    test("from any earlier state lead to the present one", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const { id } = (await open(store, who)).info;
      const states = [await stateOf(store, who, id)];
      const note = async (step: Promise<unknown>): Promise<void> => {
        await step;
        states.push(await stateOf(store, who, id));
      };
      for (let at = 0; at < 5; at++) await note(kit.deliver(store, who));
      await note(kit.setFlags(store, who, id, [2, 3], "add", ["\\Seen", "x"]));
      await note(kit.setFlags(store, who, id, [3, 4], "add", ["\\Deleted"]));
      await note(kit.expunge(store, who, id));
      await note(kit.append(store, who, "INBOX", message("new"), { flags: ["\\Flagged"] }));
      await note(kit.setFlags(store, who, id, [1, 1], "replace", ["\\Answered"]));
      const move = { ...change(), mailbox: id, uids: [6, 6], target: "INBOX" };
      await note(store.move(who, move, never));
      const now = states.at(-1);
      for (const before of states) {
        const request = { mailbox: id, sinceModSeq: before.modSeq, knownUidNext: before.uidNext };
        const changes = await store.changes(who, request, never);
        expect(changes).toMatchObject({
          highestModSeq: now?.modSeq,
          uidNext: now?.uidNext,
          messages: now?.flags.size,
        });
        expect(changes.added.every(({ uid }) => uid >= before.uidNext)).toBe(true);
        expect(changes.changed.every(({ uid }) => uid < before.uidNext)).toBe(true);
        const applied = new Map(before.flags);
        for (const uid of before.flags.keys()) {
          if (uidSetHas(changes.vanished, uid)) applied.delete(uid);
        }
        for (const { uid, flags } of [...changes.changed, ...changes.added]) {
          applied.set(uid, [...flags].sort());
        }
        expect(applied).toEqual(now?.flags);
      }
      const last = states.at(-1);
      const nothing = { mailbox: id, sinceModSeq: last?.modSeq ?? modSeq(0), knownUidNext: 99 };
      expect(await store.changes(who, nothing, never)).toMatchObject({
        added: [],
        changed: [],
        vanished: [],
      });
    });

    test("are refused to a caller that knows another mailbox than this", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await kit.deliver(store, who);
      const { id, uidValidity, highestModSeq, uidNext } = (await open(store, who)).info;
      const known = { mailbox: id, sinceModSeq: highestModSeq, knownUidNext: uidNext, uidValidity };
      expect(await store.changes(who, known, never)).toMatchObject({ highestModSeq, messages: 1 });
      for (const other of [
        { uidValidity: uidValidity + 1 },
        { sinceModSeq: modSeq(highestModSeq + 1) },
        { knownUidNext: uidNext + 1 },
      ]) {
        const refused = store.changes(who, { ...known, ...other }, never);
        await expect(refused).rejects.toMatchObject({
          failure: {
            code: "MAILBOX_GONE",
            mailbox: id,
            why: expect.stringMatching(/./) as unknown,
          },
        });
      }
    });

    test("never name a message that is there as vanished", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      for (let at = 0; at < 4; at++) await kit.deliver(store, who);
      const { id } = (await open(store, who)).info;
      const uids = { ...change(), mailbox: id, uids: [2, 3], force: true };
      await store.expunge(who, uids, never);
      const request = { mailbox: id, sinceModSeq: modSeq(0), knownUidNext: 1 };
      const changes = await store.changes(who, request, never);
      expect(changes.vanished).toEqual([2, 3]);
      expect(changes.added.map(({ uid }) => uid)).toEqual([1, 4]);
    });
  });

  describe("\\Recent", () => {
    test("goes to one opener alone, and EXAMINE takes none", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const claim = () => store.openMailbox(who, { name: "INBOX", claimRecent: true }, never);
      await kit.deliver(store, who);
      await kit.deliver(store, who);
      await open(store, who);
      expect((await store.mailboxStatus(who, "INBOX", never)).recent).toBe(2);
      expect((await claim()).recentFrom).toBe(1);
      expect((await store.mailboxStatus(who, "INBOX", never)).recent).toBe(0);
      const second = await claim();
      expect(second.recentFrom === 0 || second.recentFrom > 2).toBe(true);
      await kit.deliver(store, who);
      expect((await store.mailboxStatus(who, "INBOX", never)).recent).toBe(1);
      const { info, recentFrom } = await claim();
      expect(recentFrom).toBe(3);
      const shown = await kit.fetch(store, who, info.id, { flags: true }, { recentFrom });
      const recent = [...shown].filter(([, items]) => items.get("FLAGS")?.includes("\\Recent"));
      expect(recent.map(([uid]) => uid)).toEqual([3]);
    });

    test("two openers at once don't both get it", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await kit.deliver(store, who);
      const claims = await Promise.all(
        [1, 2, 3].map(() => store.openMailbox(who, { name: "INBOX", claimRecent: true }, never)),
      );
      expect(claims.filter(({ recentFrom }) => recentFrom === 1)).toHaveLength(1);
    });
  });

  describe("watch", () => {
    test("tells of every kind of change to a mailbox, with the MODSEQ it led to", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const { id } = (await open(store, who)).info;
      const watcher = await watch(store, who, [id]);
      const steps = [
        () => kit.deliver(store, who),
        () => kit.append(store, who, "INBOX"),
        () => kit.setFlags(store, who, id, [1, 1], "add", ["\\Deleted"]),
        () => kit.expunge(store, who, id),
        () => store.move(who, { ...change(), mailbox: id, uids: [2, 2], target: "INBOX" }, never),
      ];
      for (const step of steps) {
        await step();
        const { highestModSeq } = (await open(store, who)).info;
        await watcher.until(
          (event) =>
            event.kind === "mailbox" &&
            event.mailbox === id &&
            event.highestModSeq >= highestModSeq,
        );
      }
      await watcher.stop();
    });

    test("tells nothing of other mailboxes, and `all` tells of each", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const { id: inbox } = (await open(store, who)).info;
      const { id: other } = await store.createMailbox(who, { ...change(), name: "other" }, never);
      const [one, all] = [await watch(store, who, [inbox]), await watch(store, who, "all")];
      await kit.append(store, who, "other");
      await kit.append(store, who, "INBOX");
      const isOf = (id: MailboxId) => (event: MailboxEvent) =>
        event.kind === "mailbox" && event.mailbox === id;
      await one.until(isOf(inbox));
      await all.until(isOf(inbox));
      expect(all.seen.some(isOf(other))).toBe(true);
      expect(one.seen.some(isOf(other))).toBe(false);
      await Promise.all([one.stop(), all.stop()]);
    });

    test("tells of names, deletions and revocation", async () => {
      const { store, addAccount, revoke } = use();
      const who = await addAccount();
      const { id } = await store.createMailbox(who, { ...change(), name: "w" }, never);
      const watcher = await watch(store, who, [id]);
      await store.renameMailbox(who, { ...change(), from: "w", to: "v" }, never);
      await watcher.until(({ kind }) => kind === "list");
      await store.deleteMailbox(who, { ...change(), name: "v" }, never);
      await watcher.until((event) => event.kind === "deleted" && event.mailbox === id);
      await revoke(who, "password");
      await watcher.until(({ kind }) => kind === "revoked");
      await watcher.stop();
    });

    test("a watcher that reads late loses nothing: the last event says how far it is", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const { id } = (await open(store, who)).info;
      const watcher = await watch(store, who, "all");
      for (let at = 0; at < 30; at++) await kit.deliver(store, who);
      const { highestModSeq } = (await open(store, who)).info;
      await watcher.until(
        (event) =>
          event.kind === "mailbox" && event.mailbox === id && event.highestModSeq >= highestModSeq,
      );
      await watcher.stop();
    });

    test("ends when its signal aborts", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const watcher = await watch(store, who, "all");
      await watcher.stop();
      expect(await watcher.ended).toBe(true);
    });
  });
}

async function stateOf(store: MailStore, who: Principal, id: MailboxId) {
  const { info } = await open(store, who);
  const flags = Object.entries(await kit.flagsOf(store, who, id));
  return {
    modSeq: info.highestModSeq,
    uidNext: info.uidNext,
    flags: new Map(flags.map(([uid, list]) => [Number(uid), list])),
  };
}

interface TestWatcher {
  readonly seen: readonly MailboxEvent[];
  /** Resolves with true once the events have ended. */
  readonly ended: Promise<boolean>;
  /** Waits for an event, past or to come; gives up with the test's time. */
  until(wanted: (event: MailboxEvent) => boolean): Promise<void>;
  stop(): Promise<void>;
}

/** Watches, and returns once events are known to flow. */
async function watch(
  store: MailStore,
  who: Principal,
  mailboxes: readonly MailboxId[] | "all",
): Promise<TestWatcher> {
  const stopping = new AbortController();
  const seen: MailboxEvent[] = [];
  let wake: () => void = () => {};
  const events = store.watch(who, { mailboxes }, stopping.signal);
  const ended = (async () => {
    try {
      for await (const event of events) {
        seen.push(event);
        wake();
      }
    } catch (error) {
      if (!stopping.signal.aborted) throw error;
    }
    return true;
  })();
  const until = async (wanted: (event: MailboxEvent) => boolean): Promise<void> => {
    while (!seen.some(wanted)) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  const stop = async (): Promise<void> => {
    stopping.abort();
    await ended;
  };
  // Names are told to every watcher: the first that comes shows that the watch is in place.
  for (let on = true; seen.length === 0; on = !on) {
    await store.setSubscribed(who, { ...change(), name: "knock", subscribed: on }, never);
    await Promise.race([until(({ kind }) => kind === "list"), setTimeout(50)]);
  }
  seen.length = 0;
  return { seen, ended, until, stop };
}
