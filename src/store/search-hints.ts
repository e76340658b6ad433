// What the engine and SEARCH know of the search index: where new mail is told, and what may be passed
// over. The index itself is search-index/'s; a store without one reads everything through.

import type { AccountId, MailboxId } from "../mail/ids.ts";
import type { SearchKey } from "../mail/search-key.ts";
import type { Columns } from "./columns.ts";
import type { RawPiece } from "./message-pieces.ts";

/**
 * For each text whether the pieces of a message's body have it; undefined: could not be done.
 * Takes the memory of the pieces.
 */
export type TextScan = (
  pieces: readonly RawPiece[],
  texts: readonly string[],
) => Promise<readonly boolean[] | undefined>;

/** The index's answer to one search. */
export interface Hint {
  /** True when the message at this place of the list surely does not match this very key. */
  rulesOut(key: SearchKey, at: number): boolean;
}

export interface SearchHints {
  /** Mail came into a mailbox; must cost next to nothing. */
  added(account: AccountId, mailbox: MailboxId, messages: number, bytes: number): void;
  /** A mailbox was deleted. */
  gone(account: AccountId, mailbox: MailboxId): void;
  /**
   * What is known of a search whose texts are normalised; undefined: nothing.
   * @param uids all messages in question, ascending, as `columns` has them now.
   */
  narrow(
    place: { readonly account: AccountId; readonly mailbox: MailboxId },
    columns: Columns,
    uids: Uint32Array,
    key: SearchKey,
  ): Promise<Hint | undefined>;
}
