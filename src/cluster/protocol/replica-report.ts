// What a copy says about itself to managers and operators. Pure readings of the state; when a report
// is due is replica.ts's, how it travels node/'s.

import { epoch as makeEpoch, lsn as makeLsn } from "../../mail/ids.ts";
import { endHash, hashAt, tailEnd } from "./hash-tail.ts";
import { assert } from "../../lib/assert.ts";
import type { Position, SealAnswer, SealedTail } from "./manager-types.ts";
import type { Graft, ReplicaState } from "./replica-state.ts";

/** True when the table calls this copy full (a primary always is). */
export function isFull(state: Readonly<ReplicaState>): boolean {
  const { config, me } = state;
  if (state.role === "primary") return true;
  return config?.secondaries.find((one) => one.node === me.node)?.full === true;
}

/**
 * Where this copy's log ends; for one that is not full the end of its tail, if that is further, or if
 * its own log is void.
 */
export function positionOf(state: Readonly<ReplicaState>): Position {
  const { first, tail, commitLsn } = state;
  const markHash = hashAt(tail, commitLsn);
  assert(markHash !== undefined, "the commit mark lies within the tail");
  const isVoid = state.copying || state.damaged;
  const isOwn = first === undefined || (!isVoid && tailEnd(first.tail) <= tailEnd(tail));
  const log = isOwn ? tail : first.tail;
  return { lastLsn: tailEnd(log), lastHash: endHash(log), commitMark: commitLsn, markHash };
}

/** Answer to a `sealed` effect. A copy that its own tail has made whole is as good as a full one. */
export function sealAnswerOf(state: Readonly<ReplicaState>): SealAnswer {
  const epoch = makeEpoch(state.sealedEpoch);
  const full = isFull(state) || isComplete(state);
  const logEpoch = makeEpoch(state.endEpoch);
  return { kind: "sealed", epoch, full, logEpoch, tail: sealedTail(state), ...positionOf(state) };
}

/** The tail goes on in this copy's own log where that has taken over from it. */
function sealedTail(state: Readonly<ReplicaState>): SealedTail | null {
  const { first, config, me } = state;
  const { fromLsn, anchorHash } = config?.secondaries.find((one) => one.node === me.node) ?? {};
  if (first === undefined || fromLsn === undefined || anchorHash === undefined) return null;
  const log = isComplete(state) ? state.tail : first.tail;
  return { fromLsn, anchorHash, lastLsn: tailEnd(log), lastHash: endHash(log) };
}

/** True when own log and tail together hold everything that was acknowledged here. */
export function isComplete(state: Readonly<ReplicaState>): boolean {
  const { first } = state;
  if (first === undefined || state.copying || state.damaged || !joinsTail(state)) return false;
  return holds(state, { throughLsn: tailEnd(first.tail), throughHash: endHash(first.tail) });
}

/** True when the own log has this entry, or all up to it is settled. */
export function holds(
  state: Readonly<ReplicaState>,
  { throughLsn, throughHash }: Pick<Graft, "throughLsn" | "throughHash">,
): boolean {
  return throughLsn < state.tail.baseLsn || hashAt(state.tail, throughLsn) === throughHash;
}

/** True when the own log has the entry that the tail-first log begins behind. */
export function joinsTail({ first, tail }: Readonly<ReplicaState>): boolean {
  if (first === undefined) return false;
  const at = makeLsn(first.tail.baseLsn);
  return at < tail.baseLsn || hashAt(tail, at) === hashAt(first.tail, at);
}
