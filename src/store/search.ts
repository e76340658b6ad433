// SEARCH at the node. Flags, dates and sizes are answered from the columns; the text keys of what is
// left from decoded headers and parts, read in batches. Yields to the event loop every few milliseconds.

import { dayOf } from "../mail/dates.ts";
import type { Principal, SearchOutcome, SearchRequest } from "../mail/mail-store.ts";
import type { SearchKey } from "../mail/search-key.ts";
import { uidSetHas } from "../mail/uid-set.ts";
import { searchNormalise } from "../mail/charset/unicode.ts";
import { unreachable } from "../lib/assert.ts";
import { readBodies } from "./bodies.ts";
import type { Engine } from "./engine.ts";
import { systemBit } from "./flags.ts";
import type { MailboxSummary } from "./mailbox-state.ts";
import { MessageText } from "./message-text.ts";
import { staticAt } from "./static-row.ts";
import type { StaticRow } from "./static-row.ts";
import { StaticReader } from "./statics.ts";

const batchMessages = 128;
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
      const uids = await new Search(engine, statics, summary, signal).run(prepare(request.key));
      engine.check(account, who);
      if (request.wantModSeq !== true) return { uids };
      const highest = highestModSeq(summary, uids);
      return highest === 0 ? { uids } : { uids, highestModSeqOfResults: highest };
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

  async run(key: SearchKey): Promise<Uint32Array> {
    // The mailbox may change while we wait: the list is of now, messages that go are passed over.
    const all = this.#summary.columns.uids();
    const found = new Uint32Array(all.length);
    let count = 0;
    const needs = needsOf(key);
    for (let from = 0; from < all.length; from += batchMessages) {
      await this.#pause();
      const batch = all.subarray(from, from + batchMessages);
      for (const uid of await this.#searchBatch(key, batch, needs)) found[count++] = uid;
    }
    return found.slice(0, count);
  }

  async #searchBatch(key: SearchKey, batch: Uint32Array, needs: Needs): Promise<number[]> {
    const { columns } = this.#summary;
    const sure: number[] = [];
    const unsure: number[] = [];
    for (const uid of batch) {
      const at = columns.indexOf(uid);
      const verdict = at < 0 ? false : quickTest(key, this.#summary, at);
      if (verdict === true) sure.push(uid);
      else if (verdict === undefined) unsure.push(uid);
    }
    if (unsure.length === 0) return sure;
    const matched = await this.#readAndTest(key, unsure, needs);
    return [...sure, ...matched].sort((a, b) => a - b);
  }

  async #readAndTest(key: SearchKey, uids: readonly number[], needs: Needs): Promise<number[]> {
    const { columns } = this.#summary;
    const present = uids.filter((uid) => columns.indexOf(uid) >= 0);
    const names = present.map((uid) => {
      const at = columns.indexOf(uid);
      return { tag: columns.bodyTag[at] ?? 0, lsn: columns.bodyLsn[at] ?? 0 };
    });
    const statics = await this.#statics.read({ uids: present, names });
    const bodies = needs.bodies
      ? await readBodies(this.#engine, columns, present, names)
      : undefined;
    const matched: number[] = [];
    for (const [i, uid] of present.entries()) {
      await this.#pause();
      const row = statics.bytes[i];
      if (row === undefined) continue;
      const fixed = staticAt(row, statics.starts[i] ?? 0);
      const body = bodies?.[i];
      const text = body === undefined ? undefined : new MessageText(this.#engine, body, fixed);
      if (needs.headers) await text?.loadHeader();
      if (needs.texts) await text?.loadBody();
      const at = columns.indexOf(uid);
      if (at >= 0 && fullTest(key, this.#summary, at, fixed, text)) matched.push(uid);
    }
    return matched;
  }

  async #pause(): Promise<void> {
    this.#signal.throwIfAborted();
    if (this.#engine.clock.monotonicMs() < this.#sliceEndMs) return;
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
    this.#sliceEndMs = this.#engine.clock.monotonicMs() + sliceMs;
  }
}

interface Needs {
  readonly bodies: boolean;
  readonly headers: boolean;
  readonly texts: boolean;
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

/** What the columns alone can say; undefined: more has to be read. */
function quickTest(key: SearchKey, summary: MailboxSummary, at: number): boolean | undefined {
  switch (key.kind) {
    case "and": {
      let verdict: boolean | undefined = true;
      for (const each of key.keys) {
        const one = quickTest(each, summary, at);
        if (one === false) return false;
        if (one === undefined) verdict = undefined;
      }
      return verdict;
    }
    case "or": {
      const a = quickTest(key.a, summary, at);
      if (a === true) return true;
      const b = quickTest(key.b, summary, at);
      return b === true ? true : a === undefined || b === undefined ? undefined : false;
    }
    case "not": {
      const inner = quickTest(key.key, summary, at);
      return inner === undefined ? undefined : !inner;
    }
    case "header":
    case "body":
    case "text":
      return undefined;
    case "date":
      return key.of === "sent" ? undefined : dayMatches(key, columnDay(summary, at, key.of));
    default:
      return columnTest(key, summary, at);
  }
}

type ColumnKey = Exclude<
  SearchKey,
  { kind: "and" | "or" | "not" | "header" | "body" | "text" | "date" }
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

function highestModSeq(summary: MailboxSummary, uids: Uint32Array): number {
  let highest = 0;
  for (const uid of uids) {
    const at = summary.columns.indexOf(uid);
    if (at >= 0) highest = Math.max(highest, summary.columns.modSeq[at] ?? 0);
  }
  return highest;
}
