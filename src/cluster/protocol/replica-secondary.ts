// The secondary's part: which records it takes into its log, when it acknowledges them and what it
// applies. cluster.md "Secondary". A copy that is not full follows with two logs: its own, and the
// tail-first one. Events are dispatched by replica.ts.

import { lsn as makeLsn } from "../../mail/ids.ts";
import type { Lsn, MemberId } from "../../mail/ids.ts";
import { assert } from "../../lib/assert.ts";
import { cutTail, endHash, hashAt, makeTail, pushHash, tailEnd } from "./hash-tail.ts";
import type { ChainHash } from "./hash-tail.ts";
import { isFull } from "./replica-report.ts";
import type { FollowedLog, ReplicaState } from "./replica-state.ts";
import type { MessageBase, ReplicaEffect, ReplicaMessage, WireEntry } from "./replica-types.ts";

type Append<R> = Extract<ReplicaMessage<R>, { kind: "append" }>;
type Reason = Extract<ReplicaMessage<unknown>, { kind: "status" }>["reason"];

/** A new primary, or a new life of it: nothing above the applied entry is known to equal its log. */
export function startSecondary(state: ReplicaState): void {
  state.primaryInc = 0;
  state.heardMark = state.commitLsn;
  state.cuttingAfter = undefined;
  restartLog(state, state.commitLsn);
  if (state.first !== undefined) restartLog(state.first, makeLsn(state.first.tail.baseLsn));
}

/** Keeps, or begins, the tail-first log that the config asks for. */
export function keepTail<R>(state: ReplicaState, out: ReplicaEffect<R>[]): void {
  const mine = state.config?.secondaries.find((one) => one.node === state.me.node);
  if (mine === undefined || mine.full) return;
  assert(mine.fromLsn !== undefined, "a copy that is not full has a tail");
  const afterLsn = makeLsn(mine.fromLsn - 1);
  const afterHash = mine.anchorHash ?? 0;
  // What the log at hand holds may be the only second copy of it.
  if (state.first !== undefined && hashAt(state.first.tail, afterLsn) === afterHash) return;
  state.first = {
    tail: makeTail(afterLsn, afterHash),
    durableLsn: afterLsn,
    matchedLsn: afterLsn,
    ackDue: true,
    ackedLsn: makeLsn(0),
  };
  out.push({ kind: "startTail", afterLsn, afterHash });
}

export function dropTail<R>(state: ReplicaState, out: ReplicaEffect<R>[]): void {
  if (state.first === undefined) return;
  state.first = undefined;
  out.push({ kind: "dropTail" });
}

export function onProbe<R>(
  state: ReplicaState,
  from: MemberId,
  tail: boolean,
  out: ReplicaEffect<R>[],
): void {
  const log = logOf(state, tail);
  if (log === undefined) return;
  const bad = !tail && state.damaged;
  sendStatus(state, log, from, bad ? "damaged" : "probe", tailEnd(log.tail), out);
  if (bad) copyFrom(state, from, out);
}

/** Our way to the primary is back: what we said meanwhile did not arrive. */
export function onPrimaryUp<R>(state: ReplicaState, node: MemberId, out: ReplicaEffect<R>[]): void {
  if (node !== state.config?.primary.node || state.primaryInc === 0) return;
  for (const tail of [false, true]) {
    const log = logOf(state, tail);
    if (log === undefined) continue;
    log.ackDue = true;
    sendStatus(state, log, node, "probe", tailEnd(log.tail), out);
  }
}

/** The log refused entries that were taken: as if they had been lost on the way. */
export function onNotLogged(state: ReplicaState, lsn: Lsn, tail: boolean): void {
  const log = logOf(state, tail);
  if (log === undefined) return;
  assert(lsn > floorOf(state, log), "what is not logged is not committed");
  const before = makeLsn(lsn - 1);
  cutTail(log.tail, before);
  if (log.matchedLsn >= lsn) log.matchedLsn = before;
}

/** Takes the entries that continue this copy's log, and the commit mark. */
export function onAppend<R>(
  state: ReplicaState,
  from: MemberId,
  message: Append<R>,
  out: ReplicaEffect<R>[],
): void {
  const log = logOf(state, message.tail);
  if (log === undefined || (!message.tail && state.damaged)) return;
  if (message.mark > state.heardMark) state.heardMark = message.mark;
  acceptAll(state, log, from, message, out);
  log.ackDue = true;
  advanceMark(state, out);
}

/** Takes a run of entries into `log` up to the first that does not fit; false when there is one. */
export function acceptAll<R>(
  state: ReplicaState,
  log: FollowedLog,
  from: MemberId,
  run: Pick<Append<R>, "prevLsn" | "prevHash" | "entries">,
  out: ReplicaEffect<R>[],
): boolean {
  if (log === state && state.cuttingAfter !== undefined) return false;
  let ok = acceptPrevious(state, log, from, run, out);
  for (const entry of run.entries) if (ok) ok = acceptEntry(state, log, from, entry, out);
  return ok;
}

/** Commits what the primary said is committed, as far as this disk holds the same entries. */
export function advanceMark<R>(state: ReplicaState, out: ReplicaEffect<R>[]): void {
  if (canAcknowledge(state) > state.ackedLsn) state.ackDue = true;
  const { first } = state;
  if (first !== undefined && canAcknowledge(first) > first.ackedLsn) first.ackDue = true;
  // What a copy that is being made anew held is void already.
  if (state.copying) return;
  const through = makeLsn(Math.min(state.heardMark, state.matchedLsn, state.durableLsn));
  if (through <= state.commitLsn) return;
  const fromLsn = makeLsn(state.commitLsn + 1);
  state.commitLsn = through;
  if (through > state.shownLsn) state.shownLsn = through;
  out.push({ kind: "commit", fromLsn, throughLsn: through });
}

/** Sends the acknowledgements that are due: one a log for everything since the last flush. */
export function flushAck<R>(state: ReplicaState, out: ReplicaEffect<R>[]): void {
  const { config } = state;
  if (config === undefined || state.primaryInc === 0) return;
  if (state.sealedEpoch >= config.epoch) return;
  if (state.ackDue && !state.copying) sendAck(state, state, config.primary.node, out);
  if (state.first?.ackDue === true) sendAck(state, state.first, config.primary.node, out);
}

/** The suffix that a conflict makes void is in a file of its own: now it is cut. */
export function onCutSaved<R>(
  state: ReplicaState,
  event: { readonly afterLsn: Lsn; readonly endLsn: Lsn },
  out: ReplicaEffect<R>[],
): void {
  const { afterLsn, endLsn } = event;
  if (state.cuttingAfter !== afterLsn || tailEnd(state.tail) !== endLsn) return;
  state.cuttingAfter = undefined;
  cutAfter(state, state, afterLsn, out);
  const primary = state.config?.primary.node;
  if (state.role === "secondary" && state.primaryInc > 0 && primary !== undefined) {
    sendStatus(state, state, primary, "conflict", afterLsn, out);
  }
}

/** This copy can't be fed: it is made anew, at once or, if a former member may return, later. */
export function copyFrom<R>(state: ReplicaState, from: MemberId, out: ReplicaEffect<R>[]): void {
  const { me, config, limits, fillingSinceMs } = state;
  const mayReturn = config?.former?.some(({ node }) => node !== me.node) === true;
  if (!mayReturn || fillingSinceMs === undefined || limits.copyWaitMs === 0) {
    startCopy(state, from, out);
  } else if (!state.copying) {
    state.copyAtMs = Math.min(state.copyAtMs, fillingSinceMs + limits.copyWaitMs);
  }
}

export function startCopy<R>(state: ReplicaState, from: MemberId, out: ReplicaEffect<R>[]): void {
  if (state.copying || state.role !== "secondary" || isFull(state)) return;
  state.copying = true;
  state.cuttingAfter = undefined;
  out.push({ kind: "copy", from });
}

/** The log that a message is about; undefined while it may not be touched. */
export function logOf(state: ReplicaState, tail: boolean): FollowedLog | undefined {
  if (tail) return state.first;
  return state.copying ? undefined : state;
}

/** Entries up to here are settled: they are never cut. */
function floorOf(state: ReplicaState, log: FollowedLog): Lsn {
  return log === state ? state.shownLsn : makeLsn(log.tail.baseLsn);
}

function restartLog(log: FollowedLog, matchedLsn: Lsn): void {
  log.matchedLsn = matchedLsn;
  log.ackedLsn = makeLsn(0);
  log.ackDue = false;
}

function canAcknowledge(log: FollowedLog): Lsn {
  return log.matchedLsn < log.durableLsn ? log.matchedLsn : log.durableLsn;
}

function sendAck<R>(
  state: ReplicaState,
  log: FollowedLog,
  to: MemberId,
  out: ReplicaEffect<R>[],
): void {
  log.ackDue = false;
  const lsn = canAcknowledge(log);
  const hash = hashAt(log.tail, lsn);
  if (hash === undefined) return; // Below the applied entry: the primary knows that already.
  log.ackedLsn = lsn;
  const { epoch, fromInc, toInc, tail } = base(state, log);
  const mark = state.commitLsn;
  // Written out: with spreads this was a large part of what a secondary's protocol costs.
  const message = { kind: "ack", epoch, fromInc, toInc, tail, lsn, hash, mark } as const;
  out.push({ kind: "send", to, message });
}

/** False when the message does not join this log; then it was said so. */
function acceptPrevious<R>(
  state: ReplicaState,
  log: FollowedLog,
  from: MemberId,
  { prevLsn, prevHash }: Pick<Append<R>, "prevLsn" | "prevHash">,
  out: ReplicaEffect<R>[],
): boolean {
  if (prevLsn > tailEnd(log.tail)) {
    sendStatus(state, log, from, "gap", tailEnd(log.tail), out);
    return false;
  }
  return prevLsn < log.tail.baseLsn || checkJoin(state, log, from, prevLsn, prevHash, out);
}

/** Compares our entry `at` with the primary's. Equal ones prove everything below equal, too. */
function checkJoin<R>(
  state: ReplicaState,
  log: FollowedLog,
  from: MemberId,
  at: Lsn,
  hash: ChainHash,
  out: ReplicaEffect<R>[],
): boolean {
  if (hashAt(log.tail, at) === hash) {
    noteMatch(state, log, at, out);
    return true;
  }
  const floor = floorOf(state, log);
  if (at > floor) {
    sendStatus(state, log, from, "conflict", floor, out);
    return false;
  }
  out.push({ kind: "alarm", why: "damaged" });
  sendStatus(state, log, from, "damaged", floor, out);
  if (log === state) copyFrom(state, from, out);
  return false;
}

function acceptEntry<R>(
  state: ReplicaState,
  log: FollowedLog,
  from: MemberId,
  entry: WireEntry<R>,
  out: ReplicaEffect<R>[],
): boolean {
  const end = tailEnd(log.tail);
  if (entry.lsn < log.tail.baseLsn) return true;
  if (entry.lsn > end + 1) {
    sendStatus(state, log, from, "gap", end, out);
    return false;
  }
  if (entry.lsn <= end) {
    if (hashAt(log.tail, entry.lsn) === entry.hash) {
      noteMatch(state, log, entry.lsn, out);
      return true;
    }
    if (entry.lsn <= floorOf(state, log)) {
      return checkJoin(state, log, from, entry.lsn, entry.hash, out);
    }
  }
  const before = makeLsn(entry.lsn - 1);
  if (!checkJoin(state, log, from, before, entry.prevHash, out)) return false;
  if (entry.missing.length > 0) {
    const at = { kind: "needBlob", lsn: entry.lsn, blobs: entry.missing } as const;
    out.push({ kind: "send", to: from, message: { ...at, ...base(state, log) } });
    return false;
  }
  if (entry.lsn <= end) {
    if (log === state) {
      // Saved first, cut when that is durable; the primary sends the entries again then.
      state.cuttingAfter = before;
      out.push({ kind: "saveCut", afterLsn: before, endLsn: end });
      return false;
    }
    cutAfter(state, log, before, out);
  }
  pushHash(log.tail, entry.lsn, entry.hash);
  if (log === state && entry.epoch > state.endEpoch) state.endEpoch = entry.epoch;
  noteMatch(state, log, entry.lsn, out);
  out.push({ kind: "appendRaw", tail: log !== state, entry });
  return true;
}

/**
 * Our entry `at` equals the primary's. Whatever the tail-first log has else there is void: should the
 * two ever have to be made one, the tail-first log is the one to believe.
 */
function noteMatch<R>(
  state: ReplicaState,
  log: FollowedLog,
  at: Lsn,
  out: ReplicaEffect<R>[],
): void {
  if (at > log.matchedLsn) log.matchedLsn = at;
  const { first } = state;
  if (first === undefined || log !== state || state.graft !== undefined) return;
  let same = Math.min(at, tailEnd(first.tail));
  if (same <= first.tail.baseLsn || same < state.tail.baseLsn) return;
  if (hashAt(first.tail, makeLsn(same)) === hashAt(state.tail, makeLsn(same))) return;
  while (
    same > first.tail.baseLsn &&
    same >= state.tail.baseLsn &&
    hashAt(first.tail, makeLsn(same)) !== hashAt(state.tail, makeLsn(same))
  ) {
    same -= 1;
  }
  cutAfter(state, first, makeLsn(same), out);
}

/** Only a conflict cuts, and only above what is settled. */
function cutAfter<R>(
  state: ReplicaState,
  log: FollowedLog,
  after: Lsn,
  out: ReplicaEffect<R>[],
): void {
  assert(after >= floorOf(state, log), "a cut stays above what is settled");
  const endLsn = tailEnd(log.tail);
  cutTail(log.tail, after);
  if (log.durableLsn > after) log.durableLsn = after;
  if (log.matchedLsn > after) log.matchedLsn = after;
  if (log.ackedLsn > after) log.ackedLsn = after;
  const afterHash = endHash(log.tail);
  out.push({ kind: "cut", tail: log !== state, afterLsn: after, afterHash, endLsn });
}

function sendStatus<R>(
  state: ReplicaState,
  log: FollowedLog,
  to: MemberId,
  reason: Reason,
  lsn: Lsn,
  out: ReplicaEffect<R>[],
): void {
  if (state.role !== "secondary" || to === state.me.node) return;
  const hash = hashAt(log.tail, lsn);
  assert(hash !== undefined, "a status names an entry of the log");
  const at = { kind: "status", reason, lsn, hash } as const;
  out.push({ kind: "send", to, message: { ...at, ...base(state, log) } });
}

function base(state: ReplicaState, log: FollowedLog): MessageBase {
  assert(state.config !== undefined, "a secondary has a config");
  const { graft, inc: fromInc } = state;
  const tail = log !== state;
  if (graft !== undefined && !tail) return { epoch: graft.epoch, fromInc, toInc: graft.inc, tail };
  return { epoch: state.config.epoch, fromInc, toInc: state.primaryInc, tail };
}
