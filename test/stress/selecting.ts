// SELECT, EXAMINE, their end, and STATUS, as random clients use them, and how the answers are judged.

import type { Kept, StressClient } from "./client.ts";
import type { Outcome, StressSession } from "./session.ts";
import { type MailboxView, numbersOf, parseFetch, setOf } from "./view.ts";

/** Opens a mailbox, with what was kept of it where that is possible. */
export async function select(client: StressClient, session: StressSession): Promise<void> {
  client.keep();
  const name = client.anyMailbox();
  const readOnly = client.chance(0.12);
  const truth = client.truth(name);
  const { uidNext, modSeq } = truth;
  const kept = session.can.qresync ? client.kept.get(name) : undefined;
  const known = kept !== undefined && kept.flags.size > 0 && client.chance(0.3);
  const view = session.opening(truth, readOnly);
  const verb = readOnly ? "EXAMINE" : "SELECT";
  const outcome = await session.run(verb, `${verb} ${name}${parameters(session, kept, known)}`);
  if (outcome.status !== "OK") {
    session.view = undefined;
    return;
  }
  judgeOpening(session, view, outcome, { uidNext, modSeq });
  const count = view.count;
  if (kept !== undefined && client.chance(0.9)) await resume(session, view, outcome, kept, known);
  if (!(await client.resolve(session, view))) return;
  // What was there when it was opened has a UID below UIDNEXT; numbers may have shifted only downwards.
  const above = view.slots.filter(
    ({ uid, from }) => from === outcome.doing.start && uid >= view.uidNext,
  );
  if (above.length > 0)
    session.violate(`UID ${above[0]?.uid} of ${count} below UIDNEXT ${view.uidNext}`);
  const lag = view.lag(outcome.doing.start, false);
  if (lag !== undefined) session.violate(`${verb} does not show: ${lag}`);
}

function parameters(session: StressSession, kept: Kept | undefined, known: boolean): string {
  if (kept === undefined) return session.can.condstore ? " (CONDSTORE)" : "";
  const uids = known ? ` ${setOf([...kept.flags.keys()])}` : "";
  return ` (QRESYNC (${kept.uidValidity} ${kept.modSeq}${uids}))`;
}

function judgeOpening(
  session: StressSession,
  view: MailboxView,
  { doing: { codes } }: Outcome,
  floor: { readonly uidNext: number; readonly modSeq: number },
): void {
  const { truth } = view;
  truth.learnUidValidity(Number(codes.get("UIDVALIDITY")));
  view.uidNext = Number(codes.get("UIDNEXT"));
  view.highestModSeq = view.keptModSeq = Number(codes.get("HIGHESTMODSEQ"));
  // Written so that NaN is wrong, too.
  if (!(view.uidNext >= floor.uidNext))
    session.violate(`UIDNEXT went from ${floor.uidNext} to ${view.uidNext}`);
  if (!(view.highestModSeq >= floor.modSeq))
    session.violate(`HIGHESTMODSEQ went from ${floor.modSeq} to ${view.highestModSeq}`);
  truth.uidNext = Math.max(truth.uidNext, view.uidNext);
  truth.modSeq = Math.max(truth.modSeq, view.highestModSeq);
}

/** RFC 7162 §3.2.5: what was kept, with what the answer told, is the mailbox. */
async function resume(
  session: StressSession,
  view: MailboxView,
  { untagged, doing }: Outcome,
  kept: Kept,
  known: boolean,
): Promise<void> {
  const merged = new Map(kept.flags);
  for (const uid of earlier(doing.codes.get("EARLIER"))) {
    merged.delete(uid);
    if (view.truth.messages.has(uid)) view.truth.message(uid).passedOver = "VANISHED (EARLIER)";
  }
  for (const { text } of untagged) {
    if (!/^\* \d+ FETCH /.test(text)) continue;
    const { uid, flags } = parseFetch(text);
    merged.set(uid, flags);
  }
  const uids = [...merged.keys()].toSorted((a, b) => a - b);
  if (known ? uids.length > view.count : uids.length !== view.count) {
    session.violate(`QRESYNC leaves ${uids.length} messages where ${view.count} exist`);
    return;
  }
  const start = { uid: 0, flags: undefined, modSeq: 0 };
  uids.forEach((uid, at) => view.fetched(at + 1, { ...start, uid }, doing));
  if (view.count === 0) return;
  const fetch = await session.run("FETCH", "FETCH 1:* (UID FLAGS MODSEQ)");
  for (const { text } of fetch.untagged) {
    if (!/^\* \d+ FETCH /.test(text)) continue;
    const { uid, flags, modSeq } = parseFetch(text);
    const before = merged.get(uid);
    if (before !== undefined && modSeq <= view.highestModSeq && before !== flags)
      session.violate(`QRESYNC leaves UID ${uid} with (${before}), it has (${flags})`);
  }
}

export function earlier(set: string | undefined): readonly number[] {
  return set === undefined ? [] : numbersOf(set);
}

/** CLOSE or UNSELECT. */
export async function leave(client: StressClient, session: StressSession): Promise<void> {
  const { view } = session;
  if (view === undefined) return;
  const closes = !view.readOnly && client.chance(0.4);
  const dying = closes ? deletedNow(view) : [];
  const outcome = closes
    ? await session.run("CLOSE", "CLOSE")
    : await session.run("UNSELECT", "UNSELECT");
  if (outcome.status !== "OK") return;
  for (const { uid, modSeq } of dying) expungedUpTo(view, uid, modSeq);
  client.keep();
  session.view = undefined;
}

/** Messages whose newest known state has \Deleted. */
export function deletedNow({ truth }: MailboxView): readonly { uid: number; modSeq: number }[] {
  return [...truth.messages.values()].flatMap(({ uid, states, goneAt }) => {
    const last = states.at(-1);
    if (goneAt < Infinity || last === undefined || !last.flags.includes("\\Deleted")) return [];
    return [{ uid, modSeq: last.modSeq }];
  });
}

export function expungedUpTo({ truth }: MailboxView, uid: number, modSeq: number): void {
  const message = truth.message(uid);
  message.expungedAt = Math.max(message.expungedAt, modSeq);
}

export async function status(client: StressClient, session: StressSession): Promise<void> {
  const truth = client.truth(client.anyMailbox());
  const { uidNext, modSeq } = truth;
  const items = "MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ";
  const asked = session.can.condstore ? items : items.replace(" HIGHESTMODSEQ", "");
  const { doing, status: answer } = await session.run("STATUS", `STATUS ${truth.name} (${asked})`);
  if (answer !== "OK") return;
  const { counters } = doing;
  truth.learnUidValidity(Number(counters.get("UIDVALIDITY")));
  const next = Number(counters.get("UIDNEXT"));
  if (!(next >= uidNext)) session.violate(`STATUS UIDNEXT went from ${uidNext} to ${next}`);
  truth.uidNext = Math.max(truth.uidNext, next);
  const highest = counters.get("HIGHESTMODSEQ");
  if (!session.can.condstore) return;
  if (!((highest ?? 0) >= modSeq))
    session.violate(`STATUS HIGHESTMODSEQ went from ${modSeq} to ${highest}`);
  truth.modSeq = Math.max(truth.modSeq, highest ?? 0);
}
