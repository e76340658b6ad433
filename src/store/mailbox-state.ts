// One mailbox in RAM: its row, its counters (committed, and as proposed), and, while it is in use,
// the columns of its messages. Changed only by apply-ram.ts and, for what is proposed, by changes.

import type { MailboxId } from "../mail/ids.ts";
import type { UidSet } from "../mail/uid-set.ts";
import type { Columns } from "./columns.ts";
import { seenBit, deletedBit } from "./flags.ts";
import type { KeywordSets } from "./flags.ts";
import type { Counters, MailboxRow, Op } from "./entry-kind.ts";
import type { PageSpan } from "./static-page.ts";

/** UIDs that went at a MODSEQ. */
export interface Vanished {
  readonly modSeq: number;
  readonly uids: UidSet;
}

const vanishedKept = 128;
/** Reading an added message from a change row takes so many times as long as setting flags of one. */
export const addCost = 8;
/** Rolling forward may take about as long as reading the blocks. */
const replayCostMin = 65_536;
const replayCostPerMessage = 4;

/** What is loaded of a mailbox while its messages are in use. */
export class MailboxSummary {
  readonly columns: Columns;
  readonly keywords: KeywordSets;
  /** MODSEQ up to which the blocks on disk hold everything. */
  foldModSeq: number;
  /** First UIDs of the blocks on disk, ascending, and which of them changed since. */
  blocks: number[];
  readonly dirtyBlocks = new Set<number>();
  /** What it would take to roll the blocks on disk forward: added messages count `addCost`, others 1. */
  replayCost = 0;
  /** Newest removals, oldest first; complete above `vanishedSince`. */
  readonly vanished: Vanished[] = [];
  vanishedSince: number;
  /** Pages of static rows on disk, ascending; replaced as a whole. */
  pages: readonly PageSpan[] = [];
  /** True while pages are made. */
  paging = false;
  /** Messages that went since pages were made, and messages of pages found missing. */
  pageLosses = 0;
  /** Readers that must not lose it to eviction. */
  pins = 0;

  constructor(
    columns: Columns,
    keywords: KeywordSets,
    foldModSeq: number,
    blocks: number[],
    vanishedSince: number,
  ) {
    this.columns = columns;
    this.keywords = keywords;
    this.foldModSeq = foldModSeq;
    this.blocks = blocks;
    this.vanishedSince = vanishedSince;
  }

  /** True when changes above the blocks take too long to read, however few they are. */
  get isLongReplay(): boolean {
    return this.replayCost > replayCostMin + replayCostPerMessage * this.columns.count;
  }

  noteVanished(gone: Vanished): void {
    const last = this.vanished.at(-1);
    if (last !== undefined && last.modSeq >= gone.modSeq) return;
    this.vanished.push(gone);
    if (this.vanished.length > vanishedKept) {
      this.vanishedSince = this.vanished.shift()?.modSeq ?? this.vanishedSince;
    }
  }

  /** The block in which `uid` lies has changed. Returns the first UID of the next block, 2^32 when there is none. */
  touch(uid: number): number {
    let low = 0;
    let high = this.blocks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.blocks[middle] ?? 0) <= uid) low = middle + 1;
      else high = middle;
    }
    this.dirtyBlocks.add(this.blocks[low - 1] ?? 0);
    return this.blocks[low] ?? 2 ** 32;
  }
}

/** A summary that is being read from disk: entries applied meanwhile are applied to it again. */
export interface LoadingSummary {
  promise: Promise<MailboxSummary> | undefined;
  readonly missed: Op[];
  /** Callers that wait for it, each with a pin. */
  pins: number;
}

export class MailboxState {
  readonly id: MailboxId;
  uidValidity: number;
  name: string;
  specialUse: string;
  /** Committed and visible. */
  counters: Counters;
  /** With everything proposed; equal to `counters` when nothing is under way. */
  next: Counters;
  summary: MailboxSummary | undefined;
  loading: LoadingSummary | undefined;
  gone = false;
  /** MODSEQ at which changes were last known to be folded, or expected to be. */
  foldedNear: number;

  constructor(row: MailboxRow, counters: Counters) {
    this.id = row.id;
    this.uidValidity = row.uidValidity;
    this.name = row.name;
    this.specialUse = row.specialUse;
    this.counters = counters;
    this.next = counters;
    this.foldedNear = counters.modSeq;
  }
}

/** Counters after one message with these flags came in as `counters.uidNext`. */
export function withMessage(counters: Counters, flags: number, size: number): Counters {
  return {
    uidNext: counters.uidNext + 1,
    modSeq: counters.modSeq + 1,
    messages: counters.messages + 1,
    unseen: counters.unseen + ((flags & seenBit) === 0 ? 1 : 0),
    deleted: counters.deleted + ((flags & deletedBit) === 0 ? 0 : 1),
    sizeBytes: counters.sizeBytes + size,
    recentFrom: counters.recentFrom,
    recent: counters.recent + 1,
  };
}
