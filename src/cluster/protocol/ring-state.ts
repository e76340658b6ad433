// What a gateway remembers of the token ring, and the steps that all parts of the ring machine share.
// Holding and passing are in ring-hold.ts, joining and forming in ring-gather.ts, figures in ring-figures.ts.

import type { MemberId } from "../../mail/ids.ts";
import type {
  ReachReport,
  RingEffect,
  RingId,
  RingLoad,
  RingMessage,
  RingTimes,
} from "./ring-types.ts";

/** The token on its way to `to`. */
export interface Passing {
  readonly to: MemberId;
  readonly message: Extract<RingMessage, { kind: "token" }>;
  readonly sinceMs: number;
  sentMs: number;
}

export interface Gathering {
  readonly sinceMs: number;
  /** When the last one was found alive. */
  newMs: number;
  readonly alive: Set<MemberId>;
  /** A ring that works was heard of: it will take us in. */
  ringHeard: boolean;
  nextJoinMs: number;
}

export interface KeptLoad {
  readonly load: RingLoad;
  /** When its member took the figures, by our clock. */
  readonly takenMs: number;
  /** When it was last on a token that we saw; -Infinity: not yet. */
  sentMs: number;
}

/** Mutable inside stepRing, read-only to everyone else. */
export interface RingState {
  readonly me: MemberId;
  readonly boot: number;
  readonly times: RingTimes;
  /** Registered gateways but this one, with their incarnations. */
  gateways: ReadonlyMap<MemberId, number>;
  /** More gateways than a ring takes, and this one is among the rest. */
  out: boolean;
  phase: "idle" | "hold" | "sent" | "gather";
  ring: RingId;
  /** Ascending ids; empty before the first ring. */
  order: readonly MemberId[];
  /** Newest token seen of this ring. */
  seq: number;
  termSeen: number;
  holder: MemberId | undefined;
  holderPinned: boolean;
  /** Last sign of the token. */
  tokenMs: number;
  holdMs: number;
  pinnedMs: number | undefined;
  /** Pinned for too long: not again before the token has been round. */
  pinSpent: boolean;
  want: boolean;
  stalled: boolean;
  acting: boolean;
  passing: Passing | undefined;
  gathering: Gathering;
  nextKeepAliveMs: number;
  nextMergeMs: number;
  lastHoldMs: number | undefined;
  rotationMs: number | undefined;
  readonly heardMs: Map<MemberId, number>;
  /** Members that were on our ring and were left out, and when. */
  readonly left: Map<MemberId, { readonly atMs: number; readonly strikes: number }>;
  /** Gateways to take in when we hold the token: they hear us and we hear them. */
  readonly joiners: Set<MemberId>;
  readonly loads: Map<MemberId, KeptLoad>;
  readonly reach: Map<MemberId, ReachReport>;
  /** Our report of this number has gone on with the token of this ring; -1: none has. */
  reachToldSeq: number;
  tableRevision: number;
}

/** Left out twice within this time: there is something wrong with its path. */
const strikeMs = 20_000;

export function sameRing(a: RingId, b: RingId): boolean {
  return a.term === b.term && a.maker === b.maker;
}

/** True when `a` is later in the total order of rings. */
export function newerRing(a: RingId, b: RingId): boolean {
  return a.term > b.term || (a.term === b.term && a.maker > b.maker);
}

export function sendTo(out: RingEffect[], to: MemberId, message: RingMessage): void {
  out.push({ kind: "send", to, message });
}

/** True when something came from `member` within the time in which a token must come. */
export function hears(state: RingState, member: MemberId, nowMs: number): boolean {
  return nowMs - (state.heardMs.get(member) ?? -Infinity) < lostAfterMs(state);
}

/**
 * Without a sign of the token for so long it is lost: three rounds, or fewer in a large ring, so that
 * it too is whole again in a second.
 */
export function lostAfterMs(state: RingState): number {
  const { holdMs, hopAllowanceMs, lostMinMs, lostMaxMs, rankMs } = state.times;
  const rank = Math.max(0, state.order.indexOf(state.me));
  const roundMs = state.order.length * (holdMs + hopAllowanceMs);
  const quietMs = Math.max(Math.min(3 * roundMs, lostMaxMs), 1.5 * roundMs, lostMinMs);
  return quietMs + rank * rankMs;
}

/**
 * Goes by another ring: a token of the former one, if we have it, is void. Who was on the former one and
 * is not on this one was `leftOut` if this one was made for that; if it comes from elsewhere, or from a
 * gathering, nothing is wrong with them.
 */
export function adopt(
  state: RingState,
  ring: RingId,
  order: readonly MemberId[],
  leftOut: boolean,
  nowMs: number,
  out: RingEffect[],
): void {
  for (const member of leftOut ? state.order : []) {
    if (!order.includes(member)) noteLeft(state, member, nowMs);
  }
  for (const member of order) state.joiners.delete(member);
  for (const gateway of state.reach.keys()) {
    if (gateway !== state.me && !order.includes(gateway)) state.reach.delete(gateway);
  }
  const changed = order.join() !== state.order.join();
  state.ring = ring;
  state.order = order;
  state.seq = 0;
  state.termSeen = Math.max(state.termSeen, ring.term);
  state.phase = "idle";
  state.passing = undefined;
  state.holder = undefined;
  state.holderPinned = false;
  state.tokenMs = nowMs;
  state.lastHoldMs = undefined;
  state.pinnedMs = undefined;
  state.reachToldSeq = -1;
  if (changed) out.push({ kind: "order", order });
  settleActing(state, out);
}

function noteLeft(state: RingState, member: MemberId, nowMs: number): void {
  const last = state.left.get(member);
  const again = last !== undefined && nowMs - last.atMs < strikeMs;
  state.left.set(member, { atMs: nowMs, strikes: again ? last.strikes + 1 : 1 });
}

/** Says so when this gateway became, or no longer is, the acting manager. */
export function settleActing(state: RingState, out: RingEffect[]): void {
  const alone = state.order.length === 1;
  const acting =
    state.phase === "hold" && !state.stalled && (alone || state.pinnedMs !== undefined);
  if (acting === state.acting) return;
  state.acting = acting;
  out.push({ kind: "acting", acting });
}
