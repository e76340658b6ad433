// Holding the token and passing it on: at most one gateway of a ring has it, as the ring's id and the
// token's number only grow. A successor that does not take it is left out by a new ring.

import type { MemberId } from "../../mail/ids.ts";
import { chooseCarried, mergeCarried } from "./ring-figures.ts";
import { adopt, hears, newerRing, sameRing, sendTo, settleActing } from "./ring-state.ts";
import type { RingState } from "./ring-state.ts";
import { livesPerTerm, ringMembersMax } from "./ring-types.ts";
import type { RingEffect, RingId, RingMessage } from "./ring-types.ts";

type TokenMessage = Extract<RingMessage, { kind: "token" }>;

export function onToken(
  state: RingState,
  from: MemberId,
  message: TokenMessage,
  nowMs: number,
  out: RingEffect[],
): void {
  const { ring, seq, order } = message;
  if (!order.includes(state.me)) return;
  if (sameRing(ring, state.ring)) {
    // One that we have had: its sender missed our answer.
    if (seq <= state.seq) return sendTo(out, from, { kind: "hopAck", ring, seq });
  } else {
    if (!newerRing(ring, state.ring)) return answerOldRing(state, from, nowMs, out);
    adopt(state, ring, order, follows(state, ring), nowMs, out);
  }
  sendTo(out, from, { kind: "hopAck", ring, seq });
  mergeCarried(state, message.loads, message.reach, nowMs, out);
  state.tableRevision = Math.max(state.tableRevision, message.tableRevision);
  state.seq = seq;
  state.passing = undefined;
  startHold(state, nowMs, out);
}

/** Someone goes by a ring that is over: it learns of ours, and joins it. */
export function answerOldRing(
  state: RingState,
  to: MemberId,
  nowMs: number,
  out: RingEffect[],
): void {
  const { ring, order } = state;
  if (state.phase === "gather" || order.length === 0) return;
  if (order.includes(to)) sendTo(out, to, { kind: "form", ring, order });
  else sendTo(out, to, { kind: "merge", ring, order, hearsYou: hears(state, to, nowMs) });
}

export function onHopAck(state: RingState, from: MemberId, ring: RingId, seq: number): void {
  const { passing } = state;
  if (state.phase !== "sent" || passing === undefined || passing.to !== from) return;
  if (!sameRing(ring, state.ring) || seq !== passing.message.seq) return;
  state.phase = "idle";
  state.passing = undefined;
}

/** A pinned token is where its holder says: it is not lost. */
export function onPinned(
  state: RingState,
  from: MemberId,
  ring: RingId,
  seq: number,
  nowMs: number,
  out: RingEffect[],
): void {
  if (!sameRing(ring, state.ring)) {
    if (newerRing(state.ring, ring)) return answerOldRing(state, from, nowMs, out);
    return sendTo(out, from, { kind: "join", ring: state.ring, hearsYou: true });
  }
  if (seq < state.seq || state.phase === "hold") return;
  // While it stays there no token brings our news: a second failure must not wait for the first one's end.
  const report = state.reach.get(state.me);
  if (report !== undefined && report.seq > state.reachToldSeq) {
    sendTo(out, from, { kind: "reach", report });
  }
  state.seq = seq;
  state.tokenMs = nowMs;
  state.holder = from;
  state.holderPinned = true;
  state.passing = undefined;
  state.phase = "idle";
}

/** True when a member of our ring, which works, made the other one out of it. */
export function follows(state: RingState, ring: RingId): boolean {
  return state.phase !== "gather" && state.order.includes(ring.maker);
}

/** Makes a ring of these members, with an id that nobody has seen, and its token. */
export function makeRingOf(
  state: RingState,
  members: Iterable<MemberId>,
  nowMs: number,
  out: RingEffect[],
  leftOut = false,
): void {
  const order = [...new Set([...members, state.me])].toSorted().slice(0, ringMembersMax);
  const ring = { term: nextTerm(state), maker: state.me };
  adopt(state, ring, order, leftOut, nowMs, out);
  for (const member of order) {
    if (member !== state.me) sendTo(out, member, { kind: "form", ring, order });
  }
  startHold(state, nowMs, out);
}

/** Above all that were seen, and none that another life of this gateway gives. */
function nextTerm({ termSeen, ring, boot }: RingState): number {
  const rounds = Math.floor(Math.max(termSeen, ring.term) / livesPerTerm);
  return (rounds + 1) * livesPerTerm + (boot % livesPerTerm);
}

export function startHold(state: RingState, nowMs: number, out: RingEffect[]): void {
  state.phase = "hold";
  state.holder = state.me;
  state.tokenMs = nowMs;
  state.holdMs = nowMs;
  state.nextKeepAliveMs = nowMs;
  if (state.lastHoldMs !== undefined) state.rotationMs = nowMs - state.lastHoldMs;
  state.lastHoldMs = nowMs;
  state.pinnedMs = undefined;
  state.pinSpent = false;
  pinIfWanted(state, nowMs);
  settleActing(state, out);
}

/** The main thread has work for a manager, or no more. */
export function onWant(state: RingState, wanted: boolean, nowMs: number, out: RingEffect[]): void {
  state.want = wanted;
  if (state.phase !== "hold") return;
  if (!wanted) state.pinnedMs = undefined;
  pinIfWanted(state, nowMs);
  settleActing(state, out);
}

export function onStalled(
  state: RingState,
  stalled: boolean,
  nowMs: number,
  out: RingEffect[],
): void {
  state.stalled = stalled;
  if (state.phase === "hold") {
    if (stalled) state.pinnedMs = undefined;
    pinIfWanted(state, nowMs);
  }
  settleActing(state, out);
}

export function tickHold(state: RingState, nowMs: number, out: RingEffect[]): void {
  const { pinMaxMs, keepAliveMs, mergeEveryMs } = state.times;
  if (nowMs >= state.nextMergeMs) {
    state.nextMergeMs = nowMs + mergeEveryMs;
    callOthers(state, nowMs, out);
  }
  if (state.pinnedMs !== undefined && nowMs - state.pinnedMs >= pinMaxMs) {
    state.pinnedMs = undefined;
    state.pinSpent = true;
    settleActing(state, out);
  }
  state.holderPinned = state.pinnedMs !== undefined;
  if (state.pinnedMs === undefined) {
    if (nowMs >= holdEndMs(state)) pass(state, nowMs, out);
    return;
  }
  if (nowMs < state.nextKeepAliveMs) return;
  state.nextKeepAliveMs = nowMs + keepAliveMs;
  const { ring, seq } = state;
  for (const member of state.order) {
    if (member !== state.me) sendTo(out, member, { kind: "pinned", ring, seq });
  }
}

/** When a token that is not pinned goes on. A ring of one has nobody who waits for it. */
export function holdEndMs(state: RingState): number {
  const { holdMs, mergeEveryMs } = state.times;
  return state.holdMs + (state.order.length === 1 ? mergeEveryMs : holdMs);
}

export function tickSent(state: RingState, nowMs: number, out: RingEffect[]): void {
  const { passing } = state;
  if (passing === undefined) return;
  if (nowMs >= passing.sinceMs + state.times.hopMs) {
    out.push({ kind: "skipped", member: passing.to });
    // Whoever has the token of this ring now can't pass it on: the others go by the new one.
    const rest = state.order.filter((member) => member !== passing.to);
    makeRingOf(state, rest, nowMs, out, true);
  } else if (nowMs >= passing.sentMs + state.times.resendMs) {
    passing.sentMs = nowMs;
    sendTo(out, passing.to, passing.message);
  }
}

function pinIfWanted(state: RingState, nowMs: number): void {
  if (!state.want || state.stalled || state.pinSpent || state.order.length === 1) return;
  state.pinnedMs ??= nowMs;
}

/** Ends holding: first takes in who waits at the door, and leaves out who is no longer registered. */
function pass(state: RingState, nowMs: number, out: RingEffect[]): void {
  const { me, gateways } = state;
  const stay = state.order.filter((member) => member === me || gateways.has(member));
  const fresh = [...state.joiners].filter((member) => gateways.has(member));
  state.joiners.clear();
  if (stay.length < state.order.length || fresh.some((member) => !stay.includes(member))) {
    return makeRingOf(state, [...stay, ...fresh], nowMs, out);
  }
  const { order, ring } = state;
  state.seq += 1;
  const to = order[(order.indexOf(me) + 1) % order.length];
  if (to === undefined || to === me) return startHold(state, nowMs, out);
  const { seq, tableRevision } = state;
  const carried = chooseCarried(state, order, nowMs);
  state.reachToldSeq = state.reach.get(me)?.seq ?? -1;
  const message = { kind: "token", ring, seq, order, tableRevision, ...carried } as const;
  state.phase = "sent";
  state.pinnedMs = undefined;
  state.holderPinned = false;
  state.holder = to;
  state.tokenMs = nowMs;
  state.passing = { to, message, sinceMs: nowMs, sentMs: nowMs };
  settleActing(state, out);
  sendTo(out, to, message);
}

function callOthers(state: RingState, nowMs: number, out: RingEffect[]): void {
  const { ring, order } = state;
  for (const member of state.gateways.keys()) {
    if (order.includes(member)) continue;
    sendTo(out, member, { kind: "merge", ring, order, hearsYou: hears(state, member, nowMs) });
  }
}
