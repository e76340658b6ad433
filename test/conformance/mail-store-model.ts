// Random histories on two stores at once: the one under test must do what the fake does, and the
// changes it tells since any earlier moment must lead to the present.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isMailError } from "../../src/mail/errors.ts";
import { modSeq } from "../../src/mail/ids.ts";
import type { MailboxId, ModSeq } from "../../src/mail/ids.ts";
import type { MailStore, Principal } from "../../src/mail/mail-store.ts";
import { uidSetFromRanges, uidSetHas } from "../../src/mail/uid-set.ts";
import { FakeMailStore } from "../support/fake-mail-store.ts";
import type { Fixture } from "./mail-store.ts";
import * as kit from "./mail-store-kit.ts";
import { again, change, message, never } from "./mail-store-kit.ts";

/** One store with its side of the history. */
interface Side {
  readonly store: MailStore;
  readonly who: Principal;
  /** HIGHESTMODSEQ of mailboxes at earlier moments, by the moment's number. */
  readonly marks: Mark[];
}
interface Mark {
  readonly mailbox: MailboxId;
  readonly modSeq: ModSeq;
  readonly uidNext: number;
  readonly flags: ReadonlyMap<number, string>;
}

const existing = fc.constantFrom("INBOX", "inbox", "a", "b");
const name = fc.oneof(
  { weight: 3, arbitrary: existing },
  { weight: 1, arbitrary: fc.constantFrom("a/b", "a/b/c", "b/a", "받은/편지", "c/") },
);
const range = fc.tuple(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 1, max: 16 }));
const uids = fc.array(range, { maxLength: 3 }).map(uidSetFromRanges);
const flag = fc.constantFrom("\\Seen", "\\Deleted", "\\Deleted", "\\Flagged", "Work", "wORK", "z");
const flags = fc.array(flag, { maxLength: 3 });

const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ verb: fc.constant("deliver" as const), name, size: fc.nat(40) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ verb: fc.constant("append" as const), name, flags, count: fc.nat(3) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      verb: fc.constant("store" as const),
      name,
      uids,
      flags,
      mode: fc.constantFrom("add" as const, "remove" as const, "replace" as const),
      since: fc.option(fc.nat(20)),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      verb: fc.constant("expunge" as const),
      name,
      uids: fc.option(uids),
      force: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      verb: fc.constantFrom("copy" as const, "move" as const),
      name,
      uids,
      target: name,
    }),
  },
  { weight: 2, arbitrary: fc.record({ verb: fc.constant("create" as const), name }) },
  { weight: 1, arbitrary: fc.record({ verb: fc.constant("delete" as const), name }) },
  { weight: 1, arbitrary: fc.record({ verb: fc.constant("rename" as const), name, to: name }) },
  {
    weight: 1,
    arbitrary: fc.record({ verb: fc.constant("subscribe" as const), name, on: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ verb: fc.constant("claim" as const), name }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** What every history begins with, so that most steps find something to work on. */
const beginning: readonly Step[] = [
  { verb: "create", name: "a" },
  { verb: "create", name: "b" },
  { verb: "append", name: "INBOX", flags: ["\\Seen"], count: 5 },
  { verb: "append", name: "a", flags: [], count: 3 },
];

export function modelTests(use: Fixture, numRuns: number): void {
  describe("random histories", () => {
    const history = fc.array(fc.tuple(step, fc.boolean()), { minLength: 1, maxLength: 30 });
    const quota = fc.constantFrom({}, {}, { quotaMessages: 14 }, { quotaBytes: 1500 });

    test("lead where they lead the fake", { timeout: 120_000 }, async () => {
      const fake = new FakeMailStore();
      let accounts = 0;
      await fc.assert(
        fc.asyncProperty(history, quota, async (steps, limits) => {
          const { store, addAccount } = use();
          const real: Side = { store, who: await addAccount(limits), marks: [] };
          const { who } = fake.addAccount(`m${++accounts}@pabal.test`, limits);
          const model: Side = { store: fake, who, marks: [] };
          const all = [...beginning.map((each) => [each, false] as const), ...steps];
          for (const [each, twice] of all) {
            const expected = await perform(model, each, twice);
            expect(await perform(real, each, twice)).toEqual(expected);
            await mark(model, each.name);
            await mark(real, each.name);
          }
          expect(await snapshot(real)).toEqual(await snapshot(model));
          await checkMarks(real);
          await checkMarks(model);
        }),
        { numRuns },
      );
    });
  });
}

/** Does one step, some of them twice as after a lost answer, and says what came of it without MODSEQs. */
async function perform(side: Side, each: Step, twice: boolean): Promise<unknown> {
  try {
    return await run(side, each, twice);
  } catch (error) {
    if (isMailError(error)) return error.code;
    throw error;
  }
}

async function run(side: Side, each: Step, twice: boolean): Promise<unknown> {
  const { store, who } = side;
  const base = change();
  /** The same request again must say the same and do nothing. */
  const ask = async <R extends object, T>(
    request: R,
    call: (request: R & typeof base) => Promise<T>,
  ): Promise<T> => {
    const outcome = await call({ ...request, ...base });
    if (twice) expect(await call(again({ ...request, ...base }))).toEqual(outcome);
    return outcome;
  };
  const idOf = async (mailbox: string) => (await kit.open(store, who, mailbox)).info.id;
  switch (each.verb) {
    case "deliver": {
      const bytes = message("m", "x".repeat(each.size));
      const request = kit.deliverRequest([{ ...who, mailbox: each.name }], bytes);
      const outcomes = await ask(request, (asked) => store.deliver(asked, never));
      return outcomes.map((outcome) => (outcome.ok ? outcome.uid : outcome.failure.code));
    }
    case "append": {
      const one = kit.appendMessage(message("a"), { flags: each.flags });
      const messages = Array.from({ length: each.count + 1 }, () => one);
      const request = { mailbox: each.name, messages };
      return (await ask(request, (asked) => store.append(who, asked, never))).uids;
    }
    case "store": {
      const { mode, flags: list } = each;
      const mailbox = await idOf(each.name);
      const request = { mailbox, uids: each.uids, mode, flags: list };
      const since = each.since === null ? undefined : markAt(side, mailbox, each.since);
      const whole = since === undefined ? request : { ...request, unchangedSince: since };
      const { stored, modified } = await ask(whole, (asked) => store.store(who, asked, never));
      return [stored.map(({ uid, flags: now }) => [uid, [...now].sort()]), modified];
    }
    case "expunge": {
      const request = { mailbox: await idOf(each.name), force: each.force };
      const whole = each.uids === null ? request : { ...request, uids: each.uids };
      return (await ask(whole, (asked) => store.expunge(who, asked, never))).expunged;
    }
    case "copy":
    case "move": {
      const request = { mailbox: await idOf(each.name), uids: each.uids, target: each.target };
      const { from, to } = await ask(request, (asked) => store[each.verb](who, asked, never));
      return [from, to];
    }
    case "create":
      return (await ask({ name: each.name }, (asked) => store.createMailbox(who, asked, never)))
        .name;
    case "delete":
      return ask({ name: each.name }, (asked) => store.deleteMailbox(who, asked, never));
    case "rename": {
      const request = { from: each.name, to: each.to };
      return ask(request, (asked) => store.renameMailbox(who, asked, never));
    }
    case "subscribe": {
      const request = { name: each.name, subscribed: each.on };
      return ask(request, (asked) => store.setSubscribed(who, asked, never));
    }
    case "claim": {
      const request = { name: each.name, claimRecent: true };
      const { recentFrom, uids: there } = await store.openMailbox(who, request, never);
      return [...there].filter((uid) => recentFrom > 0 && uid >= recentFrom);
    }
  }
}

/** HIGHESTMODSEQ at an earlier moment of this mailbox, if it was marked then. */
function markAt(side: Side, mailbox: MailboxId, at: number): number | undefined {
  const marks = side.marks.filter((each) => each.mailbox === mailbox);
  return marks.length === 0 ? undefined : marks[at % marks.length]?.modSeq;
}

async function mark(side: Side, mailbox: string): Promise<void> {
  const { store, who } = side;
  const opened = await kit.open(store, who, mailbox).catch(() => undefined);
  if (opened === undefined) return;
  const { id, highestModSeq, uidNext } = opened.info;
  const before = side.marks.filter((each) => each.mailbox === id).at(-1);
  expect(highestModSeq).toBeGreaterThanOrEqual(before?.modSeq ?? 0);
  expect(uidNext).toBeGreaterThanOrEqual(before?.uidNext ?? 1);
  const flagsNow = await flagMap(store, who, id);
  expect([...opened.uids]).toEqual([...flagsNow.keys()]);
  side.marks.push({ mailbox: id, modSeq: highestModSeq, uidNext, flags: flagsNow });
}

async function flagMap(
  store: MailStore,
  who: Principal,
  id: MailboxId,
): Promise<ReadonlyMap<number, string>> {
  const all = Object.entries(await kit.flagsOf(store, who, id));
  return new Map(all.map(([uid, list]) => [Number(uid), list.join(" ")]));
}

/** Everything a client can see, but for ids, UIDVALIDITYs and MODSEQs. */
async function snapshot({ store, who }: Side): Promise<unknown> {
  const { mailboxes, orphanSubscriptions } = await store.listMailboxes(who, never);
  const contents: unknown[] = [];
  for (const info of [...mailboxes].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const { id: _, uidValidity: __, highestModSeq: ___, ...visible } = info;
    contents.push(visible);
    if (!info.selectable) continue;
    for (const [uid, items] of await kit.fetch(store, who, info.id, rendered)) {
      contents.push([uid, kit.flagList(items.get("FLAGS") ?? ""), items.get("RFC822.SIZE")]);
    }
  }
  return [contents, [...orphanSubscriptions].sort(), await store.quota(who, never)];
}

const rendered = { flags: true, size: true };

/** From each marked moment of a mailbox that is still there, its changes lead to the present. */
async function checkMarks({ store, who, marks }: Side): Promise<void> {
  const { mailboxes } = await store.listMailboxes(who, never);
  const validities = new Set(mailboxes.map((each) => `${each.id}.${each.uidValidity}`));
  expect(validities.size).toBe(
    new Set(mailboxes.map((each) => each.name)).size - derived(mailboxes),
  );
  for (const { id } of mailboxes.filter(({ selectable }) => selectable)) {
    const now = await flagMap(store, who, id);
    for (const { modSeq: since, uidNext, flags: before } of marks.filter((m) => m.mailbox === id)) {
      const request = { mailbox: id, sinceModSeq: modSeq(since), knownUidNext: uidNext };
      const { vanished, changed, added } = await store.changes(who, request, never);
      const applied = new Map([...before].filter(([uid]) => !uidSetHas(vanished, uid)));
      for (const state of [...changed, ...added]) {
        applied.set(state.uid, [...state.flags].sort().join(" "));
      }
      expect(applied).toEqual(now);
    }
  }
}

/** How many names without a mailbox are listed, less one: they all have the id 0. */
function derived(mailboxes: readonly { readonly selectable: boolean }[]): number {
  return Math.max(0, mailboxes.filter(({ selectable }) => !selectable).length - 1);
}
