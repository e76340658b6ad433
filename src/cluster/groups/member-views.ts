// Finds and composes a member's views: which groups, under which names, with which state. Asks the
// member's node once at most. Leaves what commands do with a view to grouped-mail-store.ts.

import type { DirectoryRow, NameLookup } from "../../mail/account.ts";
import { MailError } from "../../mail/errors.ts";
import { everyoneName, everyoneView } from "../../mail/group.ts";
import type { AccountId, MailboxId } from "../../mail/ids.ts";
import type { Principal } from "../../mail/mail-store.ts";
import { normaliseMailboxName } from "../../mail/mailbox-name.ts";
import type { MemberGroups, MemberStates, StateOutcome } from "../../mail/member-states.ts";
import { newReadState } from "../../mail/read-state.ts";
import type { ReadState } from "../../mail/read-state.ts";
import { everyonePlace, folderName, mayPost } from "./group-policy.ts";
import type { Place } from "./group-policy.ts";
import type { GroupDirectory, GroupIndexes } from "./group-indexes.ts";
import { firstUidFor, placesOf } from "./member-view.ts";
import type { MemberView } from "./member-view.ts";
import { WatchedStates } from "./watched-states.ts";

export interface MemberViewsOptions {
  readonly store: MemberStates;
  readonly directory: GroupDirectory & { lookupNow(name: string): NameLookup };
  readonly indexes: GroupIndexes;
  /** Where views lie: `Announcements`. */
  readonly folder: string;
  /** The first mail domain: groups of others have it in their folder's name. */
  readonly domain: string;
}

/** A view by name and group, before its messages are looked at. */
interface NamedPlace extends Place {
  readonly name: string;
  readonly row: DirectoryRow;
}

export class MemberViews {
  readonly states = new WatchedStates();
  readonly #options: MemberViewsOptions;

  constructor(options: MemberViewsOptions) {
    this.#options = options;
  }

  get folder(): string {
    return this.#options.folder;
  }

  /** Runs with rows that have just changed at this gateway. */
  onRows(listener: (rows: readonly DirectoryRow[]) => void): void {
    this.#options.directory.onRows(listener);
  }

  /** False when the account surely sees no group, so that nothing need be asked. */
  hasAny(who: Principal): boolean {
    const { directory } = this.#options;
    if (this.everyone() !== undefined || !directory.isFresh(who.shard)) return true;
    const row = directory.rowNow(who.account);
    return row === undefined || (row.memberships?.length ?? 0) > 0;
  }

  /** The built-in group, if it was made. */
  everyone(): DirectoryRow | undefined {
    const { directory, domain } = this.#options;
    const found = directory.lookupNow(`${everyoneName}@${domain}`);
    if (found.kind !== "found" || found.row.group?.everyone !== true) return undefined;
    return found.row.state === "active" ? found.row : undefined;
  }

  /** True when the name may be a view's; INBOX and most others never are. */
  mayName(name: string): boolean {
    return name.normalize("NFC").startsWith(`${this.#options.folder}/`);
  }

  async all(who: Principal, signal: AbortSignal): Promise<readonly MemberView[]> {
    const groups = await this.#read(who, signal);
    const places = this.#placesIn(groups);
    return Promise.all(places.map((place) => this.#compose(who, groups, place, signal)));
  }

  /** The view of that name; undefined: it is none. */
  async named(who: Principal, given: string, signal: AbortSignal): Promise<MemberView | undefined> {
    if (!this.mayName(given)) return undefined;
    const name = normaliseMailboxName(given);
    if (!name.ok) return undefined;
    const groups = await this.#read(who, signal);
    const place = this.#placesIn(groups).find((one) => one.name === name.name);
    return place === undefined ? undefined : this.#compose(who, groups, place, signal);
  }

  /**
   * The view with this id of the member. Asks nobody when a session watches the view and the directory
   * is fresh. @throws MailError MAILBOX_GONE, STALE_CREDENTIALS, ACCOUNT_DISABLED
   */
  async of(who: Principal, mailbox: MailboxId, signal: AbortSignal): Promise<MemberView> {
    const groups = this.#known(who, mailbox) ?? (await this.#read(who, signal));
    const place = this.#placesIn(groups).find((one) => one.mailbox === mailbox);
    if (place === undefined) throw new MailError({ code: "MAILBOX_GONE", mailbox });
    return this.#compose(who, groups, place, signal);
  }

  /** The group that the member's view shows, as far as this gateway knows. */
  groupOf(account: AccountId, mailbox: MailboxId): DirectoryRow | undefined {
    if (mailbox === everyoneView) return this.everyone();
    const { directory } = this.#options;
    const { memberships = [] } = directory.rowNow(account) ?? {};
    const group = memberships.find((one) => one.mailbox === mailbox)?.group;
    return group === undefined ? undefined : this.#group(group);
  }

  /** Ids of all views that the account has, as far as this gateway knows. */
  idsOf(account: AccountId): readonly MailboxId[] {
    const { memberships = [] } = this.#options.directory.rowNow(account) ?? {};
    const ids = memberships.flatMap(({ group, mailbox }) =>
      this.#group(group) === undefined ? [] : [mailbox],
    );
    return this.everyone() === undefined ? ids : [everyoneView, ...ids];
  }

  /** The view after a change of the member's own. */
  after(who: Principal, view: MemberView, { state }: Pick<StateOutcome, "state">): MemberView {
    this.states.changed(who.account, view.mailbox, state);
    const { index } = view;
    const uids = new Set(Array.from(view.places, (at) => index.uids[at] ?? 0));
    const places = placesOf(index, state, 1).filter((at) => uids.has(index.uids[at] ?? 0));
    return { ...view, state, places };
  }

  /** What is known here of the member, if that is as good as asking the node. */
  #known(who: Principal, mailbox: MailboxId): MemberGroups | undefined {
    const { directory } = this.#options;
    const known = this.states.get(who.account, mailbox);
    if (known === undefined || !directory.isFresh(who.shard)) return undefined;
    const row = directory.rowNow(who.account);
    // Whatever is not as expected, the node has the word.
    if (row?.state !== "active" || row.shard !== who.shard) return undefined;
    if (row.credVersion !== who.credVersion) return undefined;
    const group = this.groupOf(who.account, mailbox)?.account;
    if (group === undefined) return undefined;
    const { createdMs, state } = known;
    const states = new Map(state === undefined ? [] : [[group, state]]);
    return { createdMs, memberships: row.memberships ?? [], states, ownNames: [] };
  }

  async #read(who: Principal, signal: AbortSignal): Promise<MemberGroups> {
    const { store, folder } = this.#options;
    const ids = this.idsOf(who.account);
    const takes = ids.map((id) => [id, this.states.reading(who.account, id)] as const);
    const groups = await store.readGroups(who, { under: folder }, signal);
    for (const [id, take] of takes) {
      const group = this.groupOf(who.account, id)?.account;
      if (group !== undefined) take(groups, groups.states.get(group));
    }
    return groups;
  }

  #placesIn({ memberships, ownNames }: MemberGroups): readonly NamedPlace[] {
    const everyone = this.everyone();
    const places: readonly Place[] = [
      ...(everyone === undefined ? [] : [everyonePlace(everyone.account)]),
      ...memberships,
    ];
    const { folder, domain } = this.#options;
    return places.flatMap(({ group, mailbox, fromUid }) => {
      const row = this.#group(group);
      if (row === undefined) return [];
      const name = folderName(row, { folder, domain, taken: ownNames });
      return [{ group, mailbox, fromUid, name, row }];
    });
  }

  #group(account: AccountId): DirectoryRow | undefined {
    const row = this.#options.directory.rowNow(account);
    return row?.group !== undefined && row.state === "active" ? row : undefined;
  }

  async #compose(
    who: Principal,
    { createdMs, states }: MemberGroups,
    { row, mailbox, fromUid, name }: NamedPlace,
    signal: AbortSignal,
  ): Promise<MemberView> {
    const { indexes, directory } = this.#options;
    const kept = states.get(row.account);
    const index = await indexes.current(row, kept?.group ?? 0, signal);
    const state: ReadState =
      kept?.uidValidity === index.uidValidity ? kept : newReadState(index.uidValidity);
    const first = firstUidFor(row, index, { fromUid, createdMs });
    const user = directory.rowNow(who.account);
    const posts = user !== undefined && mayPost(row, user);
    return {
      mailbox,
      name,
      group: row,
      index,
      state,
      places: placesOf(index, state, first),
      // RFC 4314 §2.1: w, own flags; t and e: hide; p: post to its address.
      rights: posts ? "lrswtep" : "lrswte",
    };
  }
}
