// Every text that contains a search text has all of its grams, whatever the script.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { searchNormalise } from "../../../../src/mail/charset/unicode.ts";
import { GramSet, gramsMax } from "../../../../src/store/search-index/gram-set.ts";
import { addGrams, queryGrams } from "../../../../src/store/search-index/grams.ts";
import type { Zone } from "../../../../src/store/search-index/grams.ts";

const set = new GramSet();

function gramsOf(text: string, zone: Zone): Set<number> {
  set.clear();
  addGrams(text, zone, set);
  return new Set(set.grams);
}

/** False when the index would rule the text out. */
function maybeHas(text: string, query: string, zone: Zone): boolean {
  const asked = queryGrams(query, zone);
  if (asked === undefined) return true;
  const grams = gramsOf(text, zone);
  if (!asked.grams.every((gram) => grams.has(gram))) return false;
  const [low, high] = asked.range ?? [0, 2 ** 32];
  return asked.range === undefined || [...grams].some((gram) => gram >= low && gram <= high);
}

const letters = fc.oneof(
  fc.constantFrom(
    ...Array.from("ab1 .\n\0@-_한글각ㅋ보고서漢字かなカﾅéσΣßﬁＡ　、…😀가".normalize("NFC")),
  ),
  fc.constantFrom(...Array.from("한글é".normalize("NFD"))),
  fc.string({ unit: "binary", minLength: 1, maxLength: 2 }),
);
const texts = fc.array(letters, { maxLength: 40 }).map((all) => searchNormalise(all.join("")));

describe("grams", () => {
  it("of a search text are all in every text that contains it", () => {
    fc.assert(
      fc.property(
        texts,
        fc.nat(40),
        fc.nat(12),
        fc.constantFrom<Zone>("header", "body"),
        (text, from, length, zone) => {
          expect(maybeHas(text, text.slice(from, from + length), zone)).toBe(true);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it.each([
    ["hello world", "ello", true],
    ["hello world", "elo", false],
    ["hello world", "orl", true],
    ["hello", "lo", true],
    ["hello", "lx", false],
    ["hp프린터", "hp", true],
    ["sk텔레콤", "lg", false],
    ["보고서를", "고서", true],
    ["보고서를요", "서를 ", false],
    ["보고서를 썼다", "서를 ", true],
    ["보고서", "고", true],
    ["보고서", "각", false],
    ["report 77", "t 77", true],
    ["report 76", "t 77", false],
  ])("%j may have %j: %s", (text, query, expected) => {
    expect(maybeHas(text, query, "body")).toBe(expected);
  });

  it("of headers are no grams of bodies", () => {
    const [one = 0] = gramsOf("abc", "header");
    expect(gramsOf("abc", "body").has(one)).toBe(false);
  });

  it("of a text without words are none, and of too many words too many", () => {
    expect(queryGrams("- . !", "body")).toBeUndefined();
    expect(queryGrams("a", "body")).toBeUndefined();
    set.clear();
    const many = Array.from({ length: gramsMax + 10 }, (_, at) =>
      String.fromCharCode(0xac00 + (at % 11_000), 0xac00 + Math.floor(at / 11_000), 0x20),
    );
    addGrams(many.join(""), "body", set);
    expect(set.isFull).toBe(true);
  });
});
