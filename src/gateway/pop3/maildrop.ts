// The messages of one POP3 session as they were at login, and which of them are marked deleted.
// Numbers never change during a session (RFC 1939 §5); fetching and deleting are the shell's work.

import { uid as makeUid } from "../../mail/ids.ts";
import type { AccountId, MailboxId, Uid, UidValidity } from "../../mail/ids.ts";
import { noUids, uidSetFromSorted } from "../../mail/uid-set.ts";
import type { UidSet } from "../../mail/uid-set.ts";

export interface MaildropContents {
  readonly mailbox: MailboxId;
  readonly uidValidity: UidValidity;
  /** Ascending; message number n is `uids[n-1]`. */
  readonly uids: Uint32Array;
  /** RFC822.SIZE of each. */
  readonly sizes: Float64Array;
  /** Messages of groups that the user is a member of; their numbers follow. Paper H22 */
  readonly groups?: readonly GroupContents[];
}

/** One group's messages, as this user sees them. */
export interface GroupContents {
  readonly group: AccountId;
  readonly mailbox: MailboxId;
  readonly uidValidity: UidValidity;
  readonly uids: Uint32Array;
  readonly sizes: Float64Array;
}

/** What QUIT does to one group's messages. */
export interface GroupOutcome {
  readonly mailbox: MailboxId;
  readonly deleted: UidSet;
  readonly seen: UidSet;
}

interface Source {
  readonly contents: Pick<GroupContents, "mailbox" | "uidValidity" | "uids" | "sizes">;
  /** In front of its unique ids. */
  readonly prefix: string;
  /** Messages in the sources before. */
  readonly offset: number;
}

const marks = { deleted: 1, retrieved: 2 } as const;

export class Maildrop {
  readonly contents: MaildropContents;
  readonly #sources: readonly Source[];
  readonly #marks: Uint8Array;
  #count: number;
  #sizeBytes: number;
  readonly #sizeBytesAtStart: number;

  constructor(contents: MaildropContents) {
    this.contents = contents;
    const sources: Source[] = [{ contents, prefix: "", offset: 0 }];
    let count = contents.uids.length;
    let sizeBytes = contents.sizes.reduce((sum, size) => sum + size, 0);
    for (const one of contents.groups ?? []) {
      sources.push({ contents: one, prefix: `g${one.group}.`, offset: count });
      count += one.uids.length;
      sizeBytes = one.sizes.reduce((sum, size) => sum + size, sizeBytes);
    }
    this.#sources = sources;
    this.#marks = new Uint8Array(count);
    this.#count = count;
    this.#sizeBytesAtStart = sizeBytes;
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
    const { contents, offset } = this.#sourceOf(number);
    return makeUid(contents.uids[number - 1 - offset] ?? 0);
  }
  mailbox(number: number): MailboxId {
    return this.#sourceOf(number).contents.mailbox;
  }
  size(number: number): number {
    const { contents, offset } = this.#sourceOf(number);
    return contents.sizes[number - 1 - offset] ?? 0;
  }
  /** Stable for ever: across sessions, failover and moves. RFC 1939 §7 */
  uniqueId(number: number): string {
    const { contents, prefix } = this.#sourceOf(number);
    return `${prefix}${contents.uidValidity}.${this.uid(number)}`;
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
  outcome(): {
    readonly deleted: UidSet;
    readonly seen: UidSet;
    readonly groups: readonly GroupOutcome[];
  } {
    const [own, ...groups] = this.#sources.map((source) => this.#outcomeOf(source));
    const { deleted = noUids, seen = noUids } = own ?? {};
    return {
      deleted,
      seen,
      groups: groups.filter((one) => one.deleted.length + one.seen.length > 0),
    };
  }

  #sourceOf(number: number): Source {
    const found = this.#sources.findLast(({ offset }) => number > offset);
    return found ?? { contents: this.contents, prefix: "", offset: 0 };
  }

  #outcomeOf({ contents, offset }: Source): GroupOutcome {
    const where = (wanted: (mark: number) => boolean): UidSet =>
      uidSetFromSorted(contents.uids.filter((_, at) => wanted(this.#marks[offset + at] ?? 0)));
    return {
      mailbox: contents.mailbox,
      deleted: where((mark) => (mark & marks.deleted) !== 0),
      seen: where((mark) => mark === marks.retrieved),
    };
  }
}
