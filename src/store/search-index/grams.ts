// From text to grams, the terms of the search index: three characters of a word, or two where the first
// is Hangul, Han or Kana. A text that contains a search text has all of its grams: that is what the index
// answers, and all that it answers. Text comes in normalised (searchNormalise).

import type { GramSet } from "./gram-set.ts";

/** Where a text was found. Grams of headers and of bodies are different terms. */
export type Zone = "header" | "body";

/** Terms that every text with the search text has. */
export interface QueryGrams {
  readonly grams: readonly number[];
  /** For a last word that is too short for a gram of its own: one that lies between these two. */
  readonly range?: readonly [first: number, last: number];
}

/** The top bit of a gram tells the zone, the next one whether it begins with a CJK character. */
const bodyBit = 0x8000_0000;
const cjkBit = 0x4000_0000;
const pairsExact = 128 * 128;
const pairsHashed = 2 ** 20 - pairsExact;
const thirdBits = 10;
const secondBits = 14;

/** Kinds of UTF-16 units: what parts words, what makes grams of three, what makes grams of two. */
const separator = 0;
const letter = 1;
const cjk = 2;
const asciiKind = Uint8Array.from({ length: 128 }, (_, code) =>
  /[0-9A-Za-z]/.test(String.fromCharCode(code)) ? letter : separator,
);

/** Adds a text's grams. Stops when the set is full. */
export function addGrams(text: string, zone: Zone, into: GramSet): void {
  const high = zone === "body" ? bodyBit : 0;
  const { length } = text;
  let first = 0;
  let firstKind = separator;
  let second = 0;
  let secondKind = separator;
  // A separator behind the last character ends its word.
  for (let at = 0; at < length + 2 && !into.isFull; at++) {
    const third = at < length ? text.charCodeAt(at) : 0;
    const thirdKind = third < 128 ? (asciiKind[third] ?? separator) : kindOf(third);
    if (firstKind === cjk) {
      into.add(high + cjkGram(first, secondKind === separator ? 0 : second));
    } else if (firstKind === letter && secondKind !== separator) {
      into.add(high + letterGram(first, second, thirdKind === separator ? 0 : third));
    }
    first = second;
    firstKind = secondKind;
    second = third;
    secondKind = thirdKind;
  }
}

/** The terms of a search text; undefined when it has none and every text may contain it. */
export function queryGrams(text: string, zone: Zone): QueryGrams | undefined {
  const high = zone === "body" ? bodyBit : 0;
  const grams = new Set<number>();
  let range: readonly [number, number] | undefined;
  const { length } = text;
  let before = separator;
  let kind = separator;
  for (let at = 0; at < length; at++, before = kind) {
    const first = text.charCodeAt(at);
    kind = kindOf(first);
    if (kind === separator) continue;
    // Behind the end of the search text the word may go on, behind a separator it may not.
    const second = at + 1 < length ? text.charCodeAt(at + 1) : undefined;
    const secondKind = second === undefined ? separator : kindOf(second);
    if (kind === cjk) {
      if (second !== undefined) {
        grams.add(high + cjkGram(first, secondKind === separator ? 0 : second));
      } else if (before === separator) {
        const low = high + cjkBit + first * 2 ** secondBits;
        range = [low, low + 2 ** secondBits - 1];
      }
      continue;
    }
    if (second === undefined || secondKind === separator) continue;
    const third = at + 2 < length ? text.charCodeAt(at + 2) : undefined;
    if (third !== undefined) {
      grams.add(high + letterGram(first, second, kindOf(third) === separator ? 0 : third));
    } else if (before !== letter) {
      const low = high + letterPair(first, second) * 2 ** thirdBits;
      range = [low, low + 2 ** thirdBits - 1];
    }
  }
  if (range !== undefined) return { grams: [...grams], range };
  return grams.size === 0 ? undefined : { grams: [...grams] };
}

function kindOf(unit: number): number {
  if (unit < 128) return asciiKind[unit] ?? separator;
  if (unit >= 0xac00 && unit <= 0xd7a3) return cjk; // Hangul syllables.
  if (unit < 0xc0) return separator; // Latin-1 signs.
  if (unit >= 0x2000 && unit <= 0x206f) return separator; // General punctuation.
  if (unit >= 0x3000 && unit <= 0x303f) return separator; // CJK punctuation.
  if (unit >= 0x3040 && unit <= 0x9fff) return cjk; // Kana, letters and ideographs.
  if (unit >= 0x1100 && unit <= 0x11ff) return cjk; // Hangul Jamo.
  if (unit >= 0xf900 && unit <= 0xfaff) return cjk; // Ideographs that NFKC keeps.
  return letter;
}

/** Exact for pairs of Hangul; others may share a number. */
function cjkGram(first: number, second: number): number {
  const low = second === 0 ? 0 : 1 + ((second + 0x5400) % (2 ** secondBits - 1));
  return cjkBit + first * 2 ** secondBits + low;
}

function letterGram(first: number, second: number, third: number): number {
  const low = third < 128 ? third : 128 + (third % (2 ** thirdBits - 128));
  return letterPair(first, second) * 2 ** thirdBits + low;
}

/** Exact for ASCII. */
function letterPair(first: number, second: number): number {
  if (first < 128 && second < 128) return first * 128 + second;
  return pairsExact + ((first * 40_503 + second) % pairsHashed);
}
