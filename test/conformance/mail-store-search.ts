// SEARCH: every kind of key, on messages made for it. RFC 9051 §6.4.4

import { describe, expect, test } from "vitest";
import type { MailboxId } from "../../src/mail/ids.ts";
import type { MailStore, Principal } from "../../src/mail/mail-store.ts";
import type { SearchKey } from "../../src/mail/search-key.ts";
import type { Fixture } from "./mail-store.ts";
import * as kit from "./mail-store-kit.ts";
import { change, never, open } from "./mail-store-kit.ts";

const day = (year: number, month: number, date: number): number =>
  Date.UTC(year, month - 1, date) / 86_400_000;
const noon = (year: number, month: number, date: number): number =>
  Date.UTC(year, month - 1, date, 12);
const korean = Buffer.from("안녕하세요").toString("base64");

/** The messages, with UIDs from 1; sizes differ by more than the table needs. */
const corpus = [
  {
    text: "From: Alice <alice@b.test>\r\nTo: bob@b.test\r\nSubject: Lunch\r\nDate: Tue, 03 Mar 2026 12:00:00 +0000\r\n\r\nShall we eat NOODLES?\r\n",
    flags: ["\\Seen", "Work"],
    internalDateMs: noon(2026, 3, 5),
  },
  {
    text: `From: =?utf-8?q?J=C3=BCrgen?= <j@b.test>\r\nSubject: =?utf-8?b?${korean}?=\r\nDate: Wed, 04 Mar 2026 12:00:00 +0000\r\nX-Empty:\r\n\r\nplain text\r\n`,
    flags: ["\\Flagged"],
    internalDateMs: noon(2026, 3, 4),
  },
  {
    text: `Subject: encoded\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n${Buffer.from("서울에서 만나요, naïve\r\n").toString("base64")}\r\n`,
    flags: ["\\Deleted", "work", "\\Answered"],
    internalDateMs: noon(2026, 3, 3),
  },
  {
    text: "Subject: folded\r\n subject line\r\nDate: Thu, 05 Mar 2026 12:00:00 +0000\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nsoft=\r\nbreak and caf=C3=A9\r\n".padEnd(
      2_000,
      "x",
    ),
    flags: ["\\Draft", "\\Seen"],
    internalDateMs: noon(2026, 3, 3),
  },
];

const flag = (name: string, set = true): SearchKey => ({ kind: "flag", flag: name, set });
const header = (name: string, text: string): SearchKey => ({ kind: "header", name, text });
const body = (text: string): SearchKey => ({ kind: "body", text });
const whole = (text: string): SearchKey => ({ kind: "text", text });
type DateKey = Extract<SearchKey, { kind: "date" }>;
const date = (of: DateKey["of"], op: DateKey["op"], at: number): SearchKey => ({
  kind: "date",
  of,
  op,
  day: at,
});

const table: readonly (readonly [string, SearchKey, readonly number[]])[] = [
  ["ALL", { kind: "all" }, [1, 2, 3, 4]],
  ["an AND of nothing", { kind: "and", keys: [] }, [1, 2, 3, 4]],
  ["AND", { kind: "and", keys: [flag("\\Seen"), flag("work")] }, [1]],
  ["OR", { kind: "or", a: flag("\\Flagged"), b: flag("\\Draft") }, [2, 4]],
  ["NOT", { kind: "not", key: flag("\\Seen") }, [2, 3]],
  ["NOT NOT", { kind: "not", key: { kind: "not", key: flag("\\Seen") } }, [1, 4]],
  ["UIDs", { kind: "uid", set: [2, 3, 9, 0xffff_ffff] }, [2, 3]],
  ["no UIDs", { kind: "uid", set: [] }, []],
  ["\\seen", flag("\\seen"), [1, 4]],
  ["UNSEEN", flag("\\Seen", false), [2, 3]],
  ["KEYWORD in any case", flag("WORK"), [1, 3]],
  ["UNKEYWORD", flag("work", false), [2, 4]],
  ["a keyword nobody has", flag("none"), []],
  ["UNKEYWORD of one nobody has", flag("none", false), [1, 2, 3, 4]],
  ["a field in any case", header("SUBJECT", "lUNch"), [1]],
  ["part of an address", header("From", "alice@"), [1]],
  ["an encoded field", header("subject", "녕하"), [2]],
  ["an encoded name", header("from", "JÜRGEN"), [2]],
  ["a folded field", header("subject", "folded subject"), [4]],
  ["a field that is there", header("x-empty", ""), [2]],
  ["a field that is not there", header("x-none", ""), []],
  ["a field's name in another's text", header("Lunch", ""), []],
  ["__proto__ as a field", header("__proto__", ""), []],
  ["BODY", body("noodles"), [1]],
  ["BODY leaves the header out", body("lunch"), []],
  ["BODY in base64", body("에서 만나"), [3]],
  ["BODY over a soft line break", body("softbreak"), [4]],
  ["BODY in quoted-printable", body("CAFÉ"), [4]],
  ["TEXT in the header", whole("bob@b.test"), [1]],
  ["TEXT in the body", whole("naïve"), [3]],
  ["TEXT nowhere", whole("nowhere at all"), []],
  ["BEFORE", date("internal", "before", day(2026, 3, 4)), [3, 4]],
  ["ON", date("internal", "on", day(2026, 3, 4)), [2]],
  ["SINCE", date("internal", "since", day(2026, 3, 4)), [1, 2]],
  [
    "SENTBEFORE",
    { kind: "and", keys: [header("date", ""), date("sent", "before", day(2026, 3, 4))] },
    [1],
  ],
  ["SENTON", date("sent", "on", day(2026, 3, 4)), [2]],
  ["SENTSINCE", date("sent", "since", day(2026, 3, 4)), [2, 4]],
  ["SAVEDSINCE a day long past", date("saved", "since", day(2020, 1, 1)), [1, 2, 3, 4]],
  ["SAVEDBEFORE a day long past", date("saved", "before", day(2020, 1, 1)), []],
  ["LARGER", { kind: "size", op: "larger", bytes: 1_999 }, [4]],
  ["LARGER than itself", { kind: "size", op: "larger", bytes: 2_000 }, []],
  ["SMALLER", { kind: "size", op: "smaller", bytes: 2_000 }, [1, 2, 3]],
  ["SMALLER than 2^33", { kind: "size", op: "smaller", bytes: 2 ** 33 }, [1, 2, 3, 4]],
  ["YOUNGER", { kind: "age", op: "younger", seconds: 86_400, nowMs: noon(2026, 3, 5) + 1000 }, [1]],
  ["OLDER", { kind: "age", op: "older", seconds: 86_400, nowMs: noon(2026, 3, 5) - 1000 }, [3, 4]],
  ["MODSEQ 1", { kind: "modseq", least: 1 }, [1, 2, 3, 4]],
];

export function searchTests(use: Fixture): void {
  describe("SEARCH", () => {
    let filled: Promise<Filled> | undefined;
    const corpusIn = (): Promise<Filled> => (filled ??= fill(use));

    test.each(table)("%s", async (_, key, expected) => {
      const { store, who, id } = await corpusIn();
      const { uids } = await store.search(who, { mailbox: id, key }, never);
      expect([...uids]).toEqual(expected);
    });

    test("tells the highest MODSEQ of what it found, when asked", async () => {
      const { store, who, id, modSeqs } = await corpusIn();
      const search = (key: SearchKey) =>
        store.search(who, { mailbox: id, key, wantModSeq: true }, never);
      const two = await search({ kind: "uid", set: [1, 2] });
      expect(two.highestModSeqOfResults).toBe(Math.max(modSeqs[0] ?? 0, modSeqs[1] ?? 0));
      expect((await search({ kind: "uid", set: [9, 9] })).highestModSeqOfResults).toBeUndefined();
      const newest = Math.max(...modSeqs);
      const above = await search({ kind: "modseq", least: newest });
      expect([...above.uids]).toEqual([modSeqs.indexOf(newest) + 1]);
    });

    test("SENTON and its like go by the day that the header names. RFC 9051 §6.4.4", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const dates = [
        "Wed, 04 Mar 2026 23:30:00 -0500", // The 5th in UTC.
        "Thu, 05 Mar 2026 00:30:00 +0900", // The 4th in UTC.
        "Wed, 31 Dec 1969 23:30:00 -0330",
        "Mon, 01 Jan 1940 00:30:00 +9959",
        "Mon, 01 Jan 1940 23:30:00 -9959",
      ];
      for (const sent of dates) {
        await kit.deliver(store, who, Buffer.from(`Date: ${sent}\r\n\r\nx\r\n`));
      }
      const { id } = (await open(store, who)).info;
      const found = async (op: DateKey["op"], at: number): Promise<readonly number[]> => [
        ...(await store.search(who, { mailbox: id, key: date("sent", op, at) }, never)).uids,
      ];
      expect(await found("on", day(2026, 3, 4))).toEqual([1]);
      expect(await found("on", day(2026, 3, 5))).toEqual([2]);
      expect(await found("since", day(2026, 3, 5))).toEqual([2]);
      expect(await found("on", day(1969, 12, 31))).toEqual([3]);
      expect(await found("before", day(1970, 1, 1))).toEqual([3, 4, 5]);
      expect(await found("on", day(1940, 1, 1))).toEqual([4, 5]);
    });

    test("sees changes at once", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await kit.deliver(store, who);
      await kit.deliver(store, who);
      const { id } = (await open(store, who)).info;
      const deleted = { mailbox: id, key: flag("\\Deleted") };
      await kit.setFlags(store, who, id, [2, 2], "add", ["\\Deleted"]);
      expect([...(await store.search(who, deleted, never)).uids]).toEqual([2]);
      await kit.expunge(store, who, id);
      expect([...(await store.search(who, deleted, never)).uids]).toEqual([]);
    });
  });
}

interface Filled {
  readonly store: MailStore;
  readonly who: Principal;
  readonly id: MailboxId;
  readonly modSeqs: readonly number[];
}

async function fill(use: Fixture): Promise<Filled> {
  const { store, addAccount } = use();
  const who = await addAccount();
  for (const { text, flags, internalDateMs } of corpus) {
    await kit.append(store, who, "INBOX", Buffer.from(text), { flags, internalDateMs });
  }
  const { id } = (await open(store, who)).info;
  await store.store(
    who,
    { ...change(), mailbox: id, uids: [2, 2], mode: "add", flags: ["later"] },
    never,
  );
  const all = await kit.fetch(store, who, id, { modSeq: true });
  const modSeqs = [...all.values()].map((items) => Number(items.get("MODSEQ")?.slice(1, -1)));
  return { store, who, id, modSeqs };
}
