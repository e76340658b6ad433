// STORE: adds, removes or replaces flags of messages; one entry with one MODSEQ however many change.

import { modSeq, uid } from "../mail/ids.ts";
import type { FlagState, Principal, StoreOutcome, StoreRequest } from "../mail/mail-store.ts";
import { uidSetFromSorted } from "../mail/uid-set.ts";
import type { UidSet } from "../mail/uid-set.ts";
import { flagState } from "./changes.ts";
import type { Engine } from "./engine.ts";
import type { Counters, FlagGroup, Op } from "./entry-kind.ts";
import { deletedBit, parseFlags, seenBit } from "./flags.ts";
import type { FlagList, KeywordSet } from "./flags.ts";
import type { MailboxState, MailboxSummary } from "./mailbox-state.ts";
import type { Outcome } from "./outcome.ts";
import { changeExclusively } from "./propose.ts";
import type { Evaluated } from "./propose.ts";
import type { StoreLimits } from "./limits.ts";

type Stored = Extract<Outcome, { kind: "stored" }>;

/** @see MailStore.store */
export async function storeFlags(
  engine: Engine,
  who: Principal,
  request: StoreRequest,
  signal: AbortSignal,
): Promise<StoreOutcome> {
  const outcome = await changeExclusively(
    engine,
    who,
    request,
    "stored",
    (account) => {
      const mailbox = account.mailbox(request.mailbox);
      return engine.withSummary(account, mailbox, (summary) =>
        evaluate(mailbox, summary, request, engine.limits),
      );
    },
    signal,
  );
  return engine.withAccount(who, (account) => {
    const mailbox = account.mailbox(request.mailbox);
    return engine.withSummary(account, mailbox, (summary) => ({
      highestModSeq: modSeq(outcome.highestModSeq),
      changed: outcome.groups.length > 0,
      stored: statesOf(summary, outcome),
      modified: outcome.modified,
    }));
  });
}

function evaluate(
  mailbox: MailboxState,
  summary: MailboxSummary,
  request: StoreRequest,
  limits: StoreLimits,
): Evaluated<Stored> {
  const { columns } = summary;
  const sets: KeywordSet[] = [];
  const change = flagChange(summary, request, sets, limits);
  const least = request.unchangedSince ?? Number.MAX_SAFE_INTEGER;
  const unchanged: number[] = [];
  const modified: number[] = [];
  const groups = new Map<number, number[]>();
  let { unseen, deleted } = mailbox.counters;
  for (let i = 0; i < request.uids.length; i += 2) {
    const high = request.uids[i + 1] ?? 0;
    for (let at = columns.lowerBound(request.uids[i] ?? 0); at < columns.count; at++) {
      const value = columns.uid[at] ?? 0;
      if (value > high) break;
      // RFC 7162 §3.1.3: the test is per message; the others are changed all the same.
      if ((columns.modSeq[at] ?? 0) > least) {
        modified.push(value);
        continue;
      }
      const before = columns.flags[at] ?? 0;
      const after = change(before);
      if (after === before) {
        unchanged.push(value);
        continue;
      }
      unseen += bit(before, seenBit) - bit(after, seenBit);
      deleted += bit(after, deletedBit) - bit(before, deletedBit);
      const group = groups.get(after);
      if (group === undefined) groups.set(after, [value]);
      else group.push(value);
    }
  }
  const next = mailbox.counters.modSeq + 1;
  const highestModSeq = groups.size === 0 ? mailbox.counters.modSeq : next;
  const counters: Counters = { ...mailbox.counters, modSeq: next, unseen, deleted };
  const flagGroups = Array.from(
    groups,
    ([flags, uids]): FlagGroup => ({ flags, uids: uidSetFromSorted(uids) }),
  );
  return {
    ops: groups.size === 0 ? [] : opsOf(mailbox, sets, flagGroups, counters),
    outcome: {
      kind: "stored",
      highestModSeq,
      groups: flagGroups,
      unchanged: uidSetFromSorted(unchanged),
      modified: uidSetFromSorted(modified),
    },
  };
}

function opsOf(
  mailbox: MailboxState,
  sets: readonly KeywordSet[],
  groups: readonly FlagGroup[],
  counters: Counters,
): Op[] {
  return [
    ...sets.map((set): Op => ({ kind: "keywords", mailbox: mailbox.id, set })),
    { kind: "flags", mailbox: mailbox.id, modSeq: counters.modSeq, groups },
    { kind: "counters", mailbox: mailbox.id, counters },
  ];
}

/** The new flags number for an old one; each distinct old one is worked out once. */
function flagChange(
  summary: MailboxSummary,
  request: StoreRequest,
  sets: KeywordSet[],
  limits: StoreLimits,
): (before: number) => number {
  const given = parseFlags(request.flags);
  const known = new Map<number, number>();
  return (before) => {
    const seen = known.get(before);
    if (seen !== undefined) return seen;
    const bits = bitsAfter(before & 0xff, given.bits, request.mode);
    const keywords = keywordsAfter(summary.keywords.keywordsOf(before), given, request.mode);
    const set =
      keywords === undefined ? before >>> 8 : summary.keywords.intern(keywords, sets, limits);
    const after = ((set << 8) | bits) >>> 0;
    known.set(before, after);
    return after;
  };
}

function bitsAfter(before: number, given: number, mode: StoreRequest["mode"]): number {
  if (mode === "replace") return given;
  return mode === "add" ? before | given : before & ~given;
}

/** Undefined when the keywords stay as they are. */
function keywordsAfter(
  before: readonly string[],
  given: FlagList,
  mode: StoreRequest["mode"],
): readonly string[] | undefined {
  if (mode === "replace") return given.keywords;
  if (given.keywords.length === 0) return undefined;
  const named = new Set(given.keywords.map((keyword) => keyword.toLowerCase()));
  if (mode === "remove") return before.filter((keyword) => !named.has(keyword.toLowerCase()));
  const had = new Set(before.map((keyword) => keyword.toLowerCase()));
  return [...before, ...given.keywords.filter((keyword) => !had.has(keyword.toLowerCase()))];
}

function bit(flags: number, mask: number): number {
  return (flags & mask) === 0 ? 0 : 1;
}

/** Changed messages as the operation left them, also when it is asked again; the others as they are. */
function statesOf(summary: MailboxSummary, outcome: Stored): FlagState[] {
  const { groups, unchanged } = outcome;
  const states = presentStates(summary, unchanged);
  const at = modSeq(outcome.highestModSeq);
  for (const { flags: number, uids } of groups) {
    const flags = summary.keywords.list(number);
    for (let i = 0; i < uids.length; i += 2) {
      const high = uids[i + 1] ?? 0;
      for (let each = uids[i] ?? 0; each <= high; each++) {
        states.push({ uid: uid(each), modSeq: at, flags });
      }
    }
  }
  if (groups.length + Math.min(1, unchanged.length) > 1) states.sort((a, b) => a.uid - b.uid);
  return states;
}

function presentStates(summary: MailboxSummary, uids: UidSet): FlagState[] {
  const states: FlagState[] = [];
  const { columns } = summary;
  for (let i = 0; i < uids.length; i += 2) {
    const high = uids[i + 1] ?? 0;
    for (let at = columns.lowerBound(uids[i] ?? 0); at < columns.count; at++) {
      if ((columns.uid[at] ?? 0) > high) break;
      states.push(flagState(summary, at));
    }
  }
  return states;
}
