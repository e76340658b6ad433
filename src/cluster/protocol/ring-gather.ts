// How gateways find each other: after a start, when the token is lost, and when two rings meet. Those
// who hear each other gather, and the lowest of them forms the ring; a working ring takes in others.

import type { MemberId } from "../../mail/ids.ts";
import { answerOldRing, follows, makeRingOf } from "./ring-hold.ts";
import {
  adopt,
  hears,
  lostAfterMs,
  newerRing,
  sameRing,
  sendTo,
  settleActing,
} from "./ring-state.ts";
import type { RingState } from "./ring-state.ts";
import type { RingEffect, RingId, RingMessage } from "./ring-types.ts";

/** A ring that was heard of takes us in within so many quiet times, else we form one without it. */
const ringPatience = 10;
/** Without a ring after so many quiet times the gathering starts anew. */
const formPatience = 3;
/** Each time that one is left out its way back takes twice as long, up to so many times. */
const strikesMax = 3;

export function startGather(state: RingState, nowMs: number, out: RingEffect[]): void {
  state.phase = "gather";
  state.passing = undefined;
  state.holder = undefined;
  state.holderPinned = false;
  state.pinnedMs = undefined;
  state.gathering = {
    sinceMs: nowMs,
    newMs: nowMs,
    alive: new Set([state.me]),
    ringHeard: false,
    nextJoinMs: nowMs,
  };
  settleActing(state, out);
}

export function tickGather(state: RingState, nowMs: number, out: RingEffect[]): void {
  const { gathering, times, me } = state;
  if (nowMs >= gathering.nextJoinMs) {
    gathering.nextJoinMs = nowMs + times.joinEveryMs;
    for (const member of state.gateways.keys()) sendJoin(state, member, nowMs, out);
  }
  const quietMs = nowMs - gathering.newMs;
  if (quietMs < times.gatherMs) return;
  const patience = gathering.ringHeard ? ringPatience : 1;
  if (nowMs - gathering.sinceMs < patience * times.gatherMs) return;
  const [lowest] = [...gathering.alive].toSorted();
  if (lowest === me) makeRingOf(state, gathering.alive, nowMs, out);
  else if (quietMs >= formPatience * times.gatherMs) startGather(state, nowMs, out);
}

export function onJoin(
  state: RingState,
  from: MemberId,
  message: Extract<RingMessage, { kind: "join" }>,
  nowMs: number,
  out: RingEffect[],
): void {
  state.termSeen = Math.max(state.termSeen, message.ring.term);
  if (state.phase === "gather") {
    if (state.gathering.alive.has(from)) return;
    state.gathering.alive.add(from);
    state.gathering.newMs = nowMs;
    return;
  }
  const { order, ring } = state;
  if (!order.includes(from)) {
    // One that hears us is only waiting to be taken in: an answer would make it ask again at once.
    if (message.hearsYou) invite(state, from, nowMs);
    else answerOldRing(state, from, nowMs, out);
    return;
  }
  const lateMs = nowMs - state.tokenMs;
  if (state.phase === "idle" && lateMs > lostAfterMs(state) / 2) {
    startGather(state, nowMs, out);
    state.gathering.alive.add(from);
  } else if (newerRing(message.ring, ring)) {
    // It went by a newer ring and has lost that one: ours needs a newer name to be taken.
    if (state.phase === "hold") makeRingOf(state, order, nowMs, out);
  } else {
    sendTo(out, from, { kind: "form", ring, order });
  }
}

export function onForm(
  state: RingState,
  ring: RingId,
  order: readonly MemberId[],
  nowMs: number,
  out: RingEffect[],
): void {
  if (!order.includes(state.me)) return;
  if (newerRing(ring, state.ring)) {
    adopt(state, ring, order, follows(state, ring), nowMs, out);
  } else if (sameRing(ring, state.ring) && state.phase === "gather") {
    // False alarm: the token lives.
    state.phase = "idle";
    state.tokenMs = nowMs;
  }
}

export function onMerge(
  state: RingState,
  from: MemberId,
  message: Extract<RingMessage, { kind: "merge" }>,
  nowMs: number,
  out: RingEffect[],
): void {
  state.termSeen = Math.max(state.termSeen, message.ring.term);
  if (sameRing(message.ring, state.ring)) return;
  if (newerRing(state.ring, message.ring) && state.phase !== "gather") {
    answerOldRing(state, from, nowMs, out);
    if (message.hearsYou) invite(state, from, nowMs);
    return;
  }
  // The newer ring takes in the older one's members, one by one as they answer.
  if (state.phase !== "gather" && state.order.includes(from)) startGather(state, nowMs, out);
  if (state.phase === "gather") state.gathering.ringHeard = true;
  else sendJoin(state, from, nowMs, out);
}

function sendJoin(state: RingState, to: MemberId, nowMs: number, out: RingEffect[]): void {
  sendTo(out, to, { kind: "join", ring: state.ring, hearsYou: hears(state, to, nowMs) });
}

function invite(state: RingState, member: MemberId, nowMs: number): void {
  const left = state.left.get(member);
  const waitMs = state.times.rejoinMs * 2 ** Math.min(strikesMax, (left?.strikes ?? 1) - 1);
  if (left !== undefined && nowMs - left.atMs < waitMs) return;
  state.joiners.add(member);
}
