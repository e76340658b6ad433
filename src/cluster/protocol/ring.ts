// The token ring of gateways as a machine without I/O: IDLE, HOLD, SENT, GATHER. Who has the token and
// pinned it is the acting manager. Nothing about mail depends on the ring being right: two holders
// only try the same compare-and-set. Bytes, signatures and replays are pulse/'s.

import type { MemberId } from "../../mail/ids.ts";
import { unreachable } from "../../lib/assert.ts";
import { loadsNow, mergeLoad, mergeReach, onOwnReach } from "./ring-figures.ts";
import { onForm, onJoin, onMerge, startGather, tickGather } from "./ring-gather.ts";
import {
  holdEndMs,
  onHopAck,
  onPinned,
  onStalled,
  onToken,
  onWant,
  tickHold,
  tickSent,
} from "./ring-hold.ts";
import { lostAfterMs } from "./ring-state.ts";
import type { RingState } from "./ring-state.ts";
import { ringMembersMax, ringTimes } from "./ring-types.ts";
import type { RingEffect, RingEvent, RingMessage, RingTimes, RingView } from "./ring-types.ts";

/** A gateway that looks for others. `boot` is its incarnation. */
export function makeRing(
  me: MemberId,
  boot: number,
  nowMs: number,
  times: RingTimes = ringTimes,
): RingState {
  return {
    me,
    boot,
    times,
    gateways: new Map(),
    out: false,
    phase: "gather",
    ring: { term: 0, maker: me },
    order: [],
    seq: 0,
    termSeen: 0,
    holder: undefined,
    holderPinned: false,
    tokenMs: nowMs,
    holdMs: nowMs,
    pinnedMs: undefined,
    pinSpent: false,
    want: false,
    stalled: false,
    acting: false,
    passing: undefined,
    gathering: {
      sinceMs: nowMs,
      newMs: nowMs,
      alive: new Set([me]),
      ringHeard: false,
      nextJoinMs: nowMs,
    },
    nextKeepAliveMs: nowMs,
    nextMergeMs: nowMs,
    lastHoldMs: undefined,
    rotationMs: undefined,
    heardMs: new Map(),
    left: new Map(),
    joiners: new Set(),
    loads: new Map(),
    reach: new Map([[me, { gateway: me, boot, seq: 0, unreachable: [] }]]),
    reachToldSeq: -1,
    tableRevision: 0,
  };
}

/** When something is due; never later than the next sign of the token should come. */
export function nextRingMs(state: RingState): number {
  if (state.out) return Infinity;
  const { times } = state;
  switch (state.phase) {
    case "idle":
      return state.tokenMs + lostAfterMs(state);
    case "hold": {
      const { pinnedMs, nextMergeMs, nextKeepAliveMs } = state;
      const endMs = pinnedMs === undefined ? holdEndMs(state) : nextKeepAliveMs;
      return Math.min(endMs, nextMergeMs);
    }
    case "sent": {
      const { passing } = state;
      if (passing === undefined) return Infinity;
      return Math.min(passing.sentMs + times.resendMs, passing.sinceMs + times.hopMs);
    }
    case "gather":
      return state.gathering.nextJoinMs;
    default:
      return unreachable(state.phase);
  }
}

/** Takes one event: changes `state`, and appends to `out` what is to be done, in order. */
export function stepRing(state: RingState, event: RingEvent, out: RingEffect[]): void {
  switch (event.kind) {
    case "tick":
      return onTick(state, event.nowMs, out);
    case "message":
      return onMessage(state, event.from, event.message, event.nowMs, out);
    case "gateways":
      return onGateways(state, event.gateways, event.nowMs, out);
    case "want":
      return onWant(state, event.wanted, event.nowMs, out);
    case "stalled":
      return onStalled(state, event.stalled, event.nowMs, out);
    case "reach":
      return onOwnReach(state, event.unreachable, out);
    case "load":
      mergeLoad(state, event.load, 0, event.nowMs);
      return;
    case "tableRevision":
      state.tableRevision = Math.max(state.tableRevision, event.revision);
      return;
    default:
      return unreachable(event);
  }
}

/** What status and the manager's shell show of the ring. */
export function ringView(state: RingState, nowMs: number): RingView {
  const { ring, order, holder, holderPinned, rotationMs, acting, tableRevision } = state;
  const reporters = order.includes(state.me) ? order : [state.me];
  return {
    ring,
    order,
    holder,
    pinned: holderPinned || state.pinnedMs !== undefined,
    rotationMs,
    acting,
    tableRevision,
    reach: reporters.flatMap((member) => state.reach.get(member) ?? []),
    loads: loadsNow(state, nowMs),
  };
}

function onTick(state: RingState, nowMs: number, out: RingEffect[]): void {
  if (state.out) return;
  if (state.phase === "hold") tickHold(state, nowMs, out);
  else if (state.phase === "sent") tickSent(state, nowMs, out);
  else if (state.phase === "gather") tickGather(state, nowMs, out);
  else if (nowMs >= state.tokenMs + lostAfterMs(state)) {
    startGather(state, nowMs, out);
    tickGather(state, nowMs, out);
  }
}

function onMessage(
  state: RingState,
  from: MemberId,
  message: RingMessage,
  nowMs: number,
  out: RingEffect[],
): void {
  if (state.out || !state.gateways.has(from)) return;
  state.heardMs.set(from, nowMs);
  switch (message.kind) {
    case "token":
      return onToken(state, from, message, nowMs, out);
    case "hopAck":
      return onHopAck(state, from, message.ring, message.seq);
    case "pinned":
      return onPinned(state, from, message.ring, message.seq, nowMs, out);
    case "reach":
      if (message.report.gateway === from) mergeReach(state, message.report, out);
      return;
    case "join":
      return onJoin(state, from, message, nowMs, out);
    case "form":
      return onForm(state, message.ring, message.order, nowMs, out);
    case "merge":
      return onMerge(state, from, message, nowMs, out);
    default:
      return unreachable(message);
  }
}

function onGateways(
  state: RingState,
  gateways: readonly { readonly member: MemberId; readonly boot: number }[],
  nowMs: number,
  out: RingEffect[],
): void {
  const others = gateways.filter(({ member }) => member !== state.me);
  const first = [...others.map(({ member }) => member), state.me]
    .toSorted()
    .slice(0, ringMembersMax);
  for (const { member, boot } of others) {
    // A new start of it: what was wrong with its path may be over.
    if (state.gateways.get(member) !== boot) state.left.delete(member);
  }
  const was = state.out;
  state.out = !first.includes(state.me);
  state.gateways = new Map(
    others
      .filter(({ member }) => first.includes(member))
      .map(({ member, boot }) => [member, boot] as const),
  );
  for (const member of state.heardMs.keys()) {
    if (!state.gateways.has(member)) state.heardMs.delete(member);
  }
  for (const [gateway, { boot }] of state.reach) {
    if (gateway !== state.me && state.gateways.get(gateway) !== boot) state.reach.delete(gateway);
  }
  for (const member of state.left.keys()) {
    if (!state.gateways.has(member)) state.left.delete(member);
  }
  // Outside, or in again: the former ring goes on without us, or takes us in.
  if (state.out !== was) startGather(state, nowMs, out);
}
