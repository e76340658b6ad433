// What THREAD needs of messages, and threads as flat lists, which travel and are written without
// recursion. The algorithms are in thread-references.ts and thread-subject.ts. RFC 5256 §3 (THREAD)

export type ThreadAlgorithm = "orderedSubject" | "references";

/** The searched messages in mailbox order, a column each. */
export interface ThreadMessages {
  readonly uids: ArrayLike<number>;
  /** Sent dates. RFC 5256 §2.2 */
  readonly sentMs: ArrayLike<number>;
  /** Normalised Message ids; empty: none that is valid. */
  readonly ids: readonly string[];
  /** Normalised ids of ancestors, oldest first. */
  readonly references: readonly (readonly string[])[];
  /** Base subjects as keys of the collation. */
  readonly subjects: readonly string[];
  readonly isReply: readonly boolean[];
}

/**
 * Threads in the order of the answer, each message before its children: `depths` says how far below
 * the top it stands. UID 0 is a parent that isn't there; it stands at the top and has children.
 */
export interface Threads {
  readonly uids: ArrayLike<number>;
  readonly depths: ArrayLike<number>;
}

export const noThreads: Threads = { uids: [], depths: [] };

/** Orders messages by sent date, then by place in the mailbox. RFC 5256 §2.2 */
export function bySentDate(sentMs: ArrayLike<number>): (a: number, b: number) => number {
  return (a, b) => (sentMs[a] ?? 0) - (sentMs[b] ?? 0) || a - b;
}
