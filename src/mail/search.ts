// What SEARCH, SORT and THREAD ask of storage, and what they get: part of the contract mail-store.ts.

import type { MailboxId } from "./ids.ts";
import type { SearchKey } from "./search-key.ts";
import type { SortCriterion } from "./sort-order.ts";
import type { ThreadAlgorithm, Threads } from "./thread-tree.ts";

export interface SearchRequest {
  readonly mailbox: MailboxId;
  readonly key: SearchKey;
  /** Ask for the highest MODSEQ among the results. RFC 7162 §3.1.5 */
  readonly wantModSeq?: boolean;
  /** Give the results in this order, not ascending. RFC 5256 §3 (SORT) */
  readonly sort?: readonly SortCriterion[];
  /** Give the results as threads. RFC 5256 §3 (THREAD) */
  readonly thread?: ThreadAlgorithm;
}
export interface SearchOutcome {
  /** Ascending, or as `sort` says. */
  readonly uids: Uint32Array;
  readonly highestModSeqOfResults?: number;
  /** With `wantModSeq`, of the first and of the last of `uids`; absent when nothing was found. RFC 4731 §3.2 */
  readonly endModSeqs?: readonly [number, number];
  /** With `thread`: the messages of `uids`. */
  readonly threads?: Threads;
}
