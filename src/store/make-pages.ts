// Makes pages of static rows in the background: of new messages once there are enough for a page, and
// anew where most of a page's messages are gone. Nothing depends on it: it may break off anywhere.

import { isMailError } from "../mail/errors.ts";
import type { AccountState } from "./account-state.ts";
import type { MailboxState, MailboxSummary } from "./mailbox-state.ts";
import { rowHeaderBytes } from "./row.ts";
import { pageBytesMax, pageKey, putPage, putPageList } from "./static-page.ts";
import type { PagedMessage, PageSpan } from "./static-page.ts";
import { readRows } from "./statics.ts";
import type { WriteQueue } from "./write-queue.ts";

const batchPages = 2;
/** Of fewer messages between two pages, as a part of a page's, none is made. */
const gapShare = 1 / 16;

/** True when there is something to do; cheap, asked after every change. */
export function wantsPages(summary: MailboxSummary, messagesMax: number): boolean {
  if (summary.paging) return false;
  const { columns, pages } = summary;
  const covered = columns.lowerBound((pages.at(-1)?.last ?? 0) + 1);
  return columns.count - covered >= messagesMax || summary.pageLosses >= messagesMax;
}

/** Makes the pages a mailbox wants. The caller keeps the summary pinned meanwhile. */
export async function makePages(
  queue: WriteQueue,
  account: AccountState,
  mailbox: MailboxState,
  summary: MailboxSummary,
  messagesMax: number,
  signal: AbortSignal,
): Promise<void> {
  if (summary.paging) return;
  summary.paging = true;
  summary.pageLosses = 0;
  try {
    const kept = summary.pages.filter((page) => isWorthIt(summary, page));
    const dropped = summary.pages.filter((page) => !kept.includes(page));
    if (dropped.length > 0) {
      for (const { first } of dropped) queue.del(pageKey(account.id, mailbox.id, first));
      summary.pages = kept;
      putPageList(queue, account.id, mailbox.id, kept);
    }
    for (const [from, to] of gapsBetween(kept)) {
      await fillGap({ queue, account, mailbox, summary, messagesMax, signal }, from, to);
    }
    summary.paging = false;
  } catch (error) {
    // A row is bad, or went with its message while we read: whoever needs it is told. There will be
    // no pages until the mailbox is loaded again, so that we don't come here at every change.
    if (!isMailError(error, "DAMAGED")) throw error;
  }
}

interface Job {
  readonly queue: WriteQueue;
  readonly account: AccountState;
  readonly mailbox: MailboxState;
  readonly summary: MailboxSummary;
  readonly messagesMax: number;
  readonly signal: AbortSignal;
}

/** At least half of its messages are still there. */
function isWorthIt({ columns }: MailboxSummary, { first, last, count }: PageSpan): boolean {
  return (columns.lowerBound(last + 1) - columns.lowerBound(first)) * 2 > count;
}

/** Runs of UIDs, both ends included, without pages. */
function gapsBetween(pages: readonly PageSpan[]): [number, number][] {
  const gaps: [number, number][] = [];
  let from = 1;
  for (const { first, last } of pages) {
    if (first > from) gaps.push([from, first - 1]);
    from = last + 1;
  }
  gaps.push([from, Number.POSITIVE_INFINITY]);
  return gaps;
}

/** Makes pages of the messages with UIDs `from` to `to`; behind the last page only full ones. */
async function fillGap(job: Job, from: number, to: number): Promise<void> {
  const { queue, account, mailbox, summary, messagesMax, signal } = job;
  const { columns } = summary;
  const open = to === Number.POSITIVE_INFINITY;
  for (let next = from; ; ) {
    if (queue.full) await queue.room();
    const start = columns.lowerBound(next);
    const left = (open ? columns.count : columns.lowerBound(to + 1)) - start;
    if (left === 0 || left < (open ? messagesMax : messagesMax * gapShare)) return;
    const count = Math.min(left, batchPages * messagesMax);
    const messages = await readMessages(job, start, count);
    // No wait from here on: the rows of a deleted mailbox are swept away once.
    if (mailbox.gone || signal.aborted) return;
    const pages = cut(messages, messagesMax, open || count < left);
    for (const page of pages) putPage(queue, account.id, mailbox.id, page[0]?.uid ?? 0, page);
    const spans = pages.map((page): PageSpan => {
      return { first: page[0]?.uid ?? 0, last: page.at(-1)?.uid ?? 0, count: page.length };
    });
    if (spans.length === 0) return;
    summary.pages = [...summary.pages, ...spans].toSorted((a, b) => a.first - b.first);
    putPageList(queue, account.id, mailbox.id, summary.pages);
    next = (spans.at(-1)?.last ?? to) + 1;
  }
}

async function readMessages(
  { queue, account, summary }: Job,
  start: number,
  count: number,
): Promise<PagedMessage[]> {
  const found = Array.from({ length: count }, (_, at) => summary.columns.row(start + at));
  const names = found.map(({ bodyTag, bodyLsn }) => ({ tag: bodyTag, lsn: bodyLsn }));
  const rows = await readRows(queue, account.id, names);
  return found.map(({ uid, bodyTag: tag, bodyLsn: lsn }, at): PagedMessage => {
    const bytes = rows[at] ?? Buffer.alloc(0);
    return { uid, tag, lsn, bytes, start: rowHeaderBytes, end: bytes.length };
  });
}

/** Pages as full as they get; the last one, which may not be, is left out where more will come. */
function cut(
  messages: readonly PagedMessage[],
  messagesMax: number,
  more: boolean,
): PagedMessage[][] {
  const pages: PagedMessage[][] = [];
  let page: PagedMessage[] = [];
  let bytes = 0;
  for (const message of messages) {
    const size = message.end - message.start;
    if (page.length > 0 && (bytes + size > pageBytesMax || page.length === messagesMax)) {
      pages.push(page);
      page = [];
      bytes = 0;
    }
    page.push(message);
    bytes += size;
  }
  if (page.length === messagesMax || (!more && page.length > 0)) pages.push(page);
  return pages;
}
