// Views of groups over a local store: who is let in where (matrix of member and verb), and that a
// client that asks "what has changed since" at any gateway ends with what there is.

import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { isMailError, MailError } from "../../../src/mail/errors.ts";
import { everyoneView, firstViewId } from "../../../src/mail/group.ts";
import { mailboxId, modSeq, uid as asUid } from "../../../src/mail/ids.ts";
import type { MailStore, OpenMailbox, Principal } from "../../../src/mail/mail-store.ts";
import { allUids, uidSetFromSorted, uidSetHas } from "../../../src/mail/uid-set.ts";
import { until } from "../../support/directory/directory-cluster.ts";
import { change, fetched, never } from "../store/harness.ts";
import { makeWorld } from "./world.ts";
import type { World } from "./world.ts";

let world: World;
afterEach(() => world.close());

function gatewayAt(at = 0): MailStore {
  const store = world.gateways[at];
  if (store === undefined) throw new Error("no such gateway");
  return store;
}

const name = "Announcements/news";
const view = mailboxId(firstViewId + 1);

async function joined(group: Principal, user: Principal): Promise<void> {
  const join = { group: group.account, sinceMs: 1, fromUid: 1 };
  await world.patch(user.account, { join });
}

/** Every way to a view, by its name or its id. */
const verbs: Readonly<Record<string, (store: MailStore, who: Principal) => Promise<unknown>>> = {
  status: (store, who) => store.mailboxStatus(who, name, never),
  open: (store, who) => store.openMailbox(who, { name, claimRecent: true }, never),
  changes: (store, who) =>
    store.changes(who, { mailbox: view, sinceModSeq: modSeq(0), knownUidNext: 1 }, never),
  fetch: (store, who) =>
    fetched(store.fetch(who, { mailbox: view, uids: allUids, items: { envelope: true } }, never)),
  flags: (store, who) =>
    fetched(store.fetch(who, { mailbox: view, uids: allUids, items: { flags: true } }, never)),
  read: async (store, who) => {
    const request = { mailbox: view, uid: asUid(1), offset: 0 };
    for await (const piece of store.readMessage(who, request, never)) if (piece.length > 0) return;
  },
  search: (store, who) => store.search(who, { mailbox: view, key: { kind: "all" } }, never),
  store: (store, who) => {
    const flags = { mode: "add", flags: ["\\Seen"] } as const;
    return store.store(who, { ...change(), mailbox: view, uids: allUids, ...flags }, never);
  },
  expunge: (store, who) => store.expunge(who, { ...change(), mailbox: view }, never),
  copy: (store, who) =>
    store.copy(who, { ...change(), mailbox: view, uids: allUids, target: "INBOX" }, never),
  move: (store, who) =>
    store.move(who, { ...change(), mailbox: view, uids: [9, 9], target: "INBOX" }, never),
};
const refusals = new Set(["NO_SUCH_MAILBOX", "MAILBOX_GONE"]);

async function codeOf(run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
    return "ok";
  } catch (error) {
    if (!isMailError(error)) throw error;
    return error.code;
  }
}

describe("who is let into a group", () => {
  for (const fresh of [true, false]) {
    it(`members by every verb, nobody else by any, directory ${fresh ? "fresh" : "stale"}`, async () => {
      world = makeWorld();
      world.fresh = fresh;
      const group = await world.add("news@pabal.test", {});
      const member = await world.add("in@pabal.test");
      const former = await world.add("was@pabal.test");
      const stranger = await world.add("out@pabal.test");
      await joined(group, member);
      await joined(group, former);
      await world.post(group, "one");
      const store = gatewayAt();
      const watching = new AbortController();
      const events = store.watch(former, { mailboxes: [view] }, watching.signal);
      const gone = (async () => {
        for await (const event of events) if (event.kind === "deleted") return event.mailbox;
        return undefined;
      })();
      const opening = store.openMailbox(former, { name, claimRecent: false }, never);
      expect((await opening).info.messages).toBe(1);
      await world.patch(former.account, { leave: group.account });
      expect(await gone).toBe(view);
      watching.abort();
      const old = { ...member, credVersion: 0 };
      for (const [verb, run] of Object.entries(verbs)) {
        expect(`${verb} ${await codeOf(() => run(store, member))}`).toBe(`${verb} ok`);
        for (const who of [former, stranger, group]) {
          expect(refusals).toContain(await codeOf(() => run(store, who)));
        }
        expect(`${verb} ${await codeOf(() => run(store, old))}`).toBe(`${verb} STALE_CREDENTIALS`);
      }
      const names = async (who: Principal): Promise<readonly string[]> =>
        (await store.listMailboxes(who, never)).mailboxes.map((one) => one.name);
      expect(await names(member)).toContain(name);
      for (const who of [former, stranger]) expect(await names(who)).not.toContain(name);
    });
  }

  it("a disabled member and a deleted group: nobody", async () => {
    world = makeWorld();
    const group = await world.add("news@pabal.test", {});
    const member = await world.add("in@pabal.test");
    await joined(group, member);
    await world.post(group, "one");
    const store = gatewayAt();
    await world.patch(group.account, { disabled: true });
    expect(await codeOf(() => store.mailboxStatus(member, name, never))).toBe("NO_SUCH_MAILBOX");
    await world.patch(group.account, { disabled: false });
    await world.patch(member.account, { disabled: true });
    for (const run of Object.values(verbs)) {
      expect(await codeOf(() => run(store, member))).toBe("ACCOUNT_DISABLED");
    }
  });

  it("an old mailbox of that name stays the member's own", async () => {
    world = makeWorld();
    const store = gatewayAt();
    const member = await world.add("in@pabal.test");
    await store.createMailbox(member, { ...change(), name }, never);
    await joined(await world.add("news@pabal.test", {}), member);
    const listed = (await store.listMailboxes(member, never)).mailboxes;
    expect(listed.find((one) => one.name === name)?.group).toBeUndefined();
    expect(listed.find((one) => one.group !== undefined)?.name).toBe(`${name} (news@pabal.test)`);
  });

  it("history: a member of all sees what was posted in the days before, as the group says", async () => {
    world = makeWorld();
    const group = await world.add("all@pabal.test", { everyone: true, historyDays: 0 });
    await world.post(group, "before");
    world.harness.clock.now += 60_000;
    const late = await world.add("late@pabal.test");
    world.harness.clock.now += 60_000;
    await world.post(group, "after");
    const open = await gatewayAt().openMailbox(
      late,
      { name: "Announcements/all", claimRecent: false },
      never,
    );
    expect([...open.uids]).toEqual([2]);
  });
});

describe("a MOVE out of a group", () => {
  const counts = async (member: Principal): Promise<readonly number[]> => {
    const store = gatewayAt();
    const shown = await store.mailboxStatus(member, name, never);
    return [shown.messages, (await store.mailboxStatus(member, "INBOX", never)).messages];
  };

  for (const survives of [false, true]) {
    it(`is one entry: ${survives ? "copied and hidden" : "neither"} when a crash ${survives ? "leaves" : "cuts"} it`, async () => {
      world = makeWorld();
      const group = await world.add("news@pabal.test", {});
      const member = await world.add("in@pabal.test");
      await joined(group, member);
      await world.post(group, "one");
      await world.post(group, "two");
      const { journal, engine } = world.harness;
      const before = journal.entries.length;
      const request = { ...change(), mailbox: view, uids: [1, 1], target: "INBOX" };
      journal.losing = true;
      expect(await codeOf(() => gatewayAt().move(member, request, never))).toBe(
        "REPLICA_UNREACHABLE",
      );
      journal.losing = false;
      expect(journal.entries.length).toBe(before + 1);
      const late = journal.entries.at(-1);
      if (late !== undefined && survives) engine.apply(late);
      engine.resetShard(member.shard);
      expect(await counts(member)).toEqual(survives ? [1, 1] : [2, 0]);
      const [uid, place] = survives ? [2, 2] : [1, 1];
      const again = { ...request, ...change(), uids: [uid, uid] };
      const moved = await gatewayAt().move(member, again, never);
      expect([moved.from, moved.to]).toEqual([[uid], [place]]);
      const open = await gatewayAt().openMailbox(member, { name, claimRecent: false }, never);
      expect(open.info.highestModSeq).toBe(moved.highestModSeq);
    });
  }

  it("hides nothing when the copy finds no room", async () => {
    world = makeWorld();
    const group = await world.add("news@pabal.test", {});
    const member = await world.add("in@pabal.test");
    await joined(group, member);
    await world.post(group, "one");
    await world.patch(member.account, { quotaBytes: 10 });
    const request = { ...change(), mailbox: view, uids: [1, 1], target: "INBOX" };
    expect(await codeOf(() => gatewayAt().move(member, request, never))).toBe("OVER_QUOTA");
    expect(await counts(member)).toEqual([1, 0]);
  });
});

describe("a watch of all mailboxes", () => {
  /** Events that a member's watch has told so far, as text. */
  function watched(who: Principal): { readonly told: string[]; readonly stop: () => void } {
    const watching = new AbortController();
    const told: string[] = [];
    const run = async (): Promise<void> => {
      const events = gatewayAt().watch(who, { mailboxes: "all" }, watching.signal);
      for await (const event of events) {
        told.push(event.kind === "mailbox" ? `mailbox ${event.mailbox}` : event.kind);
      }
    };
    run().catch((error: unknown) => told.push(String(error)));
    return { told, stop: () => watching.abort() };
  }

  it("hears of a group that the directory learns of behind the member's node", async () => {
    world = makeWorld();
    const group = await world.add("news@pabal.test", {});
    const member = await world.add("in@pabal.test");
    const { told, stop } = watched(member);
    world.lagging = true;
    await joined(group, member);
    await until(() => told.includes("list"));
    told.length = 0;
    world.catchUp();
    await until(() => told.includes("list"));
    await world.post(group, "one");
    await until(() => told.includes(`mailbox ${view}`));
    stop();
  });

  it("hears of a post although the group could not be asked when it came", async () => {
    world = makeWorld();
    const group = await world.add("news@pabal.test", {});
    const member = await world.add("in@pabal.test");
    await joined(group, member);
    const { told, stop } = watched(member);
    await world.post(group, "one");
    await until(() => told.includes(`mailbox ${view}`));
    const { info } = await gatewayAt().openMailbox(member, { name, claimRecent: false }, never);
    told.length = 0;
    const away = new MailError({ code: "UNAVAILABLE", why: "no primary" });
    const changes = vi.spyOn(world.harness.store, "changes").mockRejectedValue(away);
    await world.post(group, "two");
    await until(() => changes.mock.calls.length > 0);
    changes.mockRestore();
    await until(() => told.includes(`mailbox ${view}`));
    const known = { sinceModSeq: info.highestModSeq, knownUidNext: info.uidNext };
    const news = await gatewayAt().changes(member, { mailbox: view, ...known }, never);
    expect(news.added).toHaveLength(1);
    stop();
  });

  it("hears of the group of everyone when it is made", async () => {
    world = makeWorld();
    const member = await world.add("in@pabal.test");
    const { told, stop } = watched(member);
    const group = await world.add("all@pabal.test", { everyone: true });
    await until(() => told.includes("list"));
    await world.post(group, "one");
    await until(() => told.includes(`mailbox ${everyoneView}`));
    stop();
  });
});

type Step =
  | { readonly kind: "post" }
  | { readonly kind: "remove"; readonly pick: number }
  | { readonly kind: "flag"; readonly at: number; readonly pick: number; readonly add: boolean }
  | { readonly kind: "hide"; readonly at: number; readonly pick: number }
  | { readonly kind: "sync"; readonly at: number; readonly client: number };
const at = fc.constantFrom(0, 1);
const pick = fc.integer({ min: 0, max: 20 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.constant({ kind: "post" as const }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("remove" as const), pick }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("flag" as const), at, pick, add: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("hide" as const), at, pick }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("sync" as const), at, client: fc.constantFrom(0, 1) }),
  },
);

/** A client that knows a view only by what it was told. */
class Client {
  readonly flags = new Map<number, string>();
  highest = 0;
  uidNext = 1;

  async sync(store: MailStore, who: Principal): Promise<void> {
    const request = {
      mailbox: everyoneView,
      sinceModSeq: modSeq(this.highest),
      knownUidNext: this.uidNext,
    };
    const news = await store.changes(who, request, never);
    for (const known of this.flags.keys()) {
      if (uidSetHas(news.vanished, known)) this.flags.delete(known);
    }
    for (const { uid, flags, modSeq: own } of [...news.added, ...news.changed]) {
      expect(own).toBeLessThanOrEqual(news.highestModSeq);
      if (uid >= this.uidNext || this.flags.has(uid)) this.flags.set(uid, flags.join(" "));
    }
    // A session never goes back: another gateway may be behind for a moment.
    this.highest = Math.max(this.highest, news.highestModSeq);
    this.uidNext = Math.max(this.uidNext, news.uidNext);
  }
}

describe("a view's MODSEQ", () => {
  it("a client that asks what has changed since, at any gateway, ends with what there is", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
        world = makeWorld(2);
        const group = await world.add("all@pabal.test", { everyone: true });
        const member = await world.add("one@pabal.test");
        const clients = [new Client(), new Client()];
        let posted = 0;
        for (const one of steps) {
          if (one.kind === "post") await world.post(group, `message ${++posted}`);
          else if (one.kind === "remove") await world.remove(group, 1 + (one.pick % (posted + 1)));
          else if (one.kind === "sync") {
            await clients[one.client]?.sync(gatewayAt(one.at), member);
          } else {
            const target = 1 + (one.pick % (posted + 1));
            const request = { ...change(), mailbox: everyoneView, uids: [target, target] };
            const store = gatewayAt(one.at);
            if (one.kind === "hide")
              await store.expunge(member, { ...request, force: true }, never);
            else {
              const mode = one.add ? "add" : "remove";
              const flags = one.pick % 2 === 0 ? ["\\Seen"] : ["$A", "\\Flagged"];
              await store.store(member, { ...request, mode, flags }, never);
            }
          }
        }
        const truth = await opened(gatewayAt(0), member);
        for (const [index, client] of clients.entries()) {
          // Until the gateway has heard of everything.
          for (let tries = 0; tries < 200; tries++) {
            await client.sync(gatewayAt(index), member);
            if (client.highest >= truth.open.info.highestModSeq) break;
            await new Promise<void>((resolve) => {
              setImmediate(resolve);
            });
          }
          expect(Object.fromEntries(client.flags)).toEqual(truth.flags);
          expect(client.highest).toBe(truth.open.info.highestModSeq);
        }
        world.close();
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});

/** What the view is, once the gateway knows all of the group. */
async function opened(
  store: MailStore,
  who: Principal,
): Promise<{ readonly open: OpenMailbox; readonly flags: Readonly<Record<string, string>> }> {
  world.fresh = false;
  const open = await store.openMailbox(
    who,
    { name: "Announcements/all", claimRecent: false },
    never,
  );
  const request = {
    mailbox: everyoneView,
    uids: uidSetFromSorted(open.uids),
    items: { flags: true },
  };
  const texts = await fetched(store.fetch(who, request, never));
  world.fresh = true;
  const flags = Array.from(texts, ([uid, text]) => [
    uid,
    /FLAGS \(([^)]*)\)/.exec(text)?.[1] ?? "",
  ]);
  return { open, flags: Object.fromEntries(flags) as Record<string, string> };
}
