// Tests of single messages for SEARCH, made once for a program: what the columns, the search index and
// an ENVELOPE can say. Undefined means that more has to be read.

import { unreachable } from "../lib/assert.ts";
import { searchNormalise } from "../mail/charset/unicode.ts";
import { dayOf } from "../mail/dates.ts";
import { decodeHeaderValue } from "../mail/mime/encoded-word.ts";
import type { SearchKey } from "../mail/search-key.ts";
import { EnvelopeReader } from "../mail/sort-envelope.ts";
import { uidSetHas } from "../mail/uid-set.ts";
import { systemBit } from "./flags.ts";
import type { MailboxSummary } from "./mailbox-state.ts";
import { emailIdOf } from "./object-ids.ts";
import type { Hint } from "./search-hints.ts";
import { isInEnvelope } from "./search-keys.ts";
import { ListingCursor } from "./static-row.ts";

/**
 * @param at the message's index in the columns.
 * @param spot its place in the list that the hint is about.
 */
export type QuickTest = (at: number, spot: number) => boolean | undefined;

type ColumnTest = (at: number) => boolean;

/** The ENVELOPE of the message that is looked at, if one was read. */
export class EnvelopeAtHand {
  readonly #lies = new ListingCursor();
  readonly #reader = new EnvelopeReader();
  #isThere = false;
  #subject: string | undefined;

  /** @param start of the message's static row in `row`. */
  moveTo(row: Buffer, start: number): void {
    this.#lies.moveTo(row, start);
    this.#reader.moveTo(row, this.#lies.envelopeStart);
    const raw = this.#reader.text("subject");
    this.#subject = raw === undefined ? undefined : searchNormalise(decodeHeaderValue(raw));
    this.#isThere = true;
  }

  forget(): void {
    this.#isThere = false;
  }

  /** True only when it is known. */
  subjectHas(text: string): boolean {
    return this.#isThere && this.#subject?.includes(text) === true;
  }
}

/** @param key prepared. */
export function quickTestOf(
  key: SearchKey,
  summary: MailboxSummary,
  hint: Hint | undefined,
  envelope: EnvelopeAtHand,
): QuickTest {
  const testOf = (inner: SearchKey): QuickTest => quickTestOf(inner, summary, hint, envelope);
  switch (key.kind) {
    case "and":
      return every(key.keys.map(testOf));
    case "or": {
      const [a, b] = [testOf(key.a), testOf(key.b)];
      return (at, spot) => {
        const first = a(at, spot);
        if (first === true) return true;
        const second = b(at, spot);
        if (second === true) return true;
        return first === undefined || second === undefined ? undefined : false;
      };
    }
    case "not": {
      const inner = testOf(key.key);
      return (at, spot) => {
        const verdict = inner(at, spot);
        return verdict === undefined ? undefined : !verdict;
      };
    }
    case "header": {
      const { text } = key;
      const ruledOut = ruledOutBy(hint, key);
      if (!isInEnvelope(key)) return ruledOut;
      return (at, spot) => (envelope.subjectHas(text) ? true : ruledOut(at, spot));
    }
    case "body":
    case "text":
      return ruledOutBy(hint, key);
    case "threadId":
      return () => undefined;
    case "date":
      return key.of === "sent" ? () => undefined : dateTestOf(key, summary);
    default:
      return columnTestOf(key, summary);
  }
}

function every(tests: readonly QuickTest[]): QuickTest {
  return (at, spot) => {
    let verdict: boolean | undefined = true;
    for (const test of tests) {
      const one = test(at, spot);
      if (one === false) return false;
      if (one === undefined) verdict = undefined;
    }
    return verdict;
  };
}

function ruledOutBy(hint: Hint | undefined, key: SearchKey): QuickTest {
  return hint === undefined
    ? () => undefined
    : (_at, spot) => (hint.rulesOut(key, spot) ? false : undefined);
}

function dateTestOf(
  key: Extract<SearchKey, { kind: "date" }>,
  summary: MailboxSummary,
): ColumnTest {
  const of = key.of === "saved" ? "saved" : "internal";
  return (at) => dayMatches(key, columnDay(summary, at, of));
}

type ColumnKey = Exclude<
  SearchKey,
  { kind: "and" | "or" | "not" | "header" | "body" | "text" | "date" | "threadId" }
>;

/** Keys that the columns always decide. */
export function columnTestOf(key: ColumnKey, { columns, keywords }: MailboxSummary): ColumnTest {
  switch (key.kind) {
    case "all":
      return () => true;
    case "uid":
      return (at) => uidSetHas(key.set, columns.uid[at] ?? 0);
    case "flag": {
      const { set } = key;
      const bit = systemBit(key.flag);
      if (bit !== 0) return (at) => (((columns.flags[at] ?? 0) & bit) !== 0) === set;
      const lower = key.flag.toLowerCase();
      const known = new Map<number, boolean>();
      return (at) => {
        const flags = columns.flags[at] ?? 0;
        let verdict = known.get(flags);
        if (verdict === undefined) {
          verdict = keywords.has(flags, lower) === set;
          known.set(flags, verdict);
        }
        return verdict;
      };
    }
    case "size": {
      const { bytes } = key;
      return key.op === "larger"
        ? (at) => (columns.size[at] ?? 0) > bytes
        : (at) => (columns.size[at] ?? 0) < bytes;
    }
    case "age": {
      const from = key.nowMs / 1000 - key.seconds;
      return key.op === "younger"
        ? (at) => (columns.date[at] ?? 0) >= from
        : (at) => (columns.date[at] ?? 0) <= from;
    }
    case "modseq":
      return (at) => (columns.modSeq[at] ?? 0) >= key.least;
    case "emailId":
      return (at) => emailIdOf(columns, at) === key.id;
    default:
      return unreachable(key);
  }
}

/** The day of a message's INTERNALDATE or save date. */
export function columnDay(
  { columns }: MailboxSummary,
  at: number,
  of: "internal" | "saved",
): number {
  return of === "saved"
    ? dayOf((columns.saved[at] ?? 0) * 1000)
    : dayOf((columns.date[at] ?? 0) * 1000, columns.zone[at] ?? 0);
}

export function dayMatches(key: Extract<SearchKey, { kind: "date" }>, day: number): boolean {
  if (key.op === "on") return day === key.day;
  return key.op === "before" ? day < key.day : day >= key.day;
}
