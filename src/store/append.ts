// APPEND: one or more messages into one mailbox, all or none (RFC 3502), REPLACE (RFC 8508), and what
// is moved out of a group. Pipelines with deliveries; only messages with keywords that are new to the
// mailbox, and those with which something else changes, need the account to themselves.

import { MailError } from "../mail/errors.ts";
import { modSeq, uidMax, uidValidity } from "../mail/ids.ts";
import type { AppendMessage, AppendOutcome, AppendRequest, Principal } from "../mail/mail-store.ts";
import { normaliseMailboxName } from "../mail/mailbox-name.ts";
import type { AccountState } from "./account-state.ts";
import { quotaAfter, useAfter } from "./account-state.ts";
import { bodyTag } from "./apply-rows.ts";
import { checkSource, partOf } from "./deliver.ts";
import { orAborted } from "./deferred.ts";
import type { Engine } from "./engine.ts";
import type { BodyPart, Counters, MessageRow, Op, QuotaUse } from "./entry-kind.ts";
import { removalOf, removalOps } from "./expunge.ts";
import { parseFlags } from "./flags.ts";
import type { KeywordSet } from "./flags.ts";
import { evaluateMemberChange, stateAfter } from "./group-state.ts";
import { withMessage } from "./mailbox-state.ts";
import type { MailboxState, MailboxSummary } from "./mailbox-state.ts";
import type { Outcome } from "./outcome.ts";
import { changeExclusively, proposeChange, tidyTouched } from "./propose.ts";
import type { Evaluated } from "./propose.ts";
import { encodeStatic } from "./static-row.ts";

type Appended = Extract<Outcome, { kind: "appended" }>;

/** @see MailStore.append */
export async function append(
  engine: Engine,
  who: Principal,
  request: AppendRequest,
  signal: AbortSignal,
): Promise<AppendOutcome> {
  const { messages } = request;
  const most = engine.limits.messagesPerAppendMax;
  if (messages.length > most)
    throw new MailError({ code: "LIMIT", limit: "messagesPerAppendMax", most });
  const { replaces, memberChange } = request;
  const plain =
    replaces === undefined &&
    memberChange === undefined &&
    messages.every(({ flags }) => parseFlags(flags).keywords.length === 0);
  // Known as under way before anything is waited for: a repetition must find the first try.
  const again = engine.pending.isAgain(request.opId, request.retry);
  const outcome =
    plain && !again
      ? await engine.pending.request(request.opId, () => appendShared(engine, who, request, signal))
      : await changeExclusively(
          engine,
          who,
          request,
          "appended",
          async (account) => {
            const mailbox = targetOf(account, request.mailbox);
            for (const { source } of messages) await checkSource(engine, source);
            const more =
              memberChange === undefined
                ? noOps
                : (await evaluateMemberChange(engine, account, memberChange)).ops;
            const evaluated = await engine.withSummary(account, mailbox, (summary) =>
              replaces === undefined
                ? evaluate(engine, account, mailbox, messages, summary, noRemoval)
                : replace(engine, account, mailbox, messages, summary, replaces),
            );
            return { ...evaluated, ops: [...evaluated.ops, ...more] };
          },
          signal,
        );
  const memberState =
    memberChange === undefined ? undefined : await stateAfter(engine, who, memberChange);
  return {
    mailbox: outcome.mailbox,
    uidValidity: uidValidity(outcome.uidValidity),
    uids: Array.from({ length: outcome.count }, (_, at) => outcome.firstUid + at),
    ...(outcome.highestModSeq === 0 ? {} : { highestModSeq: modSeq(outcome.highestModSeq) }),
    ...(memberState === undefined ? {} : { memberState }),
  };
}

/** The new message comes and the old one goes in one entry. RFC 8508 §3.1 */
function replace(
  engine: Engine,
  account: AccountState,
  target: MailboxState,
  messages: readonly AppendMessage[],
  summary: MailboxSummary,
  old: NonNullable<AppendRequest["replaces"]>,
): Promise<Evaluated<Appended>> {
  const from = account.mailbox(old.mailbox);
  return engine.withSummary(account, from, ({ columns }) => {
    const at = columns.lowerBound(old.uid);
    if (at >= columns.count || columns.uid[at] !== old.uid) {
      throw new MailError({ code: "INVALID", why: "the message to replace is gone" });
    }
    const freed = { bytes: columns.size[at] ?? 0, messages: 1 };
    const added = evaluate(engine, account, target, messages, summary, freed);
    // In its own mailbox the removal is a change of its own, behind the addition.
    const counters = added.ops.findLast((op) => op.kind === "counters")?.counters;
    const before = from === target && counters !== undefined ? counters : from.next;
    const removal = removalOf(before, columns, [at]);
    return {
      ...added,
      ops: [...added.ops, ...removalOps(from, removal, false)],
      outcome: { ...added.outcome, highestModSeq: removal.counters.modSeq },
    };
  });
}

function appendShared(
  engine: Engine,
  who: Principal,
  request: AppendRequest,
  signal: AbortSignal,
): Promise<Appended> {
  return engine.withAccount(who, async (account) => {
    for (const { source } of request.messages) await checkSource(engine, source);
    if (engine.rows.full) await orAborted(engine.rows.room(), signal);
    await account.lock.shared(signal);
    let committed: Promise<void>;
    let evaluated: Evaluated<Appended>;
    try {
      engine.check(account, who);
      const mailbox = targetOf(account, request.mailbox);
      evaluated = evaluate(engine, account, mailbox, request.messages, undefined, noRemoval);
      committed = proposeChange(engine, account, request.opId, evaluated);
    } finally {
      account.lock.releaseShared();
    }
    await orAborted(committed, signal);
    tidyTouched(engine, account, evaluated.ops);
    return evaluated.outcome;
  });
}

const noOps: readonly Op[] = [];
const noRemoval: QuotaUse = { bytes: 0, messages: 0 };

/**
 * @param summary needed for messages with keywords only.
 * @param freed What goes in the same change.
 */
function evaluate(
  engine: Engine,
  account: AccountState,
  mailbox: MailboxState,
  messages: readonly AppendMessage[],
  summary: MailboxSummary | undefined,
  freed: QuotaUse,
): Evaluated<Appended> {
  engine.mustTakeMail(account.shard);
  const firstUid = mailbox.next.uidNext;
  if (firstUid + messages.length > uidMax) {
    throw new MailError({ code: "LIMIT", limit: "uid", most: uidMax });
  }
  const bytes = messages.reduce((sum, { index }) => sum + index.sizeBytes, -freed.bytes);
  const count = messages.length - freed.messages;
  // What takes no more room is possible over quota, too.
  const quota = (bytes > 0 || count > 0 ? quotaAfter : useAfter)(account, bytes, count);
  const atModSeq = mailbox.next.modSeq + 1;
  const nowMs = engine.clock.nowMs();
  const sets: KeywordSet[] = [];
  const parts: BodyPart[] = [];
  const rows: MessageRow[] = [];
  const inline: Uint8Array[] = [];
  let offset = 0;
  let counters: Counters = mailbox.next;
  messages.forEach((message, at) => {
    const { bits, keywords } = parseFlags(message.flags);
    const set = summary?.keywords.intern(keywords, sets, engine.limits) ?? 0;
    const flags = ((set << 8) | bits) >>> 0;
    parts.push(partOf(message.source, offset));
    if (message.source.kind === "bytes") {
      inline.push(message.source.bytes);
      offset += message.source.bytes.length;
    }
    rows.push({
      uid: firstUid + at,
      modSeq: atModSeq,
      flags,
      size: message.index.sizeBytes,
      date: secondsOf(message.internalDateMs ?? nowMs),
      zone: message.internalDateZone ?? 0,
      saved: secondsOf(nowMs),
      bodyTag: bodyTag(account.shard, at),
      bodyLsn: 0,
    });
    counters = { ...withMessage(counters, flags, message.index.sizeBytes), modSeq: atModSeq };
  });
  const ops: Op[] = sets.map((set) => ({ kind: "keywords", mailbox: mailbox.id, set }));
  if (rows.length > 0) {
    ops.push(
      { kind: "add", mailbox: mailbox.id, modSeq: atModSeq, messages: rows },
      { kind: "counters", mailbox: mailbox.id, counters },
      { kind: "quota", use: quota },
    );
  }
  const [only] = inline;
  return {
    ops,
    parts,
    statics: messages.map(({ index }) => encodeStatic(index)),
    ...(only === undefined ? {} : { body: inline.length === 1 ? only : Buffer.concat(inline) }),
    outcome: {
      kind: "appended",
      mailbox: mailbox.id,
      uidValidity: mailbox.uidValidity,
      firstUid,
      count: messages.length,
      highestModSeq: 0,
    },
  };
}

function targetOf(account: AccountState, wanted: string): MailboxState {
  const name = normaliseMailboxName(wanted);
  return account.named(name.ok ? name.name : undefined, wanted);
}

/** Seconds since 1970, within what a row holds: dates before and after are moved to its ends. */
export function secondsOf(ms: number): number {
  return Math.min(0xffff_ffff, Math.max(0, Math.floor(ms / 1000)));
}
