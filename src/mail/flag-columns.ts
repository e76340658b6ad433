// FLAGS and MODSEQ of many messages as columns, for whoever renders them: nothing is made per message,
// and on the wire a mailbox whose messages have the same flags is a few bytes. Part of mail-store.ts.

import type { MailboxId } from "./ids.ts";
import type { UidSet } from "./uid-set.ts";

export interface FlagsRequest {
  readonly mailbox: MailboxId;
  readonly uids: UidSet;
  /** Only messages with a higher MODSEQ. RFC 7162 §3.1.4.1 */
  readonly changedSince?: number;
  readonly wantModSeqs: boolean;
}

export interface FlagColumns {
  /** Ascending. UIDs that are gone are left out. */
  readonly uids: Uint32Array;
  /** System flags and keywords, never \Recent: each list that some message has. */
  readonly lists: readonly (readonly string[])[];
  /** Which of the lists each message has. */
  readonly which: Uint32Array;
  /** Of each message; empty when not wanted. */
  readonly modSeqs: Float64Array;
}

/** Gathers columns message by message, ascending by UID. */
export class FlagColumnsBuilder {
  readonly #uids: Uint32Array;
  readonly #which: Uint32Array;
  readonly #modSeqs: Float64Array;
  readonly #lists: (readonly string[])[] = [];
  readonly #numberOf = new Map<unknown, number>();
  #count = 0;

  /** @param most So many messages at most. */
  constructor(most: number, { wantModSeqs }: Pick<FlagsRequest, "wantModSeqs">) {
    this.#uids = new Uint32Array(most);
    this.#which = new Uint32Array(most);
    this.#modSeqs = new Float64Array(wantModSeqs ? most : 0);
  }

  /** The number of a list. @param key Equal keys have equal lists; `make` is called once for each. */
  list(key: unknown, make: () => readonly string[]): number {
    let number = this.#numberOf.get(key);
    if (number === undefined) {
      number = this.#lists.push(make()) - 1;
      this.#numberOf.set(key, number);
    }
    return number;
  }

  add(uid: number, list: number, modSeq: number): void {
    const at = this.#count++;
    this.#uids[at] = uid;
    this.#which[at] = list;
    if (this.#modSeqs.length > 0) this.#modSeqs[at] = modSeq;
  }

  done(): FlagColumns {
    const count = this.#count;
    return {
      uids: this.#uids.subarray(0, count),
      lists: this.#lists,
      which: this.#which.subarray(0, count),
      modSeqs: this.#modSeqs.subarray(0, count),
    };
  }
}
