// The contract between the view of groups on a gateway and the member's own mail node: what the member
// is in, what the member did with the messages, and changes of it. Every call checks the member's
// credentials and membership at the node, as of now. Implemented by the local store and the routed one.

import type { Membership } from "./group.ts";
import type { AccountId } from "./ids.ts";
import type { Change, Principal } from "./mail-store.ts";
import type { ReadState } from "./read-state.ts";
import type { MemberChange } from "./state-change.ts";
import type { UidSet } from "./uid-set.ts";

export interface MemberGroups {
  readonly createdMs: number;
  readonly memberships: readonly Membership[];
  /** States kept so far, also of groups that the member has left. */
  readonly states: ReadonlyMap<AccountId, ReadState>;
  /** The member's own mailboxes below the folder that was asked for, or of its name. */
  readonly ownNames: readonly string[];
}

export interface StateRequest extends Change, MemberChange {}

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
