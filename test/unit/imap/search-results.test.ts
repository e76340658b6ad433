// Results of the search family on their way to the client: ranges, ordered sets, `$`, thread text.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  modSeqOfAnswer,
  orderedSetText,
  savedResult,
} from "../../../src/gateway/imap/search-answer.ts";
import { Cursor } from "../../../src/gateway/imap/syntax/cursor.ts";
import { parsePartialRange, rangeWithin } from "../../../src/gateway/imap/syntax/partial-range.ts";
import type { ReturnOption } from "../../../src/gateway/imap/syntax/search-returns.ts";
import { threadText } from "../../../src/gateway/imap/thread-text.ts";
import { partOfSet, View } from "../../../src/gateway/imap/view.ts";
import { uidSetFromSorted, uidSetHas } from "../../../src/mail/uid-set.ts";
import { ascending } from "./support.ts";

const range = (text: string) => parsePartialRange(new Cursor(Buffer.from(text), 1));
const uids = fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { maxLength: 30 });
const position = fc.integer({ min: 1, max: 40 });
const rangeText = fc
  .tuple(fc.boolean(), position, position)
  .map(([end, a, b]) => (end ? `-${a}:-${b}` : `${a}:${b}`));

describe("partial ranges", () => {
  test.each([
    ["1:2", 5, [0, 2]],
    ["2:1", 5, [0, 2]],
    ["4:9", 5, [3, 5]],
    ["6:9", 5, [5, 5]],
    ["-1:-2", 5, [3, 5]],
    ["-9:-4", 5, [0, 2]],
    ["-6:-9", 5, [0, 0]],
    ["1:1", 0, [0, 0]],
    ["-1:-1", 0, [0, 0]],
    ["4294967295:1", 5, [0, 5]],
  ])("%s of %i", (text, count, expected) => {
    expect(rangeWithin(range(text), count)).toEqual(expected);
  });

  test.each(["0:1", "1:0", "-0:-1", "1:-1", "-1:1", "1", "1:", ":1", "*:1", "1:*", "--1:-1"])(
    "%s is none",
    (text) => {
      const cursor = new Cursor(Buffer.from(text), 1);
      parsePartialRange(cursor);
      cursor.end();
      expect(cursor.fault).toBeDefined();
    },
  );

  test("of a UID set: the same as of the list of its messages", () => {
    fc.assert(
      fc.property(uids, uids, rangeText, (there, named, text) => {
        const view = new View(Uint32Array.from(ascending(there)));
        const set = uidSetFromSorted(ascending(named));
        const list = ascending(there).filter((uid) => uidSetHas(set, uid));
        const picked = partOfSet(view, set, range(text));
        expect(ascending(there).filter((uid) => uidSetHas(picked, uid))).toEqual(
          list.slice(...rangeWithin(range(text), list.length)),
        );
      }),
    );
  });
});

describe("ordered sets", () => {
  test.each([
    [[23765, 23764, 23763, 23761], "23765,23764,23763,23761"],
    [[10, 11, 12], "10:12"],
    [[3, 4, 2, 1, 2 ** 32 - 1], "3:4,2,1,4294967295"],
    [[7], "7"],
  ])("%j", (numbers, text) => {
    expect(orderedSetText(numbers, 0, numbers.length)).toBe(text);
  });
});

describe("what SAVE keeps, and MODSEQ names", () => {
  const returns = (words: string, partial?: string) => ({
    options: new Set(words.split(" ") as ReturnOption[]),
    partial: partial === undefined ? undefined : range(partial),
  });
  // In the order of a sort.
  const found = [9, 2, 5, 4];
  test.each([
    ["SAVE", undefined, [2, 2, 4, 5, 9, 9]],
    ["SAVE MIN", undefined, [9, 9]],
    ["SAVE MAX", undefined, [4, 4]],
    ["SAVE MIN MAX", undefined, [4, 4, 9, 9]],
    ["SAVE MIN ALL", undefined, [2, 2, 4, 5, 9, 9]],
    ["SAVE MAX COUNT", undefined, [2, 2, 4, 5, 9, 9]],
    ["SAVE", "2:3", [2, 2, 5, 5]],
    ["SAVE MIN", "2:3", [2, 2, 5, 5, 9, 9]],
    ["SAVE MIN MAX", "-2:-2", [4, 5, 9, 9]],
    ["SAVE COUNT", "2:3", [2, 2, 4, 5, 9, 9]],
    ["SAVE", "8:9", []],
  ])("%s, PARTIAL %s", (words, partial, saved) => {
    expect(savedResult(found, returns(words, partial))).toEqual(saved);
  });

  const outcome = {
    uids: Uint32Array.from(found),
    highestModSeqOfResults: 90,
    endModSeqs: [10, 70],
  } as const;
  test.each([
    ["MIN", undefined, 10],
    ["MAX", undefined, 70],
    ["MIN MAX", undefined, 70],
    ["MIN COUNT", undefined, 90],
    ["MAX ALL", undefined, 90],
    ["SAVE", undefined, 90],
    ["MIN", "1:2", 90],
  ])("MODSEQ of %s, PARTIAL %s. RFC 4731 §3.2", (words, partial, expected) => {
    expect(modSeqOfAnswer(outcome, returns(words, partial))).toBe(expected);
    expect(modSeqOfAnswer({ uids: new Uint32Array(0) }, returns(words, partial))).toBeUndefined();
  });
});

describe("thread text", () => {
  // RFC 5256 §4
  test.each([
    [[2, 3, 6, 4, 23, 44, 7, 96], [0, 0, 1, 2, 3, 2, 3, 4], "(2)(3 6 (4 23)(44 7 96))"],
    [[0, 3, 5], [0, 1, 1], "((3)(5))"],
    [[166, 0, 170, 179, 188, 184, 189], [0, 0, 1, 1, 0, 1, 1], "(166)((170)(179))(188 (184)(189))"],
    [[200, 202, 205, 206, 207], [0, 1, 0, 1, 2], "(200 202)(205 206 207)"],
    [[], [], ""],
    // Messages that the client no longer knows.
    [[0, 1], [0, 0], "(1)"],
    [[1, 0, 2], [0, 1, 0], "(1)(2)"],
  ])("%j at %j", (numbers, depths, text) => {
    expect(threadText(numbers, depths)).toBe(text);
  });

  test("a chain of 100,000 messages is written at once", () => {
    const count = 100_000;
    const numbers = Array.from({ length: count }, (_, at) => at + 1);
    const started = performance.now();
    const text = threadText(
      numbers,
      numbers.map((_, at) => at),
    );
    expect(text).toBe(`(${numbers.join(" ")})`);
    expect(performance.now() - started).toBeLessThan(2000);
  });
});
