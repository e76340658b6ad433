// MailStore for front-ends, with the views of groups among the user's mailboxes (paper BC3): what is
// no view goes on to the store behind. A view is composed from the group's index, which this gateway
// keeps, and the member's state, which the member's node keeps. Membership is the node's word; it is
// taken from here only while the directory is fresh, so that leaving is acknowledged when nobody
// serves on. docs/decisions/0005 says why it is built so.

import { MailError } from "../../mail/errors.ts";
import { isView, splitViewModSeq } from "../../mail/group.ts";
import type { OpId, ShardId } from "../../mail/ids.ts";
import type * as mail from "../../mail/mail-store.ts";
import type { MemberStates, StateOutcome } from "../../mail/member-states.ts";
import type { MemberChange, StateChange } from "../../mail/state-change.ts";
import { allUids, uidSetFromSorted, uidSetHas } from "../../mail/uid-set.ts";
import { uidSetDifference, uidSetUnion } from "../../mail/uid-set-algebra.ts";
import { principalOf } from "./group-index.ts";
import type { GroupTexts } from "./group-texts.ts";
import type { MemberViews } from "./member-views.ts";
import {
  changesOf,
  firstUnseenOf,
  flagsOfView,
  flagStateAt,
  highestOf,
  infoOf,
  keywordsOf,
  newerThan,
  shownOf,
  uidsOf,
} from "./member-view.ts";
import type { MemberView } from "./member-view.ts";
import { copyOut } from "./view-copy.ts";
import { fetchInView } from "./view-fetch.ts";
import { searchInView } from "./view-search.ts";
import { superiorInfo, superiorsOf } from "../../mail/superior.ts";
import { ViewWatcher } from "./view-watcher.ts";
import type { GroupIndexes } from "./group-indexes.ts";

export interface GroupedStoreOptions {
  readonly store: mail.MailStore & MemberStates;
  readonly views: MemberViews;
  readonly indexes: GroupIndexes;
  readonly texts: GroupTexts;
}

type Store = mail.MailStore;
type Request<Name extends keyof Store> = Parameters<Store[Name]>[1];
type Named = mail.Change & { readonly name: string };

export class GroupedMailStore implements mail.MailStore {
  readonly #options: GroupedStoreOptions;
  readonly #store: mail.MailStore & MemberStates;
  readonly #views: MemberViews;
  readonly #watcher: ViewWatcher;

  constructor(options: GroupedStoreOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#views = options.views;
    this.#watcher = new ViewWatcher(options);
  }

  deliver(request: mail.DeliverRequest, signal: AbortSignal) {
    return this.#store.deliver(request, signal);
  }
  writeBlob(...args: Parameters<Store["writeBlob"]>) {
    return this.#store.writeBlob(...args);
  }
  spool(...args: Parameters<Store["spool"]>) {
    return this.#store.spool(...args);
  }
  confirm(shard: ShardId, deliveries: readonly OpId[]): void {
    this.#store.confirm(shard, deliveries);
  }
  quota(who: mail.Principal, signal: AbortSignal) {
    return this.#store.quota(who, signal);
  }
  lockMaildrop(...args: Parameters<Store["lockMaildrop"]>) {
    return this.#store.lockMaildrop(...args);
  }

  async listMailboxes(who: mail.Principal, signal: AbortSignal): Promise<mail.MailboxListing> {
    if (!this.#views.hasAny(who)) return this.#store.listMailboxes(who, signal);
    const [listing, views] = await Promise.all([
      this.#store.listMailboxes(who, signal),
      this.#views.all(who, signal),
    ]);
    if (views.length === 0) return listing;
    const infos = views.map(infoOf);
    const known = new Set(listing.mailboxes.map(({ name }) => name));
    const superiors = superiorsOf(this.#views.folder).filter((name) => !known.has(name));
    const names = new Set([...superiors, ...infos.map(({ name }) => name)]);
    const all = [
      ...listing.mailboxes,
      ...superiors.map((name) => superiorInfo(name, false)),
      ...infos,
    ];
    return {
      mailboxes: all.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      orphanSubscriptions: listing.orphanSubscriptions.filter((name) => !names.has(name)),
    };
  }

  async groupMailboxes(
    who: mail.Principal,
    signal: AbortSignal,
  ): Promise<readonly mail.MailboxInfo[]> {
    return this.#views.hasAny(who) ? (await this.#views.all(who, signal)).map(infoOf) : [];
  }

  async mailboxStatus(
    who: mail.Principal,
    name: string,
    signal: AbortSignal,
  ): Promise<mail.MailboxInfo> {
    const view = await this.#views.named(who, name, signal);
    return view === undefined ? this.#store.mailboxStatus(who, name, signal) : infoOf(view);
  }

  async createMailbox(who: mail.Principal, request: Request<"createMailbox">, signal: AbortSignal) {
    await this.#mustBeFree(who, request.name, signal);
    return this.#store.createMailbox(who, request, signal);
  }

  async deleteMailbox(who: mail.Principal, request: Named, signal: AbortSignal): Promise<void> {
    await this.#mustBeOwn(who, request.name, "a group's folder can't be deleted", signal);
    return this.#store.deleteMailbox(who, request, signal);
  }

  async renameMailbox(
    who: mail.Principal,
    request: Request<"renameMailbox">,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#mustBeOwn(who, request.from, "a group's folder can't be renamed", signal);
    await this.#mustBeFree(who, request.to, signal);
    return this.#store.renameMailbox(who, request, signal);
  }

  async setSubscribed(
    who: mail.Principal,
    request: Request<"setSubscribed">,
    signal: AbortSignal,
  ): Promise<void> {
    const view = await this.#views.named(who, request.name, signal);
    if (view === undefined) return this.#store.setSubscribed(who, request, signal);
    await this.#change(who, view, request, { kind: "subscribe", on: request.subscribed }, signal);
  }

  async openMailbox(
    who: mail.Principal,
    request: Request<"openMailbox">,
    signal: AbortSignal,
  ): Promise<mail.OpenMailbox> {
    const view = await this.#views.named(who, request.name, signal);
    if (view === undefined) return this.#store.openMailbox(who, request, signal);
    return {
      info: infoOf(view),
      uids: uidsOf(view),
      recentFrom: view.index.uidNext,
      firstUnseen: firstUnseenOf(view),
      keywords: keywordsOf(view),
    };
  }

  async changes(
    who: mail.Principal,
    request: Request<"changes">,
    signal: AbortSignal,
  ): Promise<mail.MailboxChanges> {
    if (!isView(request.mailbox)) return this.#store.changes(who, request, signal);
    const view = await this.#views.of(who, request.mailbox, signal);
    const { group } = splitViewModSeq(request.sinceModSeq);
    if (group <= view.index.modSeq) return changesOf(view, request);
    // Another gateway was ahead of this one: only the group's node knows more.
    const index = await this.#options.indexes.current(view.group, group, signal).catch(() => {
      throw new MailError({
        code: "MAILBOX_GONE",
        mailbox: request.mailbox,
        why: "the state is behind what the caller knows",
      });
    });
    const again = await this.#views.of(who, request.mailbox, signal);
    return changesOf(again.index.modSeq < index.modSeq ? view : again, request);
  }

  watch(
    who: mail.Principal,
    request: Request<"watch">,
    signal: AbortSignal,
  ): AsyncIterable<mail.MailboxEvent> {
    return this.#watcher.watch(who, request, signal);
  }

  fetch(
    who: mail.Principal,
    request: mail.FetchRequest,
    signal: AbortSignal,
  ): AsyncIterable<mail.FetchChunk> {
    if (!isView(request.mailbox)) return this.#store.fetch(who, request, signal);
    const view = () => this.#views.of(who, request.mailbox, signal);
    return fetchInView(this.#options.texts, view, request, signal);
  }

  async flags(who: mail.Principal, request: mail.FlagsRequest, signal: AbortSignal) {
    if (!isView(request.mailbox)) return this.#store.flags(who, request, signal);
    return flagsOfView(await this.#views.of(who, request.mailbox, signal), request);
  }

  readMessage(
    who: mail.Principal,
    request: Request<"readMessage">,
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array> {
    if (!isView(request.mailbox)) return this.#store.readMessage(who, request, signal);
    return this.#readMessage(who, request, signal);
  }

  async search(
    who: mail.Principal,
    request: mail.SearchRequest,
    signal: AbortSignal,
  ): Promise<mail.SearchOutcome> {
    if (!isView(request.mailbox)) return this.#store.search(who, request, signal);
    const view = await this.#views.of(who, request.mailbox, signal);
    return searchInView(this.#store, view, request, signal);
  }

  async append(
    who: mail.Principal,
    request: mail.AppendRequest,
    signal: AbortSignal,
  ): Promise<mail.AppendOutcome> {
    await this.#mustBeOwn(who, request.mailbox, "post to the group's address instead", signal);
    if (request.replaces !== undefined && isView(request.replaces.mailbox)) {
      throw notPermitted("a group's messages can't be replaced");
    }
    return this.#store.append(who, request, signal);
  }

  async store(
    who: mail.Principal,
    request: mail.StoreRequest,
    signal: AbortSignal,
  ): Promise<mail.StoreOutcome> {
    if (!isView(request.mailbox)) return this.#store.store(who, request, signal);
    const view = await this.#views.of(who, request.mailbox, signal);
    const wanted = shownOf(view, request.uids);
    const { mode, flags, unchangedSince } = request;
    const since = unchangedSince === undefined ? undefined : splitViewModSeq(unchangedSince);
    // Those that came since are not what the client knows, either. RFC 7162 §3.1.3
    const newer = since === undefined ? [] : uidSetFromSorted(newerThan(view, wanted, since.group));
    const uids = uidSetDifference(wanted, newer);
    const outcome = await this.#change(
      who,
      view,
      request,
      {
        kind: "flags",
        uids,
        mode,
        flags,
        ...(since === undefined ? {} : { unchangedSince: since.own }),
      },
      signal,
    );
    const after = this.#views.after(who, view, outcome);
    const stored = uidSetDifference(uids, outcome.modified);
    return {
      highestModSeq: highestOf(after),
      changed: outcome.changed,
      stored: Array.from(after.places, (at) => flagStateAt(after, at)).filter(({ uid }) =>
        uidSetHas(stored, uid),
      ),
      modified: uidSetUnion(newer, outcome.modified),
    };
  }

  async expunge(
    who: mail.Principal,
    request: Request<"expunge">,
    signal: AbortSignal,
  ): Promise<mail.ExpungeOutcome> {
    if (!isView(request.mailbox)) return this.#store.expunge(who, request, signal);
    const view = await this.#views.of(who, request.mailbox, signal);
    const uids = shownOf(view, request.uids ?? allUids);
    const change: StateChange = { kind: "hide", uids, deletedOnly: request.force !== true };
    const outcome = await this.#change(who, view, request, change, signal);
    const after = this.#views.after(who, view, outcome);
    return { highestModSeq: highestOf(after), expunged: outcome.hidden };
  }

  copy(who: mail.Principal, request: mail.CopyRequest, signal: AbortSignal) {
    return this.#copy(who, request, false, signal);
  }
  move(who: mail.Principal, request: mail.CopyRequest, signal: AbortSignal) {
    return this.#copy(who, request, true, signal);
  }

  async annotations(who: mail.Principal, request: Request<"annotations">, signal: AbortSignal) {
    const { mailbox } = request;
    const view = mailbox === undefined ? undefined : await this.#views.named(who, mailbox, signal);
    return view === undefined ? this.#store.annotations(who, request, signal) : [];
  }

  async annotate(
    who: mail.Principal,
    request: mail.AnnotateRequest,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#mustBeOwn(who, request.mailbox, "a group's folder has no annotations", signal);
    return this.#store.annotate(who, request, signal);
  }

  async *#readMessage(
    who: mail.Principal,
    request: Request<"readMessage">,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const view = await this.#views.of(who, request.mailbox, signal);
    if (!uidSetHas(shownOf(view, allUids), request.uid)) {
      throw new MailError({ code: "INVALID", why: "the message is gone" });
    }
    const { mailbox } = view.index;
    yield* this.#store.readMessage(principalOf(view.group), { ...request, mailbox }, signal);
  }

  async #copy(
    who: mail.Principal,
    request: mail.CopyRequest,
    moves: boolean,
    signal: AbortSignal,
  ): Promise<mail.CopyOutcome> {
    await this.#mustBeOwn(who, request.target, "nothing can be put into a group's folder", signal);
    if (!isView(request.mailbox)) {
      return moves
        ? this.#store.move(who, request, signal)
        : this.#store.copy(who, request, signal);
    }
    const view = await this.#views.of(who, request.mailbox, signal);
    const places = Array.from(view.places).filter((at) =>
      uidSetHas(request.uids, view.index.uids[at] ?? 0),
    );
    const from = places.map((at) => view.index.uids[at] ?? 0);
    if (from.length === 0) {
      const { uidValidity: target } = await this.#store.mailboxStatus(who, request.target, signal);
      return { uidValidity: target, from: [], to: [], highestModSeq: highestOf(view) };
    }
    const hide = { kind: "hide", uids: uidSetFromSorted(from), deletedOnly: false } as const;
    const change = moves ? memberChangeOf(view, hide) : undefined;
    const copied = await copyOut(this.#store, who, view, places, request, change, signal);
    const { memberState: state } = copied;
    const after = state === undefined ? view : this.#views.after(who, view, { state });
    const { uidValidity, uids: to } = copied;
    return { uidValidity, from, to, highestModSeq: highestOf(after) };
  }

  #change(
    who: mail.Principal,
    view: MemberView,
    { opId, retry }: mail.Change,
    change: StateChange,
    signal: AbortSignal,
  ): Promise<StateOutcome> {
    const request = { opId, retry, ...memberChangeOf(view, change) };
    return this.#store.changeReadState(who, request, signal);
  }

  /** @throws MailError NO_PERMISSION when the name is a view's. */
  async #mustBeOwn(
    who: mail.Principal,
    name: string,
    why: string,
    signal: AbortSignal,
  ): Promise<void> {
    if ((await this.#views.named(who, name, signal)) !== undefined) throw notPermitted(why);
  }

  async #mustBeFree(who: mail.Principal, name: string, signal: AbortSignal): Promise<void> {
    if ((await this.#views.named(who, name, signal)) === undefined) return;
    throw new MailError({ code: "MAILBOX_EXISTS", mailbox: name });
  }
}

function memberChangeOf({ index, mailbox }: MemberView, change: StateChange): MemberChange {
  return {
    group: index.group,
    mailbox,
    uidValidity: index.uidValidity,
    groupModSeq: index.modSeq,
    oldestUid: index.uids[0] ?? index.uidNext,
    change,
  };
}

function notPermitted(why: string): MailError {
  return new MailError({ code: "NO_PERMISSION", why });
}
