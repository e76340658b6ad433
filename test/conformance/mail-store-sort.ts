// SORT, THREAD, object ids and previews: on messages made for it, and on random ones against the
// fake. RFC 5256, RFC 5957, RFC 8474, RFC 8970

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { MailboxId } from "../../src/mail/ids.ts";
import { indexMessage } from "../../src/mail/mime/indexer.ts";
import type { MailStore, Principal } from "../../src/mail/mail-store.ts";
import type { SearchKey } from "../../src/mail/search-key.ts";
import type { SortCriterion, SortKey } from "../../src/mail/sort-order.ts";
import { FakeMailStore } from "../support/fake-mail-store.ts";
import type { Fixture } from "./mail-store.ts";
import * as kit from "./mail-store-kit.ts";
import { change, never, open } from "./mail-store-kit.ts";

const all: SearchKey = { kind: "all" };
const secondMs = (at: number): number => Date.UTC(2026, 0, 1) + at * 1000;

/** In the order of their UIDs, from 1. */
const corpus = [
  {
    header:
      'From: Zoe <b@x.test>\r\nTo: "Bob" <z@x.test>\r\nCc: m@x.test\r\nSubject: Re: banana\r\nDate: Thu, 01 Jan 2026 12:00:00 +0900\r\nMessage-ID: <1@x>',
    body: "one",
    at: 30,
  },
  {
    header:
      "From: =?utf-8?b?6rmA7LKg7IiY?= <a@x.test>\r\nTo: y@x.test\r\nSubject: =?utf-8?q?Re:_=C3=84pfel?=\r\nDate: Thu, 01 Jan 2026 12:00:00 +0000\r\nMessage-ID: <2@x>\r\nReferences: <1@x>",
    body: "two and a bit more",
    at: 10,
  },
  {
    header:
      "From: A@x.test\r\nCc: group: k@x.test;\r\nSubject: [list] APPLE (fwd)\r\nMessage-ID: <3@x>\r\nIn-Reply-To: <2@x>",
    body: "three",
    at: 20,
  },
  {
    header: "Subject: banana\r\nDate: Wed, 31 Dec 2025 23:00:00 -0500\r\nMessage-ID: <4@x>",
    body: "",
    at: 20,
  },
];

const by = (...keys: readonly (SortKey | `-${SortKey}`)[]): readonly SortCriterion[] =>
  keys.map((key) =>
    key.startsWith("-")
      ? { key: key.slice(1) as SortKey, reverse: true }
      : { key: key as SortKey, reverse: false },
  );

const orders: readonly (readonly [string, readonly SortCriterion[], readonly number[]])[] = [
  ["nothing", [], [1, 2, 3, 4]],
  ["ARRIVAL", by("arrival"), [2, 3, 4, 1]],
  ["REVERSE ARRIVAL, equal ones as they stand", by("-arrival"), [1, 3, 4, 2]],
  ["DATE in UTC, INTERNALDATE without one", by("date"), [3, 1, 4, 2]],
  ["SUBJECT, then mailbox order", by("subject"), [3, 2, 1, 4]],
  ["SUBJECT REVERSE DATE", by("subject", "-date"), [3, 2, 4, 1]],
  ["REVERSE SUBJECT", by("-subject"), [1, 4, 2, 3]],
  ["FROM: the local part", by("from"), [4, 2, 3, 1]],
  ["TO", by("to"), [3, 4, 2, 1]],
  ["CC, a group by its name", by("cc"), [2, 4, 3, 1]],
  ["SIZE", by("size"), [4, 3, 1, 2]],
  ["DISPLAYFROM", by("displayFrom"), [4, 3, 1, 2]],
  ["DISPLAYTO", by("displayTo"), [3, 4, 1, 2]],
];

export function sortTests(use: Fixture): void {
  describe("SORT and THREAD", () => {
    let filled: Promise<Filled> | undefined;
    const corpusIn = (): Promise<Filled> => (filled ??= fill(use));

    test.each(orders)("%s", async (_, sort, expected) => {
      const { store, who, id } = await corpusIn();
      const { uids } = await store.search(who, { mailbox: id, key: all, sort }, never);
      expect([...uids]).toEqual(expected);
    });

    test("only what matches is sorted", async () => {
      const { store, who, id } = await corpusIn();
      const key: SearchKey = { kind: "not", key: { kind: "uid", set: [3, 3] } };
      const sort = by("subject");
      const { uids } = await store.search(who, { mailbox: id, key, sort }, never);
      expect([...uids]).toEqual([2, 1, 4]);
      const none = await store.search(
        who,
        { mailbox: id, key: { kind: "uid", set: [] }, sort },
        never,
      );
      expect([...none.uids]).toEqual([]);
    });

    test("MODSEQ of the first and the last in the order asked for", async () => {
      const { store, who, id } = await corpusIn();
      const states = await kit.fetch(store, who, id, { modSeq: true });
      const modSeqOf = (uid: number): number =>
        Number(states.get(uid)?.get("MODSEQ")?.slice(1, -1));
      const request = { mailbox: id, key: all, wantModSeq: true };
      const ascending = await store.search(who, request, never);
      expect(ascending.endModSeqs).toEqual([modSeqOf(1), modSeqOf(4)]);
      const sorted = await store.search(who, { ...request, sort: by("arrival") }, never);
      expect(sorted.endModSeqs).toEqual([modSeqOf(2), modSeqOf(1)]);
      expect(sorted.highestModSeqOfResults).toBe(Math.max(...[1, 2, 3, 4].map(modSeqOf)));
    });

    test("threads by references and by subject", async () => {
      const { store, who, id } = await corpusIn();
      const threads = async (thread: "references" | "orderedSubject") => {
        const outcome = await store.search(who, { mailbox: id, key: all, thread }, never);
        expect([...outcome.uids]).toEqual([1, 2, 3, 4]);
        return Array.from(outcome.threads?.uids ?? [], (uid, at) => [
          uid,
          outcome.threads?.depths[at],
        ]);
      };
      // 1, 2 and 3 by their ids; 4 has the subject that 1 answers.
      expect(await threads("references")).toEqual([
        [4, 0],
        [1, 1],
        [2, 2],
        [3, 3],
      ]);
      expect(await threads("orderedSubject")).toEqual([
        [3, 0],
        [1, 0],
        [4, 1],
        [2, 0],
      ]);
    });

    test("any messages in any order as the fake has them", async () => {
      const { store, addAccount } = use();
      await fc.assert(
        fc.asyncProperty(
          fc.array(anyMail, { minLength: 1, maxLength: 12 }),
          fc.array(fc.record({ key: anySortKey, reverse: fc.boolean() }), { maxLength: 3 }),
          async (mails, sort) => {
            const ours = await filledWith(store, await addAccount(), mails);
            const fake = new FakeMailStore();
            const theirs = await filledWith(fake, fake.addAccount("u@b.test").who, mails);
            for (const part of [
              { sort },
              { thread: "references" },
              { thread: "orderedSubject" },
            ] as const) {
              const request = { key: all, ...part };
              const [a, b] = [
                await store.search(ours.who, { ...request, mailbox: ours.id }, never),
                await fake.search(theirs.who, { ...request, mailbox: theirs.id }, never),
              ];
              expect([...a.uids]).toEqual([...b.uids]);
              expect(Array.from(a.threads?.uids ?? [])).toEqual(Array.from(b.threads?.uids ?? []));
              expect(Array.from(a.threads?.depths ?? [])).toEqual(
                Array.from(b.threads?.depths ?? []),
              );
            }
          },
        ),
        { numRuns: 15 },
      );
    });
  });

  describe("object ids and previews", () => {
    test("EMAILID stays with the content, THREADID with the thread; both are found", async () => {
      const { store, who, inbox } = await kit.withTarget(use);
      const mails = [
        "Message-ID: <a@x>\r\n\r\nfirst\r\n",
        "Message-ID: <b@x>\r\nReferences: <a@x>\r\n\r\nsecond\r\n",
        "Message-ID: <c@x>\r\nIn-Reply-To: <a@x>\r\n\r\nthird\r\n",
        "Message-ID: <d@x>\r\n\r\nfourth\r\n",
        "\r\nno id\r\n",
        "\r\nno id either\r\n",
      ];
      for (const mail of mails) await kit.append(store, who, "INBOX", Buffer.from(mail));
      await store.copy(who, { ...change(), mailbox: inbox, uids: [2, 2], target: "target" }, never);
      const items = { emailId: true, threadId: true };
      const found = await kit.fetch(store, who, inbox, items);
      const ids = (name: string): string[] =>
        [...found.values()].map((each) => each.get(name) ?? "");
      const threads = ids("THREADID");
      expect(new Set(ids("EMAILID")).size).toBe(6);
      for (const id of [...threads, ...ids("EMAILID")])
        expect(id).toMatch(/^\([A-Za-z][\w-]{1,254}\)$/);
      expect(threads[1]).toBe(threads[0]);
      expect(threads[2]).toBe(threads[0]);
      expect(new Set(threads).size).toBe(4);
      const target = (await open(store, who, "target")).info.id;
      const copied = await kit.fetchOne(store, who, target, 1, items);
      expect(copied.get("EMAILID")).toBe(ids("EMAILID")[1]);
      expect(copied.get("THREADID")).toBe(threads[0]);
      const search = async (key: SearchKey): Promise<readonly number[]> => [
        ...(await store.search(who, { mailbox: inbox, key }, never)).uids,
      ];
      const bare = (id: string | undefined): string => id?.slice(1, -1) ?? "";
      expect(await search({ kind: "emailId", id: bare(ids("EMAILID")[2]) })).toEqual([3]);
      expect(await search({ kind: "emailId", id: "Mnone" })).toEqual([]);
      expect(await search({ kind: "threadId", id: bare(threads[0]) })).toEqual([1, 2, 3]);
      expect(await search({ kind: "threadId", id: bare(threads[0]).toUpperCase() })).toEqual([]);
    });

    const part = (type: string, text: string): string =>
      `--b\r\nContent-Type: ${type}\r\n\r\n${text}\r\n`;
    const previews: readonly (readonly [string, string, string])[] = [
      ["plain text in one line", "\r\nHello,\r\n\r\n  world\t!\r\n", "Hello, world !"],
      ["no text", "Content-Type: image/png\r\n\r\nxxxx\r\n", ""],
      ["nothing", "Subject: x\r\n\r\n", ""],
      ["quotes and backslashes", '\r\nsay "\\"\r\n', 'say \\"\\\\\\"'],
      ["own text before quoted text", "\r\n> old\r\nnew\r\n", "new"],
      ["quoted text alone", "\r\n> old\r\n", "> old"],
      [
        "HTML without its tags",
        "Content-Type: text/html\r\n\r\n<style>a{}</style><p>Hello <b>you</b></p>\r\n",
        "Hello you",
      ],
      [
        "the first text part",
        `Content-Type: multipart/mixed; boundary=b\r\n\r\n${part("image/png", "xx")}${part("text/plain", "first")}${part("text/plain", "second")}--b--\r\n`,
        "first",
      ],
      [
        "Korean, encoded",
        `Content-Type: text/plain; charset=euc-kr\r\nContent-Transfer-Encoding: base64\r\n\r\n${Buffer.from([0xbe, 0xc8, 0xb3, 0xe7]).toString("base64")}\r\n`,
        "안녕",
      ],
      ["at most 200 characters", `\r\n${"가나 ".repeat(200)}`, "가나 ".repeat(66) + "가나"],
    ];

    test.each(previews)("PREVIEW: %s", async (_, mail, expected) => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await kit.append(store, who, "INBOX", Buffer.from(mail));
      const { id } = (await open(store, who)).info;
      for (const items of [{ preview: true }, { preview: true, previewLazy: true }]) {
        const found = await kit.fetchOne(store, who, id, 1, { ...items, size: true });
        const shown = Buffer.from(found.get("PREVIEW") ?? "none", "latin1").toString("utf8");
        expect(shown).toBe(expected);
      }
    });

    test("PREVIEW besides the whole message", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await kit.append(store, who, "INBOX", Buffer.from("\r\nHello\r\n"));
      const { id } = (await open(store, who)).info;
      const section = { path: [], kind: "body", label: "BODY[]" } as const;
      const found = await kit.fetchOne(store, who, id, 1, {
        flags: true,
        preview: true,
        sections: [section],
      });
      expect(found.get("PREVIEW")).toBe("Hello");
      expect(found.get("BODY[]")).toBe("\r\nHello\r\n");
    });
  });
}

interface Filled {
  readonly store: MailStore;
  readonly who: Principal;
  readonly id: MailboxId;
}

async function fill(use: Fixture): Promise<Filled> {
  const { store, addAccount } = use();
  const mails = corpus.map(({ header, body, at }) => ({ text: `${header}\r\n\r\n${body}`, at }));
  return filledWith(store, await addAccount(), mails);
}

async function filledWith(
  store: MailStore,
  who: Principal,
  mails: readonly { readonly text: string; readonly at: number }[],
): Promise<Filled> {
  const messages = mails.map(({ text, at }) => {
    const bytes = Buffer.from(text);
    const source = { kind: "bytes", bytes } as const;
    return { source, index: indexMessage(bytes), flags: [], internalDateMs: secondMs(at) };
  });
  await store.append(who, { ...change(), mailbox: "INBOX", messages }, never);
  return { store, who, id: (await open(store, who)).info.id };
}

const anySortKey = fc.constantFrom<SortKey>(
  "arrival",
  "cc",
  "date",
  "from",
  "size",
  "subject",
  "to",
  "displayFrom",
  "displayTo",
);
const ids = fc.constantFrom("", "<a@x>", "<b@x>", '<"c"@x>', "<d@x> <a@x>", "dirt", "<e@x>");
const addresses = fc.constantFrom(
  "",
  "a@x.test",
  "B <b@x.test>, c@x.test",
  "=?utf-8?b?6rmA?= <k@x.test>",
  '"Q \\"x\\"" <q@x.test>',
  "g: m@x.test;",
  "한글 <h@x.test>",
  "nobody",
);
const anyMail = fc
  .record({
    subject: fc.constantFrom(
      "",
      "t",
      "Re: T",
      "[l] u",
      "=?utf-8?q?=C3=A9t=C3=A9?=",
      "ÉTÉ",
      "v (fwd)",
    ),
    from: addresses,
    to: addresses,
    cc: addresses,
    messageId: ids,
    references: ids,
    inReplyTo: ids,
    date: fc.constantFrom(
      "",
      "bad",
      "Thu, 01 Jan 2026 00:00:05 +0000",
      "Thu, 01 Jan 2026 09:00:02 +0900",
    ),
    at: fc.nat(6),
  })
  .map(({ at, ...fields }) => ({
    at,
    text: `${Object.entries(fields)
      .filter(([, value]) => value !== "")
      .map(([name, value]) => `${fieldNames.get(name) ?? name}: ${value}\r\n`)
      .join("")}\r\nx\r\n`,
  }));
const fieldNames = new Map([
  ["messageId", "Message-ID"],
  ["inReplyTo", "In-Reply-To"],
]);
