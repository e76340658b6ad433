// The secondary's half of the replica: which records it takes into its log, when it acknowledges
// them and what it applies. cluster.md "Secondary". Events are dispatched by replica.ts.

import { lsn as makeLsn } from "../../mail/ids.ts";
import type { Lsn, MemberId } from "../../mail/ids.ts";
import { assert } from "../../lib/assert.ts";
import { cutTail, endHash, hashAt, pushHash, tailEnd } from "./hash-tail.ts";
import type { ChainHash } from "./hash-tail.ts";
import type {
  MessageBase,
  ReplicaEffect,
  ReplicaMessage,
  ReplicaState,
  WireEntry,
} from "./replica-types.ts";

type Append<R> = Extract<ReplicaMessage<R>, { kind: "append" }>;
type Reason = Extract<ReplicaMessage<unknown>, { kind: "status" }>["reason"];

/** A new primary, or a new life of it: nothing above the applied entry is known to equal its log. */
export function startSecondary(state: ReplicaState): void {
  state.primaryInc = 0;
  state.matchedLsn = state.commitLsn;
  state.heardMark = state.commitLsn;
  state.ackedLsn = makeLsn(0);
  state.ackDue = false;
}

export function onProbe<R>(state: ReplicaState, from: MemberId, out: ReplicaEffect<R>[]): void {
  sendStatus(state, from, "probe", tailEnd(state.tail), out);
}

/** Our way to the primary is back: what we said meanwhile did not arrive. */
export function onPrimaryUp<R>(state: ReplicaState, node: MemberId, out: ReplicaEffect<R>[]): void {
  if (node !== state.config?.primary.node || state.primaryInc === 0) return;
  state.ackDue = true;
  sendStatus(state, node, "probe", tailEnd(state.tail), out);
}

/** The log refused entries that were taken: as if they had been lost on the way. */
export function onNotLogged(state: ReplicaState, lsn: Lsn): void {
  assert(lsn > state.commitLsn, "what is not logged is not committed");
  cutTail(state.tail, makeLsn(lsn - 1));
  if (state.matchedLsn >= lsn) state.matchedLsn = makeLsn(lsn - 1);
}

/** Takes the entries that continue this copy's log, and the commit mark. */
export function onAppend<R>(
  state: ReplicaState,
  from: MemberId,
  message: Append<R>,
  out: ReplicaEffect<R>[],
): void {
  if (message.mark > state.heardMark) state.heardMark = message.mark;
  let ok = acceptPrevious(state, from, message, out);
  if (ok) for (const entry of message.entries) if (ok) ok = acceptEntry(state, from, entry, out);
  state.ackDue = true;
  advanceMark(state, out);
}

/** Commits what the primary said is committed, as far as this disk holds the same entries. */
export function advanceMark<R>(state: ReplicaState, out: ReplicaEffect<R>[]): void {
  if (canAcknowledge(state) > state.ackedLsn) state.ackDue = true;
  const through = makeLsn(Math.min(state.heardMark, state.matchedLsn, state.durableLsn));
  if (through <= state.commitLsn) return;
  const fromLsn = makeLsn(state.commitLsn + 1);
  state.commitLsn = through;
  out.push({ kind: "commit", fromLsn, throughLsn: through });
}

/** Sends the acknowledgement that is due: one for everything since the last flush. */
export function flushAck<R>(state: ReplicaState, out: ReplicaEffect<R>[]): void {
  if (!state.ackDue || state.config === undefined || state.primaryInc === 0) return;
  // The config is fsynced before anything of its epoch is acknowledged.
  if (state.configDurableEpoch < state.config.epoch) return;
  state.ackDue = false;
  const lsn = canAcknowledge(state);
  const hash = hashAt(state.tail, lsn);
  if (hash === undefined) return; // Below the applied entry: the primary knows that already.
  state.ackedLsn = lsn;
  const message = { ...base(state), kind: "ack", lsn, hash, mark: state.commitLsn } as const;
  out.push({ kind: "send", to: state.config.primary.node, message });
}

function canAcknowledge(state: ReplicaState): Lsn {
  return makeLsn(Math.min(state.matchedLsn, state.durableLsn));
}

/** False when the message does not join this copy's log; then it was said so. */
function acceptPrevious<R>(
  state: ReplicaState,
  from: MemberId,
  message: Append<R>,
  out: ReplicaEffect<R>[],
): boolean {
  const { prevLsn, prevHash } = message;
  if (prevLsn > tailEnd(state.tail)) {
    sendStatus(state, from, "gap", tailEnd(state.tail), out);
    return false;
  }
  return prevLsn < state.tail.baseLsn || checkJoin(state, from, prevLsn, prevHash, out);
}

/** Compares our entry `at` with the primary's. Equal ones prove everything below equal, too. */
function checkJoin<R>(
  state: ReplicaState,
  from: MemberId,
  at: Lsn,
  hash: ChainHash,
  out: ReplicaEffect<R>[],
): boolean {
  if (hashAt(state.tail, at) === hash) {
    if (at > state.matchedLsn) state.matchedLsn = at;
    return true;
  }
  if (at <= state.commitLsn) {
    out.push({ kind: "alarm", why: "damaged" });
    sendStatus(state, from, "damaged", state.commitLsn, out);
  } else {
    sendStatus(state, from, "conflict", state.commitLsn, out);
  }
  return false;
}

function acceptEntry<R>(
  state: ReplicaState,
  from: MemberId,
  entry: WireEntry<R>,
  out: ReplicaEffect<R>[],
): boolean {
  const end = tailEnd(state.tail);
  if (entry.lsn < state.tail.baseLsn) return true;
  if (entry.lsn > end + 1) {
    sendStatus(state, from, "gap", end, out);
    return false;
  }
  if (entry.lsn <= end) {
    if (hashAt(state.tail, entry.lsn) === entry.hash) {
      if (entry.lsn > state.matchedLsn) state.matchedLsn = entry.lsn;
      return true;
    }
    if (entry.lsn <= state.commitLsn) return checkJoin(state, from, entry.lsn, entry.hash, out);
  }
  const before = makeLsn(entry.lsn - 1);
  if (!checkJoin(state, from, before, entry.prevHash, out)) return false;
  if (entry.missing.length > 0) {
    const message = { ...base(state), kind: "needBlob", lsn: entry.lsn, blobs: entry.missing };
    out.push({ kind: "send", to: from, message: { ...message, kind: "needBlob" } });
    return false;
  }
  if (entry.lsn <= end) cutAfter(state, before, out);
  pushHash(state.tail, entry.lsn, entry.hash);
  if (entry.epoch > state.endEpoch) state.endEpoch = entry.epoch;
  state.matchedLsn = entry.lsn;
  out.push({ kind: "appendRaw", entry });
  return true;
}

/** Only a conflict cuts, and only above what is committed. */
function cutAfter<R>(state: ReplicaState, after: Lsn, out: ReplicaEffect<R>[]): void {
  assert(after >= state.commitLsn, "a cut stays above the commit mark");
  const endLsn = tailEnd(state.tail);
  cutTail(state.tail, after);
  if (state.durableLsn > after) state.durableLsn = after;
  if (state.matchedLsn > after) state.matchedLsn = after;
  if (state.ackedLsn > after) state.ackedLsn = after;
  out.push({ kind: "cut", afterLsn: after, afterHash: endHash(state.tail), endLsn });
}

function sendStatus<R>(
  state: ReplicaState,
  to: MemberId,
  reason: Reason,
  lsn: Lsn,
  out: ReplicaEffect<R>[],
): void {
  const hash = hashAt(state.tail, lsn);
  assert(hash !== undefined, "a status names an entry of the tail");
  out.push({ kind: "send", to, message: { ...base(state), kind: "status", reason, lsn, hash } });
}

function base(state: ReplicaState): MessageBase {
  assert(state.config !== undefined, "a secondary has a config");
  return { epoch: state.config.epoch, fromInc: state.inc, toInc: state.primaryInc };
}
