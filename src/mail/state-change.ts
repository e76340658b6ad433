// A change of what a member keeps of a group, as the asker states it. Who carries it out is
// member-states.ts's, or a change of the member's mailboxes that it is part of (mail-store.ts).

import type { AccountId, MailboxId } from "./ids.ts";
import type { UidSet } from "./uid-set.ts";

/** What to change; `uids` are messages that the member sees, as the asker's index has them. */
export type StateChange =
  | {
      readonly kind: "flags";
      readonly uids: UidSet;
      readonly mode: "add" | "remove" | "replace";
      readonly flags: readonly string[];
      /** The member's own part of an UNCHANGEDSINCE. */
      readonly unchangedSince?: number;
    }
  /** EXPUNGE; `deletedOnly`: only those that have \Deleted. */
  | { readonly kind: "hide"; readonly uids: UidSet; readonly deletedOnly: boolean }
  | { readonly kind: "subscribe"; readonly on: boolean };

/** The change, of which group, and what the asker knew of that. */
export interface MemberChange {
  readonly group: AccountId;
  /** The member's id of the view: that of the membership, or `everyoneView`. */
  readonly mailbox: MailboxId;
  readonly uidValidity: number;
  /** The group's MODSEQ in the asker's index. */
  readonly groupModSeq: number;
  /** The oldest message that the group still has; states are trimmed below. */
  readonly oldestUid: number;
  readonly change: StateChange;
}
