// Static rows of many messages as bytes: from pages where there are some, else from the rows
// themselves, in one range read where they lie close together, single look-ups where they don't.

import { MailError } from "../mail/errors.ts";
import type { AccountId, MailboxId } from "../mail/ids.ts";
import type { BodyName } from "./bodies.ts";
import { staticKey } from "./keyspace.ts";
import type { MailboxSummary } from "./mailbox-state.ts";
import { rowHeaderBytes, rowIsSound } from "./row.ts";
import { spreadReads } from "./spread-reads.ts";
import { PageCursor, pageFrom, pageKey } from "./static-page.ts";
import type { PageSpan } from "./static-page.ts";
import { mending } from "./mending.ts";
import type { WriteQueue } from "./write-queue.ts";

/** Fewer are looked up one by one. */
const rangeFrom = 8;
/** Pages, and single rows, that are read together. */
const pagesAtOnce = 16;
const rowsAtOnce = 256;
const pagesPerCall = 4;

/** Payloads of static rows: that of message i begins at `starts[i]` in `bytes[i]`. */
export interface Statics {
  readonly bytes: readonly Buffer[];
  readonly starts: readonly number[];
}

/** Messages by UID and by the name of their body. */
export interface Messages {
  readonly uids: readonly number[];
  readonly names: readonly BodyName[];
}

/** Reads a mailbox's static rows, in ascending order of UID for the most part. One read at a time. */
export class StaticReader {
  readonly #rows: WriteQueue;
  readonly #account: AccountId;
  readonly #mailbox: MailboxId;
  readonly #summary: MailboxSummary;
  /** The last page of the last read, in which the next read may begin. */
  #held: { readonly first: number; readonly cursor: PageCursor } | undefined;

  constructor(rows: WriteQueue, account: AccountId, mailbox: MailboxId, summary: MailboxSummary) {
    this.#rows = rows;
    this.#account = account;
    this.#mailbox = mailbox;
    this.#summary = summary;
  }

  /** How many of `uids` from `at` on are best read at once. */
  batchSize(uids: Uint32Array, at: number): number {
    const { pages } = this.#summary;
    let page = pageFrom(pages, uids[at] ?? 0);
    let pagesLeft = pagesAtOnce;
    let rowsLeft = rowsAtOnce;
    let end = at;
    while (end < uids.length && pagesLeft > 0 && rowsLeft > 0) {
      const uid = uids[end] ?? 0;
      const span = pages[page];
      if (span !== undefined && uid > span.last) {
        page = pageFrom(pages, uid);
        pagesLeft--;
      } else {
        if (span === undefined || uid < span.first) rowsLeft--;
        end++;
      }
    }
    return end - at;
  }

  /** The rows in the order asked. @throws MailError DAMAGED */
  async read({ uids, names }: Messages): Promise<Statics> {
    const bytes = new Array<Buffer>(uids.length);
    const starts = new Array<number>(uids.length);
    const missing: number[] = [];
    const cursors = await this.#pagesFor(uids);
    let first = 0;
    let last = 0;
    let cursor: PageCursor | undefined;
    const { pages } = this.#summary;
    for (let at = 0; at < uids.length; at++) {
      const uid = uids[at] ?? 0;
      if (uid < first || uid > last) {
        const span = pages[pageFrom(pages, uid)];
        first = span?.first ?? 0;
        last = span === undefined ? Number.MAX_SAFE_INTEGER : span.last;
        cursor = span === undefined ? undefined : cursors.get(first);
      }
      const name = names[at];
      const start = name === undefined ? -1 : (cursor?.find(uid, name.tag, name.lsn) ?? -1);
      if (start < 0 || cursor === undefined) missing.push(at);
      else {
        bytes[at] = cursor.bytes;
        starts[at] = start;
      }
    }
    if (missing.length === 0) return { bytes, starts };
    const rows = await readRows(
      this.#rows,
      this.#account,
      missing.flatMap((at) => names[at] ?? []),
    );
    for (const [i, at] of missing.entries()) {
      bytes[at] = rows[i] ?? Buffer.alloc(0);
      starts[at] = rowHeaderBytes;
    }
    return { bytes, starts };
  }

  /** The pages that cover some of `uids`, by their first UID. A page that is bad is as if it weren't there. */
  async #pagesFor(uids: readonly number[]): Promise<ReadonlyMap<number, PageCursor>> {
    const { pages } = this.#summary;
    const cursors = new Map<number, PageCursor>();
    if (pages.length === 0) return cursors;
    const firsts: number[] = [];
    let last = 0;
    for (const uid of uids) {
      if (uid <= last) continue;
      const span = pages[pageFrom(pages, uid)];
      if (span === undefined) break;
      if (uid < span.first) continue;
      last = span.last;
      if (this.#held?.first === span.first) cursors.set(span.first, this.#held.cursor);
      else firsts.push(span.first);
    }
    const keys = firsts.map((first) => pageKey(this.#account, this.#mailbox, first));
    const values = keys.length === 0 ? [] : await spreadReads(this.#rows, keys, pagesPerCall);
    for (const [i, first] of firsts.entries()) {
      const key = keys[i];
      const value = values[i];
      if (key === undefined || value === undefined || !rowIsSound(key, value)) {
        this.#lose(pages[pageFrom(pages, first)]);
        continue;
      }
      const cursor = new PageCursor(value);
      cursors.set(first, cursor);
      this.#held = { first, cursor };
    }
    return cursors;
  }

  /** A page that isn't there, or is bad, is asked for no more, and made anew at the next occasion. */
  #lose(span: PageSpan | undefined): void {
    const summary = this.#summary;
    // Not when it was replaced while we read.
    if (span === undefined || !summary.pages.includes(span)) return;
    summary.pages = summary.pages.filter((page) => page !== span);
    summary.pageLosses += span.count;
  }
}

/** Values of the messages' own rows, in the order asked. @throws MailError DAMAGED */
export function readRows(
  queue: WriteQueue,
  account: AccountId,
  names: readonly BodyName[],
): Promise<Buffer[]> {
  return mending(queue, () => readRowsOnce(queue, account, names));
}

async function readRowsOnce(
  queue: WriteQueue,
  account: AccountId,
  names: readonly BodyName[],
): Promise<Buffer[]> {
  const keys = names.map(({ tag, lsn }) => staticKey(account, tag, lsn));
  const rows = keys.length < rangeFrom ? [] : await readRange(queue, keys);
  const missing: number[] = [];
  for (let at = 0; at < keys.length; at++) if (rows[at] === undefined) missing.push(at);
  if (missing.length > 0) {
    const read = await queue.getMany(missing.flatMap((at) => keys[at] ?? []));
    missing.forEach((at, i) => {
      const key = keys[at];
      const value = read[i];
      if (key !== undefined && value !== undefined && rowIsSound(key, value)) rows[at] = value;
    });
  }
  return keys.map((key, at) => {
    const row = rows[at];
    if (row === undefined) {
      throw new MailError({ code: "DAMAGED", what: `row ${key.toString("hex")}` });
    }
    return row;
  });
}

/**
 * Reads on from the first key while rows are mostly wanted ones; gives up where they are not. A row
 * belongs to the key with which its checksum is right; what is not found so is looked up by its key.
 */
async function readRange(
  queue: WriteQueue,
  keys: readonly Buffer[],
): Promise<(Buffer | undefined)[]> {
  const found = new Array<Buffer | undefined>(keys.length).fill(undefined);
  const first = keys[0];
  const last = keys.at(-1);
  if (first === undefined || last === undefined || Buffer.compare(first, last) >= 0) return found;
  const end = Buffer.concat([last, Buffer.from([0])]);
  let next = 0;
  let unwanted = 0;
  for await (const values of queue.values(first, end, keys.length)) {
    for (const value of values) {
      const key = keys[next];
      if (key !== undefined && rowIsSound(key, value)) found[next++] = value;
      else unwanted++;
    }
    if (unwanted > keys.length || next >= keys.length) break;
  }
  return found;
}
