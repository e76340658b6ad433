// The collation i;unicode-casemap (RFC 5051), and message ids in their one form (RFC 5256 §3).

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { casemapKey } from "../../../src/mail/collation.ts";
import { boundedReferences, messageIdsIn } from "../../../src/mail/message-ids.ts";

describe("i;unicode-casemap", () => {
  test.each([
    ["abc", "ABC"],
    ["café", "CAFÉ"],
    ["cafe\u0301", "Café"],
    ["Привет", "ПРИВЕТ"],
    ["ǆ", "Ǆ"],
    ["ǆ", "ǅ"],
    ["ᾀ", "ᾈ"],
    ["\u1112\u1161\u11ab\u1100\u1173\u11af", "한글"],
  ])("%s equals %s", (a, b) => {
    expect(casemapKey(a)).toBe(casemapKey(b));
  });

  test.each([
    ["", "a"],
    ["a", "B"],
    ["e", "é"],
    ["é", "F"],
    ["가", "나"],
    ["나라", "한글"],
    ["Zebra", "가"],
    ["\uffee", "\u{1f600}"],
  ])("%s sorts before %s", (a, b) => {
    expect(casemapKey(a) < casemapKey(b)).toBe(true);
  });

  test("ß and SS differ: titlecase maps one character to one", () => {
    expect(casemapKey("ß")).not.toBe(casemapKey("ss"));
  });

  test("keys sort as their UTF-8 bytes do", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.string({ unit: "grapheme" }), (a, b) => {
        const [left, right] = [casemapKey(a), casemapKey(b)];
        const bytes = Buffer.compare(Buffer.from(left, "latin1"), Buffer.from(right, "latin1"));
        expect(left < right).toBe(bytes < 0);
      }),
    );
  });
});

describe("message ids", () => {
  test.each([
    ["<a@b>", ["a@b"]],
    ['<"01KF8JCEOCBS0045PS"@xxx.yyy.com>', ["01KF8JCEOCBS0045PS@xxx.yyy.com"]],
    ['<"a\\"b"@c>', ['a"b@c']],
    ["<a@b> (comment) <c@d>\t<e@f>", ["a@b", "c@d", "e@f"]],
    ["<a@\r\n b>", ["a@b"]],
    ["Your message of Monday <a@b>", ["a@b"]],
    ["no id", []],
    ["<>", []],
    ["<unclosed", []],
    ["<un <a@b>", ["a@b"]],
    ["<A@b><a@b>", ["A@b", "a@b"]],
  ])("%j has %j", (text, ids) => {
    expect(messageIdsIn(text)).toEqual(ids);
  });

  test("a long References field keeps its first id and its last ones", () => {
    const ids = Array.from({ length: 2000 }, (_, i) => `<${i}@example.test>`);
    const kept = messageIdsIn(boundedReferences(ids.join(" ")), 10_000);
    expect(kept[0]).toBe("0@example.test");
    expect(kept.at(-1)).toBe("1999@example.test");
    expect(kept.slice(1)).toEqual(
      Array.from({ length: kept.length - 1 }, (_, i) => `${2001 - kept.length + i}@example.test`),
    );
    expect(boundedReferences("x".repeat(9000)).length).toBeLessThanOrEqual(4096);
    expect(boundedReferences("<".repeat(9000)).length).toBeLessThanOrEqual(4096);
  });
});
