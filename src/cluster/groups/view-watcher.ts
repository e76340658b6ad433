// Watching mailboxes of which some are views: the member's node tells of the member's own changes and
// of leaving, the group's index of what happened in the group, a few sessions at a time.

import { isView, joinViewModSeq, ownChangesMax } from "../../mail/group.ts";
import { modSeq } from "../../mail/ids.ts";
import type { DirectoryRow } from "../../mail/account.ts";
import type { AccountId, MailboxId } from "../../mail/ids.ts";
import type { MailboxEvent, MailStore, Principal } from "../../mail/mail-store.ts";
import type { GroupIndexes } from "./group-indexes.ts";
import type { MemberViews } from "./member-views.ts";
import { MergedEvents } from "./merged-events.ts";
import type { StateWatch } from "./watched-states.ts";

export interface ViewWatcherOptions {
  readonly store: MailStore;
  readonly views: MemberViews;
  readonly indexes: GroupIndexes;
}

type WatchRequest = Parameters<MailStore["watch"]>[1];

export class ViewWatcher {
  readonly #options: ViewWatcherOptions;
  /** Watches of all mailboxes, by account: what looks anew whether there are other views. */
  readonly #looks = new Map<AccountId, Set<() => void>>();

  constructor(options: ViewWatcherOptions) {
    this.#options = options;
    options.views.onRows((rows) => this.#rowsChanged(rows));
  }

  /** @see MailStore.watch */
  watch(who: Principal, request: WatchRequest, signal: AbortSignal): AsyncIterable<MailboxEvent> {
    const { mailboxes } = request;
    const { store } = this.#options;
    if (mailboxes !== "all" && !mailboxes.some(isView)) return store.watch(who, request, signal);
    return this.#watchViews(who, request, signal);
  }

  async *#watchViews(
    who: Principal,
    request: WatchRequest,
    signal: AbortSignal,
  ): AsyncGenerator<MailboxEvent, void, undefined> {
    const merged = new MergedEvents();
    const followed = new Followed(this.#options, who.account, merged);
    const { mailboxes } = request;
    const ids = (): readonly MailboxId[] =>
      mailboxes === "all" ? this.#options.views.idsOf(who.account) : mailboxes.filter(isView);
    const follow = (): void => {
      if (followed.set(ids())) merged.push({ kind: "list" });
    };
    followed.set(ids());
    const unlook = mailboxes === "all" ? this.#look(who.account, follow) : ignore;
    const inner = new AbortController();
    const stop = (): void => {
      inner.abort();
      merged.end();
    };
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
    const own = this.#own(who, request, followed, merged, follow, inner.signal);
    try {
      yield* merged.events();
    } finally {
      signal.removeEventListener("abort", stop);
      unlook();
      stop();
      followed.set([]);
      await own;
    }
  }

  /**
   * The member's node tells of joining and leaving as soon as it is so; this gateway's directory, from
   * which the views' groups are taken, may learn it later, and of a new group of everyone it alone tells.
   */
  #look(account: AccountId, look: () => void): () => void {
    const looks = this.#looks.get(account) ?? new Set();
    this.#looks.set(account, looks.add(look));
    return () => {
      looks.delete(look);
      if (looks.size === 0) this.#looks.delete(account);
    };
  }

  #rowsChanged(rows: readonly DirectoryRow[]): void {
    if (this.#looks.size === 0) return;
    const all = rows.some(({ group }) => group !== undefined);
    const accounts = all ? [...this.#looks.keys()] : rows.map(({ account }) => account);
    for (const account of accounts) for (const look of this.#looks.get(account) ?? []) look();
  }

  /** Passes on what the member's node tells. */
  async #own(
    who: Principal,
    { mailboxes, listening, interrupted }: WatchRequest,
    followed: Followed,
    merged: MergedEvents,
    follow: () => void,
    signal: AbortSignal,
  ): Promise<void> {
    let begun = false;
    const request = {
      mailboxes,
      listening: () => {
        followed.setLive(true);
        listening?.();
        if (begun && listening === undefined) merged.push({ kind: "list" });
        begun = true;
      },
      interrupted: () => {
        followed.setLive(false);
        interrupted?.();
      },
    };
    try {
      for await (const event of this.#options.store.watch(who, request, signal)) {
        if (event.kind === "mailbox" && isView(event.mailbox)) followed.own(event);
        else {
          merged.push(event);
          // Groups were joined or left.
          if (event.kind === "list") follow();
        }
      }
      merged.end();
    } catch (error) {
      merged.fail(error);
    }
  }
}

/** The views of one watch. */
class Followed {
  readonly #options: ViewWatcherOptions;
  readonly #account: AccountId;
  readonly #merged: MergedEvents;
  readonly #views = new Map<
    MailboxId,
    { readonly states: StateWatch; readonly stop: () => void }
  >();
  #live = false;

  constructor(options: ViewWatcherOptions, account: AccountId, merged: MergedEvents) {
    this.#options = options;
    this.#account = account;
    this.#merged = merged;
  }

  /** Follows these and no others. @returns whether they are other ones than before */
  set(ids: readonly MailboxId[]): boolean {
    let changed = false;
    for (const [id, { stop }] of this.#views) {
      if (ids.includes(id)) continue;
      this.#views.delete(id);
      stop();
      changed = true;
    }
    for (const id of ids) {
      if (this.#views.has(id)) continue;
      this.#begin(id);
      changed = true;
    }
    return changed;
  }

  setLive(live: boolean): void {
    this.#live = live;
    for (const { states } of this.#views.values()) {
      if (live) states.listening();
      else states.interrupted();
    }
  }

  /** The member changed a view: the node's number is the member's own count. */
  own({ mailbox, highestModSeq: own }: Extract<MailboxEvent, { kind: "mailbox" }>): void {
    this.#views.get(mailbox)?.states.event();
    this.#tell(mailbox, own);
  }

  #begin(mailbox: MailboxId): void {
    const { views, indexes } = this.#options;
    const states = views.states.watch(this.#account, mailbox);
    if (this.#live) states.listening();
    const group = views.groupOf(this.#account, mailbox);
    const unlisten =
      group === undefined
        ? () => undefined
        : indexes.listen(group, {
            // Whatever the member's own count is, the group's part is above what was known.
            changed: () => this.#tell(mailbox, 0),
            gone: () => this.#merged.push({ kind: "deleted", mailbox }),
          });
    const stop = (): void => {
      unlisten();
      states.end();
    };
    this.#views.set(mailbox, { states, stop });
  }

  #tell(mailbox: MailboxId, own: number): void {
    const { views, indexes } = this.#options;
    const row = views.groupOf(this.#account, mailbox);
    const group = row === undefined ? 0 : indexes.modSeqOf(row.account);
    const highestModSeq = modSeq(joinViewModSeq({ group, own: Math.min(own, ownChangesMax) }));
    this.#merged.push({ kind: "mailbox", mailbox, highestModSeq });
  }
}

function ignore(): void {
  // Nothing was begun.
}
