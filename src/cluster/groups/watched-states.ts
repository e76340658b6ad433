// Members' states that this gateway knows to be the newest: a session watches the view, and nothing
// was heard since the state was read. So a command on an open view, and news of the group, ask the
// member's node for nothing.

import type { AccountId, MailboxId } from "../../mail/ids.ts";
import type { MemberGroups } from "../../mail/member-states.ts";
import type { ReadState } from "../../mail/read-state.ts";

/** What is remembered of one member and one view. */
export interface KnownState {
  readonly createdMs: number;
  /** Undefined: the member has done nothing yet. */
  readonly state: ReadState | undefined;
}

interface Entry {
  /** Watches that hear of everything, and all there are. */
  live: number;
  watches: number;
  events: number;
  known: (KnownState & { readonly events: number }) | undefined;
}

/** One watch of one view. */
export interface StateWatch {
  readonly listening: () => void;
  readonly interrupted: () => void;
  readonly event: () => void;
  readonly end: () => void;
}

export class WatchedStates {
  readonly #entries = new Map<string, Entry>();

  get size(): number {
    return this.#entries.size;
  }

  /** The newest state, if it is known here. */
  get(account: AccountId, mailbox: MailboxId): KnownState | undefined {
    const entry = this.#entries.get(keyOf(account, mailbox));
    if (entry?.known === undefined || entry.live === 0) return undefined;
    return entry.known.events === entry.events ? entry.known : undefined;
  }

  /** Call before reading; what it returns takes what was read. */
  reading(
    account: AccountId,
    mailbox: MailboxId,
  ): (groups: Pick<MemberGroups, "createdMs">, state: ReadState | undefined) => void {
    const entry = this.#entries.get(keyOf(account, mailbox));
    const events = entry?.events ?? 0;
    return ({ createdMs }, state) => {
      if (entry !== undefined) entry.known = { createdMs, state, events };
    };
  }

  /** A change was answered with this state: it is newer than what was known, or the same. */
  changed(account: AccountId, mailbox: MailboxId, state: ReadState): void {
    const entry = this.#entries.get(keyOf(account, mailbox));
    if (entry?.known === undefined) return;
    if ((entry.known.state?.own ?? 0) > state.own) return;
    entry.known = { ...entry.known, state };
  }

  watch(account: AccountId, mailbox: MailboxId): StateWatch {
    const key = keyOf(account, mailbox);
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { live: 0, watches: 0, events: 0, known: undefined };
      this.#entries.set(key, entry);
    }
    const held = entry;
    held.watches++;
    let live = false;
    const setLive = (now: boolean): void => {
      if (live !== now) held.live += now ? 1 : -1;
      live = now;
      held.events++;
    };
    return {
      listening: () => setLive(true),
      interrupted: () => setLive(false),
      event: () => {
        held.events++;
      },
      end: () => {
        setLive(false);
        if (--held.watches === 0) this.#entries.delete(key);
      },
    };
  }
}

function keyOf(account: AccountId, mailbox: MailboxId): string {
  return `${account}.${mailbox}`;
}
