// SEARCH at the node. Flags, dates and sizes are answered from the columns; the text keys of what is
// left from decoded headers and parts, read in batches. Yields to the event loop every few milliseconds.

import { dayOf } from "../mail/dates.ts";
import type { Principal, SearchOutcome, SearchRequest } from "../mail/mail-store.ts";
import type { SearchKey } from "../mail/search-key.ts";
import { background } from "./background.ts";
import { readBodies } from "./bodies.ts";
import type { Body, BodyName } from "./bodies.ts";
import type { Engine } from "./engine.ts";
import type { MailboxSummary } from "./mailbox-state.ts";
import { MessageText } from "./message-text.ts";
import { threadIdOf } from "./object-ids.ts";
import type { Hint } from "./search-hints.ts";
import { needsOf, prepare } from "./search-keys.ts";
import type { SearchNeeds } from "./search-keys.ts";
import { columnDay, columnTestOf, dayMatches, EnvelopeAtHand, quickTestOf } from "./search-test.ts";
import type { QuickTest } from "./search-test.ts";
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
      const listing: Listing = { engine, statics, summary, signal };
      const found = await new Search(listing, key, hint).run(all);
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

class Search {
  readonly #engine: Engine;
  readonly #statics: StaticReader;
  readonly #summary: MailboxSummary;
  readonly #signal: AbortSignal;
  readonly #needs: SearchNeeds;
  readonly #envelope = new EnvelopeAtHand();
  readonly #quick: QuickTest;
  readonly #full: FullTest;
  #sliceEndMs: number;

  /** @param key prepared. */
  constructor(
    { engine, statics, summary, signal }: Listing,
    key: SearchKey,
    hint: Hint | undefined,
  ) {
    this.#engine = engine;
    this.#statics = statics;
    this.#summary = summary;
    this.#signal = signal;
    this.#needs = needsOf(key);
    this.#quick = quickTestOf(key, summary, hint, this.#envelope);
    this.#full = fullTestOf(key, summary);
    this.#sliceEndMs = engine.clock.monotonicMs() + sliceMs;
  }

  /**
   * @param all the messages to look at: the mailbox may change while we wait, the list is of the
   * beginning, messages that go are passed over.
   */
  async run(all: Uint32Array): Promise<Uint32Array> {
    const { columns } = this.#summary;
    const needs = this.#needs;
    const found = new Uint32Array(all.length);
    let count = 0;
    let at = 0;
    let index = 0;
    const start = (): Promise<Read> | undefined => {
      // Read what comes next only when the columns can't tell.
      const unsure: Unsure[] = [];
      const end = Math.min(all.length, at + sliceMessages);
      for (let size = 0; at < end && unsure.length < batchMessages && size < batchBytes; at++) {
        const uid = all[at] ?? 0;
        if (columns.uid[index] !== uid || index >= columns.count) index = columns.indexOf(uid);
        const verdict = index < 0 ? false : this.#quick(index, at);
        if (verdict === true) found[count++] = uid;
        else if (verdict === undefined) {
          unsure.push({
            uid,
            spot: at,
            tag: columns.bodyTag[index] ?? 0,
            lsn: columns.bodyLsn[index] ?? 0,
          });
          size += needs.bodies ? (columns.size[index] ?? 0) : 0;
        }
        index++;
      }
      return unsure.length === 0 && at === all.length ? undefined : this.#read(unsure);
    };
    let next = start();
    try {
      while (next !== undefined) {
        const read = await next;
        if (this.#engine.clock.monotonicMs() >= this.#sliceEndMs) await this.#pause();
        next = start();
        for (const uid of read.sure) found[count++] = uid;
        for (const uid of await this.#test(read)) found[count++] = uid;
      }
    } finally {
      // Read ahead of a search that was given up.
      if (next !== undefined) background(next);
    }
    return ascending(found.subarray(0, count));
  }

  async #read(unsure: readonly Unsure[]): Promise<Read> {
    const { bodies, envelopes } = this.#needs;
    if (unsure.length === 0) return nothingRead;
    const rows = this.#statics.read({ uids: unsure.map(({ uid }) => uid), names: unsure });
    if (envelopes) return this.#readRest(unsure, await rows);
    const [statics, read] = await Promise.all([rows, bodies ? this.#bodies(unsure) : undefined]);
    return { uids: unsure.map(({ uid }) => uid), statics, bodies: read, sure: [] };
  }

  /** Reads the bodies only of messages whose ENVELOPE doesn't tell. */
  async #readRest(unsure: readonly Unsure[], { bytes, starts }: Statics): Promise<Read> {
    const { columns } = this.#summary;
    const sure: number[] = [];
    const rest: Unsure[] = [];
    const left = { bytes: new Array<Buffer>(), starts: new Array<number>() };
    for (const [i, one] of unsure.entries()) {
      const [row, start = 0] = [bytes[i], starts[i]];
      const at = columns.indexOf(one.uid);
      if (row === undefined || at < 0) continue;
      this.#envelope.moveTo(row, start);
      const verdict = this.#quick(at, one.spot);
      if (verdict === true) sure.push(one.uid);
      else if (verdict === undefined) {
        rest.push(one);
        left.bytes.push(row);
        left.starts.push(start);
      }
    }
    this.#envelope.forget();
    const bodies = rest.length === 0 ? [] : await this.#bodies(rest);
    return { uids: rest.map(({ uid }) => uid), statics: left, bodies, sure };
  }

  #bodies(of: readonly Unsure[]): Promise<readonly Body[]> {
    const uids = of.map(({ uid }) => uid);
    return readBodies(this.#engine, this.#summary.columns, uids, of);
  }

  async #test({ uids, statics, bodies }: Read): Promise<number[]> {
    const { columns } = this.#summary;
    const { headers, texts, bodyTexts } = this.#needs;
    const matched: number[] = [];
    for (let i = 0; i < uids.length; i++) {
      if (this.#engine.clock.monotonicMs() >= this.#sliceEndMs) await this.#pause();
      const uid = uids[i] ?? 0;
      const row = statics.bytes[i];
      if (row === undefined || columns.indexOf(uid) < 0) continue;
      const fixed = staticAt(row, statics.starts[i] ?? 0);
      const body = bodies?.[i];
      const text = body === undefined ? undefined : new MessageText(this.#engine, body, fixed);
      if (text !== undefined) {
        // Only large messages have to be waited for.
        const header = headers ? text.loadHeader() : undefined;
        if (header !== undefined) await header;
        const loaded = texts ? text.loadBody(bodyTexts) : undefined;
        if (loaded !== undefined) await loaded;
      }
      const at = columns.indexOf(uid);
      if (at >= 0 && this.#full(at, fixed, text)) matched.push(uid);
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

/** A message that the columns don't decide, by its place in the list of all, and its body's name. */
interface Unsure extends BodyName {
  readonly uid: number;
  readonly spot: number;
}

/** What was read of such messages. */
interface Read {
  /** Decided by what was read first. */
  readonly sure: readonly number[];
  readonly uids: readonly number[];
  readonly statics: Statics;
  readonly bodies: readonly Body[] | undefined;
}

const nothingRead: Read = {
  sure: [],
  uids: [],
  statics: { bytes: [], starts: [] },
  bodies: undefined,
};

/** The whole truth, with everything read that the key needs. */
type FullTest = (at: number, fixed: StaticRow, text: MessageText | undefined) => boolean;

function fullTestOf(key: SearchKey, summary: MailboxSummary): FullTest {
  switch (key.kind) {
    case "and": {
      const tests = key.keys.map((each) => fullTestOf(each, summary));
      return (at, fixed, text) => tests.every((test) => test(at, fixed, text));
    }
    case "or": {
      const [a, b] = [fullTestOf(key.a, summary), fullTestOf(key.b, summary)];
      return (at, fixed, text) => a(at, fixed, text) || b(at, fixed, text);
    }
    case "not": {
      const inner = fullTestOf(key.key, summary);
      return (at, fixed, text) => !inner(at, fixed, text);
    }
    case "header":
      return (_at, _fixed, text) => text?.headerHas(key.name, key.text) ?? false;
    case "body":
      return (_at, _fixed, text) => text?.bodyHas(key.text) ?? false;
    case "text":
      return (_at, _fixed, text) => text?.textHas(key.text) ?? false;
    case "threadId":
      return (at, fixed) => threadIdOf(fixed, summary.columns, at) === key.id;
    case "date":
      return (at, fixed) => dayMatches(key, dayOfMessage(key, summary, at, fixed));
    default:
      return columnTestOf(key, summary);
  }
}

/**
 * RFC 9051 §6.4.4: the day that the Date: header names, whatever day it was elsewhere; without one the
 * internal date has to do.
 */
function dayOfMessage(
  { of }: Extract<SearchKey, { kind: "date" }>,
  summary: MailboxSummary,
  at: number,
  { sentMs, sentZone }: StaticRow,
): number {
  return of === "sent" && sentMs !== undefined
    ? dayOf(sentMs, sentZone)
    : columnDay(summary, at, of === "saved" ? "saved" : "internal");
}

/** A copy in ascending order; what was decided later may lie before what was decided at once. */
function ascending(values: Uint32Array): Uint32Array {
  const copy = values.slice();
  for (let at = 1; at < copy.length; at++) {
    if ((copy[at - 1] ?? 0) > (copy[at] ?? 0)) return copy.sort();
  }
  return copy;
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
