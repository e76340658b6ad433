// SEARCH with the index finds what SEARCH without it finds, whatever happens to mail and index.

import { Buffer } from "node:buffer";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../../../src/lib/random.ts";
import type { Principal } from "../../../../src/mail/mail-store.ts";
import type { SearchKey } from "../../../../src/mail/search-key.ts";
import { allUids } from "../../../../src/mail/uid-set.ts";
import { buildBlock } from "../../../../src/store/search-index/block.ts";
import { placeOfKey } from "../../../../src/store/search-index/index-keys.ts";
import { inlineWorker } from "../../../../src/store/search-index/index-worker.ts";
import { SearchIndex } from "../../../../src/store/search-index/search-index.ts";
import { addAccount, change, makeStore, never } from "../harness.ts";
import { deliverAll, found, inbox, makeIndexed, memoryDatabase, scanned } from "./support.ts";
import type { Indexed } from "./support.ts";

const vocabulary =
  "hello help world word report rep a ab 7 77 보고서 보고 고 회의록 한글 漢字 字 かな é ﬁn x.y".split(
    " ",
  );
const texts = fc
  .array(fc.tuple(fc.constantFrom(...vocabulary), fc.constantFrom(" ", "", "\r\n", ", ")), {
    maxLength: 12,
  })
  .map((pieces) => pieces.flat().join(""));
const mails = fc.record({ subject: fc.constantFrom(...vocabulary), body: texts }).map(mailOf);

function mailOf({ subject, body }: { subject: string; body: string }): Buffer {
  const head = `Subject: ${subject}\r\nContent-Type: text/plain; charset=utf-8`;
  return Buffer.from(`${head}\r\n\r\n${body}\r\n`);
}

const { key } = fc.letrec<{ key: SearchKey }>((tie) => ({
  key: fc.oneof(
    { maxDepth: 2 },
    texts.map((text): SearchKey => ({ kind: "body", text: text.slice(0, 8) })),
    fc.constantFrom(...vocabulary).map((text): SearchKey => ({ kind: "text", text })),
    fc
      .constantFrom(...vocabulary, "")
      .map((text): SearchKey => ({ kind: "header", name: "Subject", text })),
    tie("key").map((inner): SearchKey => ({ kind: "not", key: inner })),
    fc.tuple(tie("key"), tie("key")).map(([a, b]): SearchKey => ({ kind: "or", a, b })),
    fc.tuple(tie("key"), tie("key")).map((keys): SearchKey => ({ kind: "and", keys })),
  ),
}));

type Step =
  | { readonly kind: "deliver"; readonly mails: readonly Buffer[] }
  | { readonly kind: "expunge"; readonly part: number }
  | { readonly kind: "build" };

const steps = fc.oneof(
  fc
    .array(mails, { minLength: 1, maxLength: 12 })
    .map((all): Step => ({ kind: "deliver", mails: all })),
  fc.nat(9).map((part): Step => ({ kind: "expunge", part })),
  fc.constant<Step>({ kind: "build" }),
);

async function uidsOf({ store }: Indexed, who: Principal): Promise<number[]> {
  return [...(await store.openMailbox(who, { name: "INBOX", claimRecent: false })).uids];
}

async function expunge({ store }: Indexed, who: Principal, uids: readonly number[]): Promise<void> {
  const set = uids.flatMap((uid) => [uid, uid]);
  if (set.length === 0) return;
  await store.expunge(who, { ...change(), mailbox: inbox, uids: set, force: true }, never);
}

async function take(store: Indexed, who: Principal, step: Step): Promise<void> {
  if (step.kind === "deliver") await deliverAll(store, who, step.mails);
  else if (step.kind === "build") await store.index.buildNow();
  else {
    const uids = await uidsOf(store, who);
    await expunge(
      store,
      who,
      uids.filter((uid) => uid % 10 <= step.part),
    );
  }
}

async function expectSame(
  store: Indexed,
  who: Principal,
  keys: readonly SearchKey[],
): Promise<void> {
  for (const one of keys) {
    const expected = await scanned(store, who, one);
    expect(await found(store, who, one), JSON.stringify(one)).toEqual(expected);
  }
}

const probes: readonly SearchKey[] = [
  ...vocabulary.map((text): SearchKey => ({ kind: "body", text })),
  { kind: "text", text: "report" },
  { kind: "header", name: "subject", text: "보고" },
];

/** A store with `rounds` blocks of a few messages each. */
async function withBlocks(rounds: number): Promise<{ store: Indexed; who: Principal }> {
  const store = await makeIndexed();
  const who = await addAccount(store);
  for (let round = 0; round < rounds; round++) {
    const bodies = fc.sample(mails, { numRuns: 5, seed: round + 1 });
    await deliverAll(store, who, bodies);
    await store.index.buildNow();
  }
  return { store, who };
}

async function rowsOf(store: Indexed): Promise<[Buffer, Buffer][]> {
  return store.rows().iterator().all();
}

describe("the search index", () => {
  it("finds what a scan finds, while mail comes and goes", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(steps, { minLength: 3, maxLength: 10 }),
        fc.array(key, { minLength: 2, maxLength: 5 }),
        async (all, keys) => {
          const store = await makeIndexed();
          const who = await addAccount(store);
          for (const step of all) {
            await take(store, who, step);
            await expectSame(store, who, keys);
          }
        },
      ),
      { numRuns: 25 },
    );
  });

  it("notes little for a search of very many texts, and finds the same", async () => {
    const store = await makeIndexed();
    const who = await addAccount(store);
    await deliverAll(store, who, [mailOf({ subject: "x", body: "hello" })]);
    await store.index.buildNow();
    const keys = Array.from({ length: 500 }, (): SearchKey => ({ kind: "body", text: "report" }));
    const all: SearchKey = { kind: "and", keys };
    const place = { account: who.account, mailbox: inbox };
    const hint = await store.engine.withAccount(who, (account) =>
      store.engine.withSummary(account, account.mailbox(inbox), ({ columns }) =>
        store.index.narrow(place, columns, columns.uids(), all),
      ),
    );
    expect(keys.filter((one) => hint?.rulesOut(one, 0) === true).length).toBe(64);
    expect(await found(store, who, all)).toEqual(await scanned(store, who, all));
  });

  it("finds nothing wrong while it is built, and mail comes and goes at the same time", async () => {
    const { store, who } = await withBlocks(6);
    for (let round = 0; round < 12; round++) {
      const one = probes[round % probes.length] ?? { kind: "all" };
      const before = await scanned(store, who, one);
      const gone = (await uidsOf(store, who)).filter((uid) => uid % 7 === round % 7);
      const [, , , during] = await Promise.all([
        deliverAll(store, who, fc.sample(mails, { numRuns: 8, seed: round + 100 })),
        expunge(store, who, gone),
        store.index.buildNow(),
        found(store, who, one),
      ]);
      const after = await scanned(store, who, one);
      const stayed = before.filter((uid) => after.includes(uid));
      expect(during).toEqual(expect.arrayContaining(stayed));
      expect([...before, ...after]).toEqual(expect.arrayContaining(during));
    }
  });

  it("merges blocks, and drops what went", async () => {
    const { store, who } = await withBlocks(20);
    expect(store.index.figures).toMatchObject({ messages: 100, merges: 2, damages: 0 });
    await expectSame(store, who, probes);
    const before = (await rowsOf(store)).reduce((sum, [, value]) => sum + value.length, 0);
    await expunge(
      store,
      who,
      (await uidsOf(store, who)).filter((uid) => uid > 3),
    );
    await store.index.buildNow();
    await expectSame(store, who, probes);
    const after = (await rowsOf(store)).reduce((sum, [, value]) => sum + value.length, 0);
    expect(after).toBeLessThan(before / 3);
  });

  it("forgets a deleted mailbox", async () => {
    const { store, who } = await withBlocks(1);
    const other = await store.store.createMailbox(who, { ...change(), name: "Other" }, never);
    await store.store.move(
      who,
      { ...change(), mailbox: inbox, uids: allUids, target: "Other" },
      never,
    );
    await store.index.buildNow();
    const rowsOfOther = async (): Promise<number> =>
      (await rowsOf(store)).filter(
        ([row]) => row.length > 13 && placeOfKey(row).mailbox === other.id,
      ).length;
    expect(await rowsOfOther()).toBeGreaterThan(1);
    await store.store.deleteMailbox(who, { ...change(), name: "Other" }, never);
    await store.index.buildNow();
    expect(await rowsOfOther()).toBe(0);
  });

  it("is right, or nothing, with any byte of it changed", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        async (row, byte, by) => {
          const { store, who } = await withBlocks(3);
          const rows = await rowsOf(store);
          const [rowKey, value] = rows[row % rows.length] ?? [];
          if (rowKey === undefined || value === undefined) return;
          const changed = Buffer.from(value);
          changed[byte % value.length] = (changed[byte % value.length] ?? 0) ^ by;
          await store.rows().put(rowKey, changed);
          await expectSame(store, who, probes.slice(0, 6));
          await store.index.buildNow();
          await expectSame(store, who, probes);
        },
      ),
      { numRuns: 15 },
    );
  });

  it("is right with any row of it missing", async () => {
    const { store, who } = await withBlocks(3);
    for (const [rowKey] of await rowsOf(store)) {
      await store.rows().del(rowKey);
      await expectSame(store, who, probes.slice(0, 8));
    }
    await store.index.buildNow();
    expect((await rowsOf(store)).length).toBeGreaterThan(1);
    await expectSame(store, who, probes);
  });

  it("is made anew when its database fails", async () => {
    const { store, who } = await withBlocks(3);
    await store.rows().close();
    await expectSame(store, who, probes);
    expect(store.index.figures.damages).toBe(1);
    await store.index.buildNow();
    await expectSame(store, who, probes);
    expect((await rowsOf(store)).length).toBeGreaterThan(1);
  });

  it("does not believe a block about a message that is another one now", async () => {
    const { store, who } = await withBlocks(0);
    await deliverAll(store, who, [mailOf({ subject: "a", body: "report" })]);
    const place = { account: who.account, mailbox: inbox };
    const uid = (await uidsOf(store, who))[0] ?? 0;
    for (const [rowKey, value] of buildBlock(place, 1, [
      { uid, check: 1, grams: new Uint32Array([5]) },
    ])) {
      await store.rows().put(rowKey, value);
    }
    expect(await found(store, who, { kind: "body", text: "report" })).toEqual([uid]);
  });

  it("has messages with too many words, and those its worker died of, as candidates", async () => {
    const many = Array.from({ length: 35_000 }, (_, at) =>
      String.fromCharCode(0xac00 + (at % 11_000), 0xac00 + Math.floor(at / 11_000)),
    );
    const mail = mailOf({ subject: "a", body: `${many.join(" ")}\r\nreport` });
    const harness = makeStore();
    let dying = true;
    const index = await SearchIndex.open({
      engine: harness.engine,
      database: memoryDatabase(),
      worker: {
        ...inlineWorker,
        run: (job) => {
          if (!dying) return inlineWorker.run(job);
          dying = false;
          return Promise.reject(new Error("out of memory"));
        },
      },
      random: new SeededRandom(1),
      mayBuild: () => true,
    });
    harness.engine.searchHints = index;
    const who = await addAccount(harness);
    for (const round of [1, 2]) {
      await deliverAll(harness, who, [mail]);
      await index.buildNow();
      expect(index.figures.messages).toBe(round);
      const uids = await found(harness, who, { kind: "body", text: "report" });
      expect(uids).toHaveLength(round);
    }
  });
});
