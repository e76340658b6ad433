// COPY and MOVE (RFC 6851): messages get new UIDs in the target, their bodies stay where they are.
// One entry, all or none.

import { MailError } from "../mail/errors.ts";
import { modSeq, uidMax, uidValidity } from "../mail/ids.ts";
import type { CopyOutcome, CopyRequest, Principal } from "../mail/mail-store.ts";
import { uidSetFromSorted, uidSetSize } from "../mail/uid-set.ts";
import type { UidSet } from "../mail/uid-set.ts";
import type { AccountState } from "./account-state.ts";
import { quotaAfter } from "./account-state.ts";
import { secondsOf } from "./append.ts";
import type { Columns } from "./columns.ts";
import type { Engine } from "./engine.ts";
import type { Counters, MessageRow, Op } from "./entry-kind.ts";
import { indexesOf, removalOf, removalOps } from "./expunge.ts";
import type { KeywordSet } from "./flags.ts";
import { mailboxNamed } from "./list.ts";
import { withMessage } from "./mailbox-state.ts";
import type { MailboxState, MailboxSummary } from "./mailbox-state.ts";
import type { Outcome } from "./outcome.ts";
import { changeExclusively } from "./propose.ts";
import type { Evaluated } from "./propose.ts";

type Copied = Extract<Outcome, { kind: "copied" }>;

/** @see MailStore.copy and MailStore.move */
export async function copyMessages(
  engine: Engine,
  who: Principal,
  request: CopyRequest,
  move: boolean,
  signal: AbortSignal,
): Promise<CopyOutcome> {
  const outcome = await changeExclusively(
    engine,
    who,
    request,
    "copied",
    (account) => {
      const source = account.mailbox(request.mailbox);
      const target = mailboxNamed(account, request.target);
      return engine.withSummary(account, source, (from) =>
        engine.withSummary(account, target, (to) =>
          evaluate(engine, account, { source, from, target, to }, request.uids, move),
        ),
      );
    },
    signal,
  );
  return {
    uidValidity: uidValidity(outcome.uidValidity),
    from: uidsOf(outcome.from),
    to: Array.from({ length: uidSetSize(outcome.from) }, (_, at) => outcome.firstUid + at),
    highestModSeq: modSeq(outcome.highestModSeq),
  };
}

interface Pair {
  readonly source: MailboxState;
  readonly from: MailboxSummary;
  readonly target: MailboxState;
  readonly to: MailboxSummary;
}

function evaluate(
  engine: Engine,
  account: AccountState,
  pair: Pair,
  uids: UidSet,
  move: boolean,
): Evaluated<Copied> {
  // A MOVE may be how a client deletes.
  if (!move) engine.mustTakeMail(account.shard);
  const { source, from, target } = pair;
  const chosen = indexesOf(from.columns, uids);
  const most = engine.limits.messagesPerChangeMax;
  if (chosen.length > most)
    throw new MailError({ code: "LIMIT", limit: "messagesPerChangeMax", most });
  const { ops, counters, bytes } = additionOf(engine, pair, target.counters, chosen);
  let highestModSeq = source.counters.modSeq;
  if (chosen.length > 0 && move) {
    const before = source === target ? counters : source.counters;
    const removal = removalOf(before, from.columns, chosen);
    highestModSeq = removal.counters.modSeq;
    ops.push(...removalOps(source, removal, true));
  } else if (chosen.length > 0) {
    ops.push({ kind: "quota", use: quotaAfter(account, bytes, chosen.length) });
    if (source === target) highestModSeq = counters.modSeq;
  }
  return {
    ops,
    outcome: {
      kind: "copied",
      uidValidity: target.uidValidity,
      from: uidSetFromSorted(chosen.map((at) => from.columns.uid[at] ?? 0)),
      firstUid: target.counters.uidNext,
      highestModSeq,
    },
  };
}

/** What adding messages of one mailbox to another comes to. */
export function additionOf(
  engine: Engine,
  pair: Pick<Pair, "from" | "target" | "to">,
  before: Counters,
  chosen: readonly number[],
): { readonly ops: Op[]; readonly counters: Counters; readonly bytes: number } {
  const { from, target, to } = pair;
  const { columns } = from;
  if (chosen.length === 0) return { ops: [], counters: before, bytes: 0 };
  if (before.uidNext + chosen.length > uidMax) {
    throw new MailError({ code: "LIMIT", limit: "uid", most: uidMax });
  }
  const sets: KeywordSet[] = [];
  const flagsIn = flagsInTarget(engine, from, to, sets);
  const saved = secondsOf(engine.clock.nowMs());
  const at = before.modSeq + 1;
  let counters = before;
  const messages = chosen.map((index): MessageRow => {
    const row = columns.row(index);
    const flags = flagsIn(row.flags);
    const uid = counters.uidNext;
    counters = { ...withMessage(counters, flags, row.size), modSeq: at };
    return { ...row, uid, flags, saved, modSeq: at };
  });
  return {
    ops: [
      ...sets.map((set): Op => ({ kind: "keywords", mailbox: target.id, set })),
      { kind: "add", mailbox: target.id, modSeq: at, messages },
      { kind: "counters", mailbox: target.id, counters },
    ],
    counters,
    bytes: sizeOf(columns, chosen),
  };
}

/** Keyword sets are numbered per mailbox: the same flags have another number in the target. */
function flagsInTarget(
  engine: Engine,
  from: MailboxSummary,
  to: MailboxSummary,
  sets: KeywordSet[],
): (flags: number) => number {
  const known = new Map<number, number>();
  return (flags) => {
    const seen = known.get(flags);
    if (seen !== undefined) return seen;
    const set = to.keywords.intern(from.keywords.keywordsOf(flags), sets, engine.limits);
    const translated = ((set << 8) | (flags & 0xff)) >>> 0;
    known.set(flags, translated);
    return translated;
  };
}

function sizeOf(columns: Columns, chosen: readonly number[]): number {
  return chosen.reduce((sum, at) => sum + (columns.size[at] ?? 0), 0);
}

function uidsOf(set: UidSet): number[] {
  const uids: number[] = [];
  for (let i = 0; i < set.length; i += 2) {
    for (let uid = set[i] ?? 0; uid <= (set[i + 1] ?? 0); uid++) uids.push(uid);
  }
  return uids;
}
