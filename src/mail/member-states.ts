// The contract between the view of groups on a gateway and the member's own mail node: what the member
// is in, what the member did with the messages, and changes of it. Every call checks the member's
// credentials and membership at the node, as of now. Implemented by the local store and the routed one.

import type { Membership } from "./group.ts";
import type { AccountId, MailboxId } from "./ids.ts";
import type { Change, Principal } from "./mail-store.ts";
import type { ReadState } from "./read-state.ts";
import type { UidSet } from "./uid-set.ts";

export interface MemberGroups {
  readonly createdMs: number;
  readonly memberships: readonly Membership[];
  /** States kept so far, also of groups that the member has left. */
  readonly states: ReadonlyMap<AccountId, ReadState>;
  /** The member's own mailboxes below the folder that was asked for, or of its name. */
  readonly ownNames: readonly string[];
}

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

export interface StateRequest extends Change {
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

export interface StateOutcome {
  readonly state: ReadState;
  /** This very call changed something, so `state.own` is its own count. False for retries. */
  readonly changed: boolean;
  /** Messages left alone because of UNCHANGEDSINCE. */
  readonly modified: UidSet;
  /** Messages that went with a `hide`. */
  readonly hidden: UidSet;
}

/** Common errors are those of MailStore. */
export interface MemberStates {
  readGroups(
    who: Principal,
    request: { readonly under: string },
    signal: AbortSignal,
  ): Promise<MemberGroups>;
  /**
   * Fsynced on every member of the shard when it resolves. @throws MailError MAILBOX_GONE when the
   * account is no member (any more), LIMIT (`keywordsMax`, `readStateBytesMax`)
   */
  changeReadState(
    who: Principal,
    request: StateRequest,
    signal: AbortSignal,
  ): Promise<StateOutcome>;
}
