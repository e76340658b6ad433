// Messages that were expunged lately, by the names of their bodies: the rest of an answer that a
// failure cut off can still be read while the log has the bytes. In RAM, on every member of a shard,
// bounded; a restart forgets them.

import type { AccountId, MailboxId } from "../mail/ids.ts";
import type { BodyName } from "./bodies.ts";
import type { RemovedRow } from "./entry-kind.ts";

interface Removal {
  readonly account: AccountId;
  readonly mailbox: MailboxId;
  /** Ascending by UID. */
  readonly messages: readonly RemovedRow[];
}

const removalsMax = 4096;
const messagesMax = 65_536;

export class RecentRemovals {
  /** Oldest first, from `#first` on. */
  #removals: Removal[] = [];
  #first = 0;
  #messages = 0;

  /** Messages that are remembered. */
  get size(): number {
    return this.#messages;
  }

  note(account: AccountId, mailbox: MailboxId, messages: readonly RemovedRow[]): void {
    this.#removals.push({ account, mailbox, messages });
    this.#messages += messages.length;
    while (
      this.#removals.length - this.#first > 1 &&
      (this.#messages > messagesMax || this.#removals.length - this.#first > removalsMax)
    ) {
      this.#messages -= this.#removals[this.#first]?.messages.length ?? 0;
      this.#first++;
    }
    if (this.#first < removalsMax) return;
    this.#removals = this.#removals.slice(this.#first);
    this.#first = 0;
  }

  /** The body of a message that went, newest removals first; undefined when it is not known. */
  find(account: AccountId, mailbox: MailboxId, uid: number): BodyName | undefined {
    for (let at = this.#removals.length - 1; at >= this.#first; at--) {
      const removal = this.#removals[at];
      if (removal?.account !== account || removal.mailbox !== mailbox) continue;
      const row = removal.messages.find((each) => each.uid === uid);
      if (row !== undefined) return { tag: row.bodyTag, lsn: row.bodyLsn };
    }
    return undefined;
  }
}
