// A group's mailbox as one member sees it: the group's index with the member's own state on top. Pure.
// Sequence numbers, sessions and asking are others' business.

import type { DirectoryRow } from "../../mail/account.ts";
import { MailError } from "../../mail/errors.ts";
import { allHistory, joinViewModSeq, splitViewModSeq } from "../../mail/group.ts";
import { modSeq, uid as asUid } from "../../mail/ids.ts";
import type { MailboxId, ModSeq } from "../../mail/ids.ts";
import { FlagColumnsBuilder } from "../../mail/flag-columns.ts";
import type {
  FlagColumns,
  FlagsRequest,
  FlagState,
  MailboxChanges,
  MailboxInfo,
} from "../../mail/mail-store.ts";
import { changedSince, flagsOf, lastChangeOf, withFlag } from "../../mail/read-state.ts";
import type { ReadState } from "../../mail/read-state.ts";
import { noUids, uidSetFromSorted, uidSetHas } from "../../mail/uid-set.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import { uidSetDifference, uidSetIntersection } from "../../mail/uid-set-algebra.ts";
import type { GroupIndex } from "./group-index.ts";

/** One member's view of one group at one moment. */
export interface MemberView {
  /** The member's id of it. */
  readonly mailbox: MailboxId;
  readonly name: string;
  readonly group: DirectoryRow;
  readonly index: GroupIndex;
  readonly state: ReadState;
  /** Places in the index of what the member sees, ascending. */
  readonly places: Uint32Array;
  /** RFC 4314 letters. */
  readonly rights: string;
}

/**
 * UIDs below are not shown. A membership says it; of the built-in group, that nobody joins, it follows
 * from the member's age and the group's history. Paper H21
 */
export function firstUidFor(
  { group }: DirectoryRow,
  index: GroupIndex,
  member: { readonly fromUid: number | undefined; readonly createdMs: number },
): number {
  if (member.fromUid !== undefined) return member.fromUid;
  return firstUidSince(index, group?.historyDays ?? allHistory, member.createdMs);
}

const dayMs = 86_400_000;

/** The first UID that who joined at `sinceMs` sees, by `historyDays`. */
export function firstUidSince(index: GroupIndex, historyDays: number, sinceMs: number): number {
  if (historyDays === allHistory) return 1;
  // INTERNALDATE has whole seconds.
  const fromMs = sinceMs - historyDays * dayMs - 1000;
  const at = index.datesMs.findIndex((dateMs) => dateMs >= fromMs);
  return at === -1 ? index.uidNext : (index.uids[at] ?? index.uidNext);
}

/** Places of what is shown. */
export function placesOf(index: GroupIndex, state: ReadState, fromUid: number): Uint32Array {
  const places = new Uint32Array(index.uids.length);
  let count = 0;
  index.uids.forEach((uid, at) => {
    if (uid < fromUid || uidSetHas(state.hidden, uid)) return;
    places[count++] = at;
  });
  return places.subarray(0, count);
}

export function uidsOf({ index, places }: MemberView): Uint32Array {
  return Uint32Array.from(places, (at) => index.uids[at] ?? 0);
}

export function highestOf({ index, state }: MemberView): ModSeq {
  return modSeq(joinViewModSeq({ group: index.modSeq, own: state.own }));
}

export function infoOf(view: MemberView): MailboxInfo {
  const { mailbox, name, index, state, places, rights } = view;
  const uids = uidSetFromSorted(uidsOf(view));
  let sizeBytes = 0;
  for (const at of places) sizeBytes += index.sizes[at] ?? 0;
  return {
    id: mailbox,
    name,
    selectable: true,
    subscribed: state.subscribed,
    uidValidity: index.uidValidity,
    uidNext: index.uidNext,
    highestModSeq: highestOf(view),
    messages: places.length,
    unseen: places.length - countIn(uids, withFlag(state, "\\Seen")),
    deleted: countIn(uids, withFlag(state, "\\Deleted")),
    recent: 0,
    sizeBytes,
    rights,
    group: index.group,
  };
}

/** The UID of the first message without \Seen, 0 when there is none. */
export function firstUnseenOf(view: MemberView): number {
  const seen = withFlag(view.state, "\\Seen");
  return uidsOf(view).find((uid) => !uidSetHas(seen, uid)) ?? 0;
}

export function keywordsOf({ state }: MemberView): readonly string[] {
  return state.flags.flatMap(({ flag }) => (flag.startsWith("\\") ? [] : [flag]));
}

/** What a session must learn of the message at a place of the index. */
export function flagStateAt({ index, state }: MemberView, at: number): FlagState {
  const uid = index.uids[at] ?? 0;
  return {
    uid: asUid(uid),
    modSeq: modSeq(modSeqAt(index, state, at, uid)),
    flags: flagsOf(state, uid),
  };
}

/** FLAGS and MODSEQ of messages. @see MailStore.flags */
export function flagsOfView(view: MemberView, request: FlagsRequest): FlagColumns {
  const { uids, changedSince } = request;
  const isWanted = changedSince === undefined ? () => true : changedAfter(view, changedSince);
  const out = new FlagColumnsBuilder(view.places.length, request);
  for (const at of view.places) {
    const uid = view.index.uids[at] ?? 0;
    if (!uidSetHas(uids, uid) || !isWanted(at)) continue;
    const { flags, modSeq: changedAt } = flagStateAt(view, at);
    const list = out.list(flags.join(" "), () => flags);
    out.add(uid, list, changedAt);
  }
  return out.done();
}

function modSeqAt(index: GroupIndex, state: ReadState, at: number, uid: number): number {
  const added = joinViewModSeq({ group: index.modSeqs[at] ?? 0, own: 0 });
  const change = lastChangeOf(state, uid);
  return change === undefined ? added : Math.max(added, joinViewModSeq(change));
}

/**
 * True when the message at a place has changed, or come, since a MODSEQ of this view: either of its
 * two counters is above that part of the MODSEQ.
 */
export function changedAfter({ index, state }: MemberView, since: number): (at: number) => boolean {
  const { group, own } = splitViewModSeq(since);
  const changed = changedSince(state, own);
  return (at) => (index.modSeqs[at] ?? 0) > group || uidSetHas(changed, index.uids[at] ?? 0);
}

/** What happened since. @see MailStore.changes @throws MailError MAILBOX_GONE */
export function changesOf(
  view: MemberView,
  request: {
    readonly sinceModSeq: number;
    readonly knownUidNext: number;
    readonly uidValidity?: number;
  },
): MailboxChanges {
  const { index, state, mailbox, places } = view;
  const since = splitViewModSeq(request.sinceModSeq);
  if (request.uidValidity !== undefined) {
    const why =
      request.uidValidity !== index.uidValidity
        ? "other UIDVALIDITY"
        : since.own > state.own || since.group > index.modSeq
          ? "the state is behind what the caller knows"
          : undefined;
    if (why !== undefined) throw new MailError({ code: "MAILBOX_GONE", mailbox, why });
  }
  const isChanged = changedAfter(view, request.sinceModSeq);
  const added: FlagState[] = [];
  const changed: FlagState[] = [];
  for (const at of places) {
    if ((index.uids[at] ?? 0) >= request.knownUidNext) added.push(flagStateAt(view, at));
    else if (isChanged(at)) changed.push(flagStateAt(view, at));
  }
  return {
    highestModSeq: highestOf(view),
    uidNext: index.uidNext,
    added,
    changed,
    vanished: vanishedSince(view, since),
    messages: places.length,
  };
}

/** At least what is gone since; UIDs that nobody knew may be among them. RFC 7162 §3.2.10 */
function vanishedSince(
  { index, state, places }: MemberView,
  since: { readonly group: number; readonly own: number },
): UidSet {
  if (since.group >= index.modSeq) {
    return uidSetIntersection(state.hidden, changedSince(state, since.own));
  }
  if (index.uidNext === 1) return noUids;
  const shown = uidSetFromSorted(Array.from(places, (at) => index.uids[at] ?? 0));
  return uidSetDifference([1, index.uidNext - 1], shown);
}

/** Those of `uids` that the member sees. */
export function shownOf(view: MemberView, uids: UidSet): UidSet {
  return uidSetIntersection(uidSetFromSorted(uidsOf(view)), uids);
}

/** How many of `uids` are in `set`. */
function countIn(uids: UidSet, set: UidSet): number {
  const both = uidSetIntersection(uids, set);
  let count = 0;
  for (let at = 0; at < both.length; at += 2) count += (both[at + 1] ?? 0) - (both[at] ?? 0) + 1;
  return count;
}

/** Those of `uids` that came after the group's MODSEQ. */
export function newerThan(
  { index, places }: MemberView,
  uids: UidSet,
  group: number,
): readonly number[] {
  return Array.from(places).flatMap((at) => {
    const uid = index.uids[at] ?? 0;
    return uidSetHas(uids, uid) && (index.modSeqs[at] ?? 0) > group ? [uid] : [];
  });
}
