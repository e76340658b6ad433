// Static rows of neighbouring messages packed into one LevelDB value, so that a listing reads a
// hundred messages with one look-up and one checksum. Pages are copies: every message has its own
// static row, too, so a page that is missing, old or half dead costs time and nothing else.

import type { AccountId, MailboxId } from "../mail/ids.ts";
import { mailboxItemKey, mailboxKey, table } from "./keyspace.ts";
import { beginRow, endRow, openRow, payloadOf, rowHeaderBytes } from "./row.ts";
import type { RowReader } from "./row-reader.ts";
import type { WriteQueue } from "./write-queue.ts";

/** Bytes of static rows in a page of more than one message, at most. */
export const pageBytesMax = 48 * 1024;

/** A page covers the UIDs `first` to `last`; of those it holds `count` messages. */
export interface PageSpan {
  readonly first: number;
  readonly last: number;
  readonly count: number;
}

/** A message with its static row's payload, `start` to `end` in `bytes`. */
export interface PagedMessage {
  readonly uid: number;
  readonly tag: number;
  readonly lsn: number;
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
}

// uid (4), body tag (4), body lsn (6), end of its payload behind the table (4).
const entryBytes = 18;

export function pageKey(account: AccountId, mailbox: MailboxId, first: number): Buffer {
  return mailboxItemKey(account, table.page, mailbox, first);
}

/** Writes a page of messages in ascending order of UID. */
export function putPage(
  queue: WriteQueue,
  account: AccountId,
  mailbox: MailboxId,
  first: number,
  messages: readonly PagedMessage[],
): void {
  const key = pageKey(account, mailbox, first);
  const out = beginRow();
  out.u32(messages.length);
  let end = 0;
  for (const message of messages) {
    end += message.end - message.start;
    out.u32(message.uid);
    out.u32(message.tag);
    out.u16(Math.floor(message.lsn / 2 ** 32));
    out.u32(message.lsn % 2 ** 32);
    out.u32(end);
  }
  for (const { bytes, start, end: stop } of messages) out.raw(bytes.subarray(start, stop));
  queue.put(key, endRow(key));
}

/** Looks messages up in a page that has been checked; quick when they are asked for in order. */
export class PageCursor {
  readonly bytes: Buffer;
  readonly #count: number;
  #next = 0;

  /** @param value a page's value that has been found sound. */
  constructor(value: Buffer) {
    this.bytes = value;
    this.#count = payloadOf(value).u32();
  }

  /** Where the message's payload begins in `bytes`; -1 when this body of this UID is not here. */
  find(uid: number, tag: number, lsn: number): number {
    const { bytes } = this;
    let at = this.#next;
    if (at >= this.#count || bytes.readUInt32BE(entryAt(at)) !== uid) {
      at = this.#lowerBound(uid);
      if (at === this.#count || bytes.readUInt32BE(entryAt(at)) !== uid) return -1;
    }
    this.#next = at + 1;
    const entry = entryAt(at);
    const same =
      bytes.readUInt32BE(entry + 4) === tag &&
      bytes.readUInt32BE(entry + 10) === lsn % 2 ** 32 &&
      bytes.readUInt16BE(entry + 8) === Math.floor(lsn / 2 ** 32);
    if (!same) return -1;
    return entryAt(this.#count) + (at === 0 ? 0 : bytes.readUInt32BE(entry - 4));
  }

  #lowerBound(uid: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.bytes.readUInt32BE(entryAt(middle)) < uid) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function entryAt(at: number): number {
  return rowHeaderBytes + 4 + at * entryBytes;
}

/** Writes which pages a mailbox has. */
export function putPageList(
  queue: WriteQueue,
  account: AccountId,
  mailbox: MailboxId,
  pages: readonly PageSpan[],
): void {
  const key = mailboxKey(account, table.pages, mailbox);
  const out = beginRow();
  out.varint(pages.length);
  let before = 0;
  for (const { first, last, count } of pages) {
    out.varint(first - before);
    out.varint(last - first);
    out.varint(count);
    before = last;
  }
  queue.put(key, endRow(key));
}

/** The mailbox's pages, ascending. @throws MailError DAMAGED */
export async function readPageList(
  queue: RowReader,
  account: AccountId,
  mailbox: MailboxId,
): Promise<PageSpan[]> {
  const key = mailboxKey(account, table.pages, mailbox);
  const value = await queue.get(key);
  if (value === undefined) return [];
  const reader = openRow(key, value);
  const pages: PageSpan[] = [];
  let before = 0;
  for (let left = reader.varint(); left > 0; left--) {
    const first = before + reader.varint();
    const last = first + reader.varint();
    pages.push({ first, last, count: reader.varint() });
    before = last;
  }
  return pages;
}

/** Index of the page that covers the UID, or of the first behind it. */
export function pageFrom(pages: readonly PageSpan[], uid: number): number {
  let low = 0;
  let high = pages.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((pages[middle]?.last ?? 0) < uid) low = middle + 1;
    else high = middle;
  }
  return low;
}
