// What a FETCH asks of the store and how the answer comes, rendered. RFC 9051 §6.4.5

import type { MailboxId } from "./ids.ts";
import type { UidSet } from "./uid-set.ts";

/** One `BODY[section]<partial>` of a FETCH, or BINARY. RFC 9051 §6.4.5 */
export interface FetchSection {
  /** Part numbers, empty for the whole message. */
  readonly path: readonly number[];
  readonly kind:
    | "body"
    | "header"
    | "text"
    | "mime"
    | "fields"
    | "fieldsNot"
    | "binary"
    | "binarySize";
  /** Field names of `fields` and `fieldsNot`, as the client wrote them. */
  readonly fields?: readonly string[];
  readonly partial?: { readonly start: number; readonly length: number };
  /** The label to answer with, e.g. `BODY[HEADER.FIELDS (SUBJECT)]<0>` or `RFC822.HEADER`. */
  readonly label: string;
}

export interface FetchItems {
  readonly flags?: boolean;
  readonly internalDate?: boolean;
  readonly size?: boolean;
  readonly envelope?: boolean;
  readonly bodyStructure?: boolean;
  /** `BODY` without section: the non-extensible form. */
  readonly body?: boolean;
  readonly modSeq?: boolean;
  readonly saveDate?: boolean;
  readonly emailId?: boolean;
  readonly threadId?: boolean;
  /** The beginning of the text, at most 200 characters. RFC 8970 §3 */
  readonly preview?: boolean;
  /** With `preview`: NIL where it can't be had at once. RFC 8970 §4.1 */
  readonly previewLazy?: boolean;
  readonly sections?: readonly FetchSection[];
}

export interface FetchRequest {
  readonly mailbox: MailboxId;
  readonly uids: UidSet;
  readonly items: FetchItems;
  /** Only messages with a higher MODSEQ. RFC 7162 §3.1.4.1 */
  readonly changedSince?: number;
  /** Messages with UID ≥ this are shown with \Recent; 0 or absent: none. */
  readonly recentFrom?: number;
  /**
   * The rest of an answer that was cut off: `items` are sections alone, and a message that was
   * expunged lately is answered, too, as long as the log has it.
   */
  readonly evenGone?: boolean;
}

/**
 * A piece of a FETCH answer: messages in one piece of memory, none of them twice. The text of message
 * `uids[i]` ends at `ends[i]`, where the next one begins: nothing is made per message. It is rendered
 * IMAP text without `* n FETCH (` and `)`: `UID 5 FLAGS (\Seen) BODY[] {4}\r\n…`; it always starts with
 * `UID n`, behind which FLAGS comes first when asked for, then MODSEQ. Sections come last. Who wants an
 * object per message uses fetch-parts.ts.
 */
export interface FetchChunk {
  /** Ascending. The first may be the one that the chunk before left unfinished: its next bytes come here. */
  readonly uids: Uint32Array;
  readonly ends: Uint32Array;
  readonly bytes: Uint8Array;
  /** True when the last message's next bytes come in the next chunk (a large literal). */
  readonly more: boolean;
  /** With `more`, in the chunk where they begin: the offset in the last message's bytes at which its sections begin. */
  readonly sectionsAt?: number;
}
