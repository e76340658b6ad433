// The messages of one POP3 session as they were at login, and which of them are marked deleted.
// Numbers never change during a session (RFC 1939 §5); fetching and deleting are the shell's work.

import { uid as makeUid } from "../../mail/ids.ts";
import type { MailboxId, Uid, UidValidity } from "../../mail/ids.ts";
import { uidSetFromSorted } from "../../mail/uid-set.ts";
import type { UidSet } from "../../mail/uid-set.ts";

export interface MaildropContents {
  readonly mailbox: MailboxId;
  readonly uidValidity: UidValidity;
  /** Ascending; message number n is `uids[n-1]`. */
  readonly uids: Uint32Array;
  /** RFC822.SIZE of each. */
  readonly sizes: Float64Array;
}

const marks = { deleted: 1, retrieved: 2 } as const;

export class Maildrop {
  readonly contents: MaildropContents;
  readonly #marks: Uint8Array;
  #count: number;
  #sizeBytes: number;
  readonly #sizeBytesAtStart: number;

  constructor(contents: MaildropContents) {
    this.contents = contents;
    this.#marks = new Uint8Array(contents.uids.length);
    this.#count = contents.uids.length;
    this.#sizeBytesAtStart = contents.sizes.reduce((sum, size) => sum + size, 0);
    this.#sizeBytes = this.#sizeBytesAtStart;
  }

  /** Messages that are not marked deleted. */
  get count(): number {
    return this.#count;
  }
  get sizeBytes(): number {
    return this.#sizeBytes;
  }
  /** The highest message number, deleted or not. */
  get last(): number {
    return this.#marks.length;
  }

  isDeleted(number: number): boolean {
    return ((this.#marks[number - 1] ?? 0) & marks.deleted) !== 0;
  }
  uid(number: number): Uid {
    return makeUid(this.contents.uids[number - 1] ?? 0);
  }
  size(number: number): number {
    return this.contents.sizes[number - 1] ?? 0;
  }
  /** Stable for ever: across sessions, failover and moves. RFC 1939 §7 */
  uniqueId(number: number): string {
    return `${this.contents.uidValidity}.${this.uid(number)}`;
  }

  markDeleted(number: number): void {
    this.#marks[number - 1] = (this.#marks[number - 1] ?? 0) | marks.deleted;
    this.#count--;
    this.#sizeBytes -= this.size(number);
  }
  markRetrieved(number: number): void {
    this.#marks[number - 1] = (this.#marks[number - 1] ?? 0) | marks.retrieved;
  }
  /** RSET: nothing is deleted any more. */
  reset(): void {
    for (let at = 0; at < this.#marks.length; at++) {
      this.#marks[at] = (this.#marks[at] ?? 0) & ~marks.deleted;
    }
    this.#count = this.#marks.length;
    this.#sizeBytes = this.#sizeBytesAtStart;
  }

  /** What QUIT leads to: messages to delete, and those to mark seen (retrieved and kept). */
  outcome(): { readonly deleted: UidSet; readonly seen: UidSet } {
    return {
      deleted: this.#uidsWhere((mark) => (mark & marks.deleted) !== 0),
      seen: this.#uidsWhere((mark) => mark === marks.retrieved),
    };
  }

  #uidsWhere(wanted: (mark: number) => boolean): UidSet {
    return uidSetFromSorted(this.contents.uids.filter((_, at) => wanted(this.#marks[at] ?? 0)));
  }
}
