// Flags of a message as one number: system flags in the low 8 bits, above them the id of a keyword
// set. A keyword set is a list of keywords that its mailbox has interned; sets never change.

import { MailError } from "../mail/errors.ts";
import type { StoreLimits } from "./limits.ts";

export const seenBit = 1;
export const deletedBit = 8;

const systemFlags: readonly (readonly [string, number])[] = [
  ["\\Seen", seenBit],
  ["\\Answered", 2],
  ["\\Flagged", 4],
  ["\\Deleted", deletedBit],
  ["\\Draft", 16],
];
const systemByName = new Map(systemFlags.map(([name, bit]) => [name.toLowerCase(), bit]));
const setIdMax = 0xff_ffff;

/** A flag list split: unknown system flags (and \Recent) are left out. */
export interface FlagList {
  readonly bits: number;
  /** As the client wrote them, without doubles. */
  readonly keywords: readonly string[];
}

export function parseFlags(flags: readonly string[]): FlagList {
  let bits = 0;
  const keywords = new Map<string, string>();
  for (const flag of flags) {
    const lower = flag.toLowerCase();
    if (flag.startsWith("\\")) bits |= systemByName.get(lower) ?? 0;
    else if (!keywords.has(lower)) keywords.set(lower, flag);
  }
  return { bits, keywords: [...keywords.values()] };
}

/** Bit of a system flag in any case; 0 when it is none. */
export function systemBit(flag: string): number {
  return systemByName.get(flag.toLowerCase()) ?? 0;
}

/** A keyword set that an entry defines. */
export interface KeywordSet {
  readonly id: number;
  readonly keywords: readonly string[];
}

/** The keyword sets of one mailbox, and the spelling in which each keyword was first seen. */
export class KeywordSets {
  readonly #sets = new Map<number, readonly string[]>([[0, []]]);
  readonly #idOf = new Map<string, number>([["", 0]]);
  readonly #spelling = new Map<string, string>();
  readonly #lists = new Map<number, readonly string[]>();
  #last = 0;

  /** Takes over a set from the log or from disk; the same one again changes nothing. */
  add(set: KeywordSet): void {
    this.#sets.set(set.id, set.keywords);
    this.#idOf.set(nameOf(set.keywords), set.id);
    this.#last = Math.max(this.#last, set.id);
    for (const keyword of set.keywords) {
      const lower = keyword.toLowerCase();
      if (!this.#spelling.has(lower)) this.#spelling.set(lower, keyword);
    }
  }

  /** All keywords the mailbox has seen, in the spelling first seen. */
  get keywords(): readonly string[] {
    return [...this.#spelling.values()];
  }

  keywordsOf(flags: number): readonly string[] {
    return this.#sets.get(flags >>> 8) ?? [];
  }

  /** True when the messages with this flags number have the keyword (lower case). */
  has(flags: number, lower: string): boolean {
    return this.keywordsOf(flags).some((keyword) => keyword.toLowerCase() === lower);
  }

  /** System flags and keywords as names; the same list for the same number. */
  list(flags: number): readonly string[] {
    const known = this.#lists.get(flags);
    if (known !== undefined) return known;
    const names = systemFlags.filter(([, bit]) => (flags & bit) !== 0).map(([name]) => name);
    const list = [...names, ...this.keywordsOf(flags)];
    if (this.#lists.size > 4096) this.#lists.clear();
    this.#lists.set(flags, list);
    return list;
  }

  /**
   * Id of the set of these keywords. New sets go into `defined` and must be logged with the entry
   * that uses them; they are known here only once the entry is applied.
   * @throws MailError LIMIT
   */
  intern(keywords: readonly string[], defined: KeywordSet[], limits: StoreLimits): number {
    if (keywords.length === 0) return 0;
    const spelled = keywords.map((keyword) => this.#spell(keyword, defined, limits));
    const name = nameOf(spelled);
    const known = this.#idOf.get(name) ?? defined.find((set) => nameOf(set.keywords) === name)?.id;
    if (known !== undefined) return known;
    const id = this.#last + defined.length + 1;
    if (id > setIdMax)
      throw new MailError({ code: "LIMIT", limit: "keyword sets", most: setIdMax });
    const fresh = spelled.filter((keyword) => !this.#spelling.has(keyword.toLowerCase()));
    if (this.#spelling.size + fresh.length > limits.keywordsMax) {
      throw new MailError({ code: "LIMIT", limit: "keywords", most: limits.keywordsMax });
    }
    defined.push({ id, keywords: spelled });
    return id;
  }

  #spell(keyword: string, defined: readonly KeywordSet[], limits: StoreLimits): string {
    if (Buffer.byteLength(keyword) > limits.keywordBytesMax) {
      throw new MailError({ code: "LIMIT", limit: "keyword bytes", most: limits.keywordBytesMax });
    }
    const lower = keyword.toLowerCase();
    const known = this.#spelling.get(lower);
    if (known !== undefined) return known;
    for (const set of defined) {
      const found = set.keywords.find((each) => each.toLowerCase() === lower);
      if (found !== undefined) return found;
    }
    return keyword;
  }
}

function nameOf(keywords: readonly string[]): string {
  return keywords
    .map((keyword) => keyword.toLowerCase())
    .toSorted()
    .join(" ");
}
