// What one member has done with a group's messages (paper BC4, BC5, H20): flags and hidden messages as
// interval sets, and what changed when, so that CONDSTORE and QRESYNC work in the member's view. Pure;
// bytes are read-state-codec.ts's, storing is store/group-state.ts's.

import { uidSetHas } from "./uid-set.ts";
import type { UidSet } from "./uid-set.ts";
import { uidSetDifference, uidSetIntersection, uidSetUnion } from "./uid-set-algebra.ts";

/** Messages whose state this member changed last at one moment. */
export interface OwnChange {
  /** The group's MODSEQ as it was known then. */
  readonly group: number;
  /** The member's count of changes after this one. */
  readonly own: number;
  readonly uids: UidSet;
}

export interface ReadState {
  /** Of the group's mailbox; another one makes a new state. */
  readonly uidValidity: number;
  /** Changes so far. */
  readonly own: number;
  /** Highest of the group's MODSEQs at which a change was made. */
  readonly group: number;
  readonly subscribed: boolean;
  /** System flags and keywords in the case first seen, each with its messages; none is empty. */
  readonly flags: readonly { readonly flag: string; readonly uids: UidSet }[];
  /** Messages that this member removed. */
  readonly hidden: UidSet;
  /** Ascending by `own`; each message is in one of them at most. */
  readonly changes: readonly OwnChange[];
}

/** Further changes are joined with older ones, which then count as having happened with them. */
export const changesMax = 64;
export const keywordsMax = 64;

export function newReadState(uidValidity: number): ReadState {
  return {
    uidValidity,
    own: 0,
    group: 0,
    subscribed: true,
    flags: [],
    hidden: [],
    changes: [],
  };
}

const systemFlags = ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"];

/** Messages that have the flag. */
export function withFlag(state: ReadState, flag: string): UidSet {
  return find(state.flags, flag)?.uids ?? [];
}

export function flagsOf(state: ReadState, uid: number): readonly string[] {
  const found: string[] = [];
  for (const { flag, uids } of state.flags) if (uidSetHas(uids, uid)) found.push(flag);
  return found;
}

/** When the member changed this message last; undefined: never. */
export function lastChangeOf(state: ReadState, uid: number): OwnChange | undefined {
  return state.changes.findLast(({ uids }) => uidSetHas(uids, uid));
}

/** Messages that the member changed after `own`. */
export function changedSince(state: ReadState, own: number): UidSet {
  let changed: UidSet = [];
  for (const change of state.changes) {
    if (change.own > own) changed = uidSetUnion(changed, change.uids);
  }
  return changed;
}

export interface FlagsRequest {
  /** Messages that the member sees. */
  readonly uids: UidSet;
  readonly mode: "add" | "remove" | "replace";
  readonly flags: readonly string[];
  /** Messages that the member changed after this count are left alone. RFC 7162 §3.1.3 */
  readonly unchangedSince?: number;
  /** The group's MODSEQ as the asker knows it. */
  readonly group: number;
}

export interface FlagsResult {
  readonly state: ReadState;
  readonly changed: UidSet;
  /** Left alone because of `unchangedSince`. */
  readonly modified: UidSet;
}

/** The state after a STORE. RFC 9051 §6.4.6 */
export function setFlags(state: ReadState, request: FlagsRequest): FlagsResult {
  const { mode, unchangedSince } = request;
  const modified =
    unchangedSince === undefined
      ? []
      : uidSetIntersection(changedSince(state, unchangedSince), request.uids);
  const uids = uidSetDifference(request.uids, modified);
  const named = new Map(request.flags.map((flag) => [flag.toLowerCase(), flag]));
  const next: { flag: string; uids: UidSet }[] = [];
  let changed: UidSet = [];
  const put = (flag: string, before: UidSet, after: UidSet): void => {
    const differs = uidSetUnion(uidSetDifference(before, after), uidSetDifference(after, before));
    changed = uidSetUnion(changed, differs);
    if (after.length > 0) next.push({ flag, uids: after });
  };
  for (const { flag, uids: before } of state.flags) {
    const isNamed = named.delete(flag.toLowerCase());
    const sets = isNamed && mode !== "remove";
    const clears = isNamed ? mode === "remove" : mode === "replace";
    const after = sets
      ? uidSetUnion(before, uids)
      : clears
        ? uidSetDifference(before, uids)
        : before;
    put(flag, before, after);
  }
  if (mode !== "remove") for (const flag of named.values()) put(canonical(flag), [], uids);
  if (changed.length === 0) return { state, changed, modified };
  next.sort((a, b) => rank(a.flag) - rank(b.flag));
  return { state: noted({ ...state, flags: next }, request.group, changed), changed, modified };
}

/** The state after messages were removed from the view; `hidden` says which were there before. */
export function hide(
  state: ReadState,
  uids: UidSet,
  group: number,
): { readonly state: ReadState; readonly hidden: UidSet } {
  const hidden = uidSetDifference(uids, state.hidden);
  if (hidden.length === 0) return { state, hidden };
  const after = { ...without(state, hidden), hidden: uidSetUnion(state.hidden, hidden) };
  return { state: noted(after, group, hidden), hidden };
}

/** The state without messages below `oldest`, which the group no longer has. */
export function trimmed(state: ReadState, oldest: number): ReadState {
  if (oldest <= 1) return state;
  const gone: UidSet = [1, oldest - 1];
  const after = without(state, gone);
  const hidden = uidSetDifference(state.hidden, gone);
  const changes = state.changes.flatMap((change) => {
    const uids = uidSetDifference(change.uids, gone);
    return uids.length === 0 ? [] : [{ ...change, uids }];
  });
  return { ...after, hidden, changes };
}

function without(state: ReadState, uids: UidSet): ReadState {
  const flags = state.flags.flatMap(({ flag, uids: has }) => {
    const rest = uidSetDifference(has, uids);
    return rest.length === 0 ? [] : [{ flag, uids: rest }];
  });
  return { ...state, flags };
}

function noted(state: ReadState, group: number, uids: UidSet): ReadState {
  const change = { group: Math.max(group, state.group), own: state.own + 1, uids };
  const older = state.changes.flatMap((each) => {
    const rest = uidSetDifference(each.uids, uids);
    return rest.length === 0 ? [] : [{ ...each, uids: rest }];
  });
  return { ...state, own: change.own, group: change.group, changes: joined([...older, change]) };
}

/** Too old a memory is told too much, never too little. */
function joined(changes: readonly OwnChange[]): readonly OwnChange[] {
  if (changes.length <= changesMax) return changes;
  const half = changes.length >> 1;
  const last = changes[half - 1];
  if (last === undefined) return changes;
  let uids: UidSet = [];
  for (const change of changes.slice(0, half)) uids = uidSetUnion(uids, change.uids);
  return [{ ...last, uids }, ...changes.slice(half)];
}

function find<T extends { readonly flag: string }>(
  flags: readonly T[],
  flag: string,
): T | undefined {
  const wanted = flag.toLowerCase();
  return flags.find((each) => each.flag.toLowerCase() === wanted);
}

function canonical(flag: string): string {
  const lower = flag.toLowerCase();
  return systemFlags.find((known) => known.toLowerCase() === lower) ?? flag;
}

function rank(flag: string): number {
  const at = systemFlags.indexOf(flag);
  return at === -1 ? systemFlags.length : at;
}
