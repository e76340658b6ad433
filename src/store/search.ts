// SEARCH at the node. Flags, dates and sizes are answered from the columns; the text keys of what is
// left from decoded headers and parts, read in batches. Yields to the event loop every few milliseconds.

import { dayOf } from "../mail/dates.ts";
import type { Principal, SearchOutcome, SearchRequest } from "../mail/mail-store.ts";
import type { SearchKey } from "../mail/search-key.ts";
import { uidSetHas } from "../mail/uid-set.ts";
import { searchNormalise } from "../mail/charset/unicode.ts";
import { unreachable } from "../lib/assert.ts";
import { background } from "./background.ts";
import { readBodies } from "./bodies.ts";
import type { Body } from "./bodies.ts";
import type { Engine } from "./engine.ts";
import { systemBit } from "./flags.ts";
import type { MailboxSummary } from "./mailbox-state.ts";
import { MessageText } from "./message-text.ts";
import { emailIdOf, threadIdOf } from "./object-ids.ts";
import type { Hint } from "./search-hints.ts";
import type { Listing } from "./sort.ts";
import { sortMessages } from "./sort.ts";
import { staticAt } from "./static-row.ts";
import type { StaticRow } from "./static-row.ts";
import { StaticReader } from "./statics.ts";
import type { Statics } from "./statics.ts";
import { threadMessages } from "./thread.ts";

const batchMessages = 256;
const batchBytes = 1024 * 1024;
/** So many are looked at in the columns between two looks at the clock. */
const sliceMessages = 16_384;
const sliceMs = 5;

/** @see MailStore.search */
export function searchMessages(
  engine: Engine,
  who: Principal,
  request: SearchRequest,
  signal: AbortSignal,
): Promise<SearchOutcome> {
  return engine.withAccount(who, (account) => {
    const mailbox = account.mailbox(request.mailbox);
    return engine.withSummary(account, mailbox, async (summary) => {
      const statics = new StaticReader(engine.rows, account.id, mailbox.id, summary);
      const key = prepare(request.key);
      const place = { account: account.id, mailbox: mailbox.id };
      const all = summary.columns.uids();
      const hint = await engine.searchHints?.narrow(place, summary.columns, all, key);
      const found = await new Search(engine, statics, summary, signal).run(key, all, hint);
      const listing: Listing = { engine, statics, summary, signal };
      const uids =
        request.sort === undefined ? found : await sortMessages(listing, found, request.sort);
      const threads =
        request.thread === undefined
          ? undefined
          : await threadMessages(listing, found, request.thread);
      engine.check(account, who);
      return {
        uids,
        ...(request.wantModSeq === true ? modSeqsOf(summary, uids) : {}),
        ...(threads === undefined ? {} : { threads }),
      };
    });
  });
}

/** Search text in the form in which texts are compared; done once. */
function prepare(key: SearchKey): SearchKey {
  switch (key.kind) {
    case "and":
      return { kind: "and", keys: key.keys.map(prepare) };
    case "or":
      return { kind: "or", a: prepare(key.a), b: prepare(key.b) };
    case "not":
      return { kind: "not", key: prepare(key.key) };
    case "header":
    case "body":
    case "text":
      return { ...key, text: searchNormalise(key.text) };
    default:
      return key;
  }
}

class Search {
  readonly #engine: Engine;
  readonly #statics: StaticReader;
  readonly #summary: MailboxSummary;
  readonly #signal: AbortSignal;
  #sliceEndMs: number;

  constructor(engine: Engine, statics: StaticReader, summary: MailboxSummary, signal: AbortSignal) {
    this.#engine = engine;
    this.#statics = statics;
    this.#summary = summary;
    this.#signal = signal;
    this.#sliceEndMs = engine.clock.monotonicMs() + sliceMs;
  }

  /**
   * @param all the messages to look at: the mailbox may change while we wait, the list is of the
   * beginning, messages that go are passed over.
   */
  async run(key: SearchKey, all: Uint32Array, hint: Hint | undefined): Promise<Uint32Array> {
    const found = new Uint32Array(all.length);
    let count = 0;
    const needs = { ...needsOf(key), bodyTexts: bodyTextsOf(key) };
    let at = 0;
    const start = (): Promise<Read> | undefined => {
      // Read what comes next only when the columns can't tell.
      const unsure: number[] = [];
      const end = Math.min(all.length, at + sliceMessages);
      for (let size = 0; at < end && unsure.length < batchMessages; at++) {
        const uid = all[at] ?? 0;
        const index = this.#summary.columns.indexOf(uid);
        const verdict = index < 0 ? false : quickTest(key, this.#summary, index, hint, at);
        if (verdict === true) found[count++] = uid;
        else if (verdict === undefined) {
          unsure.push(uid);
          size += needs.bodies ? (this.#summary.columns.size[index] ?? 0) : 0;
          if (size >= batchBytes) {
            at++;
            break;
          }
        }
      }
      return unsure.length === 0 && at === all.length ? undefined : this.#read(unsure, needs);
    };
    let next = start();
    try {
      while (next !== undefined) {
        const read = await next;
        if (this.#engine.clock.monotonicMs() >= this.#sliceEndMs) await this.#pause();
        next = start();
        for (const uid of await this.#test(key, read, needs)) found[count++] = uid;
      }
    } finally {
      // Read ahead of a search that was given up.
      if (next !== undefined) background(next);
    }
    return found.slice(0, count).sort();
  }

  async #read(uids: readonly number[], needs: SearchNeeds): Promise<Read> {
    const { columns } = this.#summary;
    const names = uids.map((uid) => {
      const at = columns.indexOf(uid);
      return { tag: columns.bodyTag[at] ?? 0, lsn: columns.bodyLsn[at] ?? 0 };
    });
    const [statics, bodies] = await Promise.all([
      this.#statics.read({ uids, names }),
      needs.bodies ? readBodies(this.#engine, columns, uids, names) : undefined,
    ]);
    return { uids, statics, bodies };
  }

  async #test(
    key: SearchKey,
    { uids, statics, bodies }: Read,
    needs: SearchNeeds,
  ): Promise<number[]> {
    const { columns } = this.#summary;
    const matched: number[] = [];
    for (let i = 0; i < uids.length; i++) {
      if (this.#engine.clock.monotonicMs() >= this.#sliceEndMs) await this.#pause();
      const row = statics.bytes[i];
      const at = columns.indexOf(uids[i] ?? 0);
      if (row === undefined || at < 0) continue;
      const fixed = staticAt(row, statics.starts[i] ?? 0);
      const body = bodies?.[i];
      const text = body === undefined ? undefined : new MessageText(this.#engine, body, fixed);
      if (text !== undefined) {
        // Only large messages have to be waited for.
        const header = needs.headers ? text.loadHeader() : undefined;
        if (header !== undefined) await header;
        const texts = needs.texts ? text.loadBody(needs.bodyTexts) : undefined;
        if (texts !== undefined) await texts;
      }
      const now = columns.indexOf(uids[i] ?? 0);
      if (now >= 0 && fullTest(key, this.#summary, now, fixed, text)) matched.push(uids[i] ?? 0);
    }
    return matched;
  }

  async #pause(): Promise<void> {
    this.#signal.throwIfAborted();
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
    this.#signal.throwIfAborted();
    this.#sliceEndMs = this.#engine.clock.monotonicMs() + sliceMs;
  }
}

/** What was read of messages that the columns alone don't decide. */
interface Read {
  readonly uids: readonly number[];
  readonly statics: Statics;
  readonly bodies: readonly Body[] | undefined;
}

interface Needs {
  readonly bodies: boolean;
  readonly headers: boolean;
  readonly texts: boolean;
}

interface SearchNeeds extends Needs {
  /** Texts that bodies are asked for. */
  readonly bodyTexts: readonly string[];
}

function bodyTextsOf(key: SearchKey): readonly string[] {
  switch (key.kind) {
    case "and":
      return key.keys.flatMap(bodyTextsOf);
    case "or":
      return [...bodyTextsOf(key.a), ...bodyTextsOf(key.b)];
    case "not":
      return bodyTextsOf(key.key);
    default:
      return key.kind === "body" || key.kind === "text" ? [key.text] : [];
  }
}

function needsOf(key: SearchKey): Needs {
  switch (key.kind) {
    case "and": {
      const all = key.keys.map(needsOf);
      return {
        bodies: all.some(({ bodies }) => bodies),
        headers: all.some(({ headers }) => headers),
        texts: all.some(({ texts }) => texts),
      };
    }
    case "or":
      return needsOf({ kind: "and", keys: [key.a, key.b] });
    case "not":
      return needsOf(key.key);
    case "header":
      return { bodies: true, headers: true, texts: false };
    case "text":
      return { bodies: true, headers: true, texts: true };
    case "body":
      return { bodies: true, headers: false, texts: true };
    default:
      return { bodies: false, headers: false, texts: false };
  }
}

/**
 * What the columns and the search index can say; undefined: more has to be read.
 * @param spot the message's place in the list that the hint is about.
 */
function quickTest(
  key: SearchKey,
  summary: MailboxSummary,
  at: number,
  hint: Hint | undefined,
  spot: number,
): boolean | undefined {
  switch (key.kind) {
    case "and": {
      let verdict: boolean | undefined = true;
      for (const each of key.keys) {
        const one = quickTest(each, summary, at, hint, spot);
        if (one === false) return false;
        if (one === undefined) verdict = undefined;
      }
      return verdict;
    }
    case "or": {
      const a = quickTest(key.a, summary, at, hint, spot);
      if (a === true) return true;
      const b = quickTest(key.b, summary, at, hint, spot);
      return b === true ? true : a === undefined || b === undefined ? undefined : false;
    }
    case "not": {
      const inner = quickTest(key.key, summary, at, hint, spot);
      return inner === undefined ? undefined : !inner;
    }
    case "header":
    case "body":
    case "text":
      return hint?.rulesOut(key, spot) === true ? false : undefined;
    case "threadId":
      return undefined;
    case "date":
      return key.of === "sent" ? undefined : dayMatches(key, columnDay(summary, at, key.of));
    default:
      return columnTest(key, summary, at);
  }
}

type ColumnKey = Exclude<
  SearchKey,
  { kind: "and" | "or" | "not" | "header" | "body" | "text" | "date" | "threadId" }
>;

function columnTest(key: ColumnKey, summary: MailboxSummary, at: number): boolean {
  const { columns, keywords } = summary;
  switch (key.kind) {
    case "all":
      return true;
    case "uid":
      return uidSetHas(key.set, columns.uid[at] ?? 0);
    case "flag": {
      const flags = columns.flags[at] ?? 0;
      const bit = systemBit(key.flag);
      const has = bit !== 0 ? (flags & bit) !== 0 : keywords.has(flags, key.flag.toLowerCase());
      return has === key.set;
    }
    case "size": {
      const size = columns.size[at] ?? 0;
      return key.op === "larger" ? size > key.bytes : size < key.bytes;
    }
    case "age": {
      const from = key.nowMs / 1000 - key.seconds;
      const date = columns.date[at] ?? 0;
      return key.op === "younger" ? date >= from : date <= from;
    }
    case "modseq":
      return (columns.modSeq[at] ?? 0) >= key.least;
    case "emailId":
      return emailIdOf(columns, at) === key.id;
    default:
      return unreachable(key);
  }
}

/** The whole truth, with everything read that the key needs. */
function fullTest(
  key: SearchKey,
  summary: MailboxSummary,
  at: number,
  fixed: StaticRow,
  text: MessageText | undefined,
): boolean {
  switch (key.kind) {
    case "and":
      return key.keys.every((each) => fullTest(each, summary, at, fixed, text));
    case "or":
      return fullTest(key.a, summary, at, fixed, text) || fullTest(key.b, summary, at, fixed, text);
    case "not":
      return !fullTest(key.key, summary, at, fixed, text);
    case "header":
      return text?.headerHas(key.name, key.text) ?? false;
    case "body":
      return text?.bodyHas(key.text) ?? false;
    case "text":
      return text?.textHas(key.text) ?? false;
    case "threadId":
      return threadIdOf(fixed, summary.columns, at) === key.id;
    case "date": {
      // RFC 9051 §6.4.4: the day that the Date: header names, whatever day it was elsewhere; without
      // one the internal date has to do.
      const sent = key.of === "sent" && fixed.sentMs !== undefined;
      const day = sent
        ? dayOf(fixed.sentMs ?? 0, fixed.sentZone)
        : columnDay(summary, at, key.of === "saved" ? "saved" : "internal");
      return dayMatches(key, day);
    }
    default:
      return columnTest(key, summary, at);
  }
}

function columnDay(summary: MailboxSummary, at: number, of: "internal" | "saved" | "sent"): number {
  const { columns } = summary;
  return of === "saved"
    ? dayOf((columns.saved[at] ?? 0) * 1000)
    : dayOf((columns.date[at] ?? 0) * 1000, columns.zone[at] ?? 0);
}

function dayMatches(key: Extract<SearchKey, { kind: "date" }>, day: number): boolean {
  if (key.op === "on") return day === key.day;
  return key.op === "before" ? day < key.day : day >= key.day;
}

/** RFC 7162 §3.1.5, RFC 4731 §3.2 */
function modSeqsOf(summary: MailboxSummary, uids: Uint32Array): Omit<SearchOutcome, "uids"> {
  const { columns } = summary;
  let highest = 0;
  for (const uid of uids) {
    const at = columns.indexOf(uid);
    if (at >= 0) highest = Math.max(highest, columns.modSeq[at] ?? 0);
  }
  if (highest === 0) return {};
  // One that was expunged meanwhile has none.
  const modSeqOf = (uid: number): number => columns.modSeq[columns.indexOf(uid)] ?? highest;
  return {
    highestModSeqOfResults: highest,
    endModSeqs: [modSeqOf(uids[0] ?? 0), modSeqOf(uids.at(-1) ?? 0)],
  };
}
