// Heartbeats and leases as a machine without I/O. A primary's lease of a shard begins with the
// *sending* of the heartbeat that the secondary acknowledged for exactly that epoch; the secondary
// notes when it granted. What serving makes of leases is replica.ts's; deadlines are the caller's.

import type { Epoch, MemberId, ShardId } from "../../mail/ids.ts";
import { unreachable } from "../../lib/assert.ts";
import { heartbeatTimes, noVitals, pairsMax } from "./heartbeat-types.ts";
import type {
  Grant,
  HeartbeatEffect,
  HeartbeatEvent,
  HeartbeatMessage,
  HeartbeatTimes,
  Hold,
  ShardEpoch,
  Vitals,
} from "./heartbeat-types.ts";

/** A heartbeat that is not answered yet. */
interface Flight {
  readonly seq: number;
  readonly sentMs: number;
  readonly pairs: readonly ShardEpoch[];
}

interface Partner {
  readonly member: MemberId;
  readonly sinceMs: number;
  heardMs: number | undefined;
  /** Send time of the newest heartbeat that it answered; while it is new to us, since when that is. */
  answeredMs: number;
  /** Told as silent. A new partner is neither: `undefined`. */
  silent: boolean | undefined;
  nextBeatMs: number;
  flights: Flight[];
}

interface Held {
  readonly hold: Hold;
  readonly sinceMs: number;
  readonly starts: Map<MemberId, number>;
}

/** Mutable inside stepHeartbeat, read-only to everyone else. */
export interface HeartbeatState {
  readonly me: MemberId;
  readonly times: HeartbeatTimes;
  vitals: Vitals;
  seq: number;
  watched: readonly MemberId[];
  readonly grants: Map<ShardId, Grant>;
  readonly revoked: Map<ShardId, Epoch>;
  readonly grantedMs: Map<ShardId, number>;
  readonly holds: Map<ShardId, Held>;
  readonly partners: Map<MemberId, Partner>;
  lastTickMs: number;
  /** Silence counts from here: before it we ourselves slept. */
  awakeMs: number;
}

/** A refused heartbeat of a fresh hold is repeated so soon: the secondary may read the table later. */
const refusedRetryMs = 20;
const freshHoldMs = 1000;
/** Heartbeats that are due so soon go with those that are due now: the thread wakes less often. */
const earlyMs = 10;
/**
 * Once a heartbeat has gone unanswered the next ones follow so much faster, until one comes through or
 * the member counts as silent: with 30 % of all datagrams lost leases still live for hours.
 */
const fasterAfterLoss = 5;
/** So many leases' time without an acknowledgement and a lease is forgotten altogether. */
const forgetLeases = 10;

/** A machine that knows nobody, grants nothing and holds nothing. */
export function makeHeartbeat(
  me: MemberId,
  nowMs: number,
  times: HeartbeatTimes = heartbeatTimes,
): HeartbeatState {
  return {
    me,
    times,
    vitals: noVitals,
    seq: 0,
    watched: [],
    grants: new Map(),
    revoked: new Map(),
    grantedMs: new Map(),
    holds: new Map(),
    partners: new Map(),
    lastTickMs: nowMs,
    awakeMs: nowMs,
  };
}

/** When the next heartbeat is due; Infinity when nobody gets one. */
export function nextBeatMs(state: HeartbeatState): number {
  let next = Infinity;
  for (const partner of state.partners.values()) next = Math.min(next, partner.nextBeatMs);
  return next;
}

/** Send time of the newest heartbeat that `node` acknowledged for the epoch held; -Infinity: none. */
export function leaseStartOf(state: HeartbeatState, shard: ShardId, node: MemberId): number {
  return state.holds.get(shard)?.starts.get(node) ?? -Infinity;
}

/** When something last came from a partner; undefined: never, or it is none. */
export function heardMsOf(state: HeartbeatState, member: MemberId): number | undefined {
  return state.partners.get(member)?.heardMs;
}

/** Partners that are silent now. */
export function silentPartners(state: HeartbeatState): readonly MemberId[] {
  return [...state.partners.values()].filter(({ silent }) => silent === true).map((p) => p.member);
}

/** Takes one event: changes `state`, and appends to `out` what is to be done, in order. */
export function stepHeartbeat(
  state: HeartbeatState,
  event: HeartbeatEvent,
  out: HeartbeatEffect[],
): void {
  switch (event.kind) {
    case "tick":
      return onTick(state, event.nowMs, out);
    case "message":
      return onMessage(state, event.from, event.message, event.nowMs, out);
    case "heard":
      return noteHeard(state, event.from, event.nowMs, out);
    case "watch":
      state.watched = event.members;
      return findPartners(state, event.nowMs);
    case "grant":
      return onGrant(state, event.shard, event.grant, event.nowMs);
    case "hold":
      return onHold(state, event.shard, event.hold, event.nowMs);
    case "revoke":
      return onRevoke(state, event.shard, event.epoch, event.nowMs, out);
    case "vitals":
      state.vitals = event.vitals;
      return;
    case "clockJump":
      return onClockJump(state, event.nowMs, out);
    default:
      return unreachable(event);
  }
}

function onTick(state: HeartbeatState, nowMs: number, out: HeartbeatEffect[]): void {
  // After a sleep of our own, what came meanwhile is still unread: nobody is silent yet.
  if (nowMs - state.lastTickMs > 2 * state.times.heartbeatMs) state.awakeMs = nowMs;
  state.lastTickMs = nowMs;
  for (const partner of state.partners.values()) {
    if (nowMs + earlyMs >= partner.nextBeatMs) beat(state, partner, nowMs, out);
    if (partner.silent === true) continue;
    const from = Math.max(partner.heardMs ?? partner.sinceMs, state.awakeMs);
    if (nowMs - from < state.times.suspectMs) continue;
    partner.silent = true;
    out.push({ kind: "silent", member: partner.member, heardMs: partner.heardMs });
  }
}

function beat(
  state: HeartbeatState,
  partner: Partner,
  nowMs: number,
  out: HeartbeatEffect[],
): void {
  const { member } = partner;
  partner.nextBeatMs = nowMs + pauseMs(state, partner, nowMs);
  partner.flights = partner.flights.filter(({ sentMs }) => nowMs - sentMs < state.times.leaseMs);
  const pairs: ShardEpoch[] = [];
  for (const [shard, { hold, starts }] of state.holds) {
    if (!hold.secondaries.includes(member)) continue;
    pairs.push({ shard, epoch: hold.epoch });
    const startMs = starts.get(member);
    if (startMs === undefined || nowMs - startMs < forgetLeases * state.times.leaseMs) continue;
    starts.delete(member);
    out.push({ kind: "lease", shard, epoch: hold.epoch, node: member, startMs: undefined });
  }
  for (let at = 0; at === 0 || at < pairs.length; at += pairsMax) {
    const some = pairs.slice(at, at + pairsMax);
    state.seq += 1;
    partner.flights.push({ seq: state.seq, sentMs: nowMs, pairs: some });
    const { vitals, seq } = state;
    out.push({ kind: "send", to: member, message: { kind: "beat", seq, vitals, pairs: some } });
  }
}

function pauseMs({ times }: HeartbeatState, partner: Partner, nowMs: number): number {
  const isLost = nowMs - partner.answeredMs > 1.5 * times.heartbeatMs;
  const hasHope = nowMs - (partner.heardMs ?? partner.sinceMs) < times.suspectMs;
  return isLost && hasHope ? times.heartbeatMs / fasterAfterLoss : times.heartbeatMs;
}

function onMessage(
  state: HeartbeatState,
  from: MemberId,
  message: HeartbeatMessage,
  nowMs: number,
  out: HeartbeatEffect[],
): void {
  noteHeard(state, from, nowMs, out);
  out.push({ kind: "vitals", member: from, vitals: message.vitals });
  if (message.kind === "beat") onBeat(state, from, message, nowMs, out);
  else onBeatAck(state, from, message, nowMs, out);
}

function onBeat(
  state: HeartbeatState,
  from: MemberId,
  { seq, pairs }: Extract<HeartbeatMessage, { kind: "beat" }>,
  nowMs: number,
  out: HeartbeatEffect[],
): void {
  const refused: ShardId[] = [];
  for (const { shard, epoch } of pairs) {
    const grant = state.grants.get(shard);
    if (grant === undefined || grant.epoch !== epoch || grant.primary !== from) {
      refused.push(shard);
      continue;
    }
    state.grantedMs.set(shard, nowMs);
    out.push({ kind: "granted", shard, nowMs });
  }
  const message = { kind: "beatAck", seq, vitals: state.vitals, refused } as const;
  out.push({ kind: "send", to: from, message });
}

function onBeatAck(
  state: HeartbeatState,
  from: MemberId,
  { seq, refused }: Extract<HeartbeatMessage, { kind: "beatAck" }>,
  nowMs: number,
  out: HeartbeatEffect[],
): void {
  const partner = state.partners.get(from);
  const flight = partner?.flights.find((one) => one.seq === seq);
  if (partner === undefined || flight === undefined) return;
  partner.flights = partner.flights.filter((one) => one !== flight);
  partner.answeredMs = Math.max(partner.answeredMs, flight.sentMs);
  for (const { shard, epoch } of flight.pairs) {
    const held = state.holds.get(shard);
    // Since the heartbeat left the shard may have got another epoch or another secondary.
    if (held === undefined || held.hold.epoch !== epoch) continue;
    if (!held.hold.secondaries.includes(from)) continue;
    if (refused.includes(shard)) {
      if (nowMs - held.sinceMs > freshHoldMs) continue;
      partner.nextBeatMs = Math.min(partner.nextBeatMs, nowMs + refusedRetryMs);
    } else if (flight.sentMs > (held.starts.get(from) ?? -Infinity)) {
      held.starts.set(from, flight.sentMs);
      out.push({ kind: "lease", shard, epoch, node: from, startMs: flight.sentMs });
    }
  }
}

function noteHeard(
  state: HeartbeatState,
  from: MemberId,
  nowMs: number,
  out: HeartbeatEffect[],
): void {
  const partner = state.partners.get(from);
  if (partner === undefined) return;
  partner.heardMs = nowMs;
  if (partner.silent === false) return;
  partner.silent = false;
  out.push({ kind: "heard", member: from, nowMs });
}

function onGrant(
  state: HeartbeatState,
  shard: ShardId,
  grant: Grant | undefined,
  nowMs: number,
): void {
  if (grant === undefined) state.grants.delete(shard);
  else if (grant.epoch <= (state.revoked.get(shard) ?? -1)) return;
  else state.grants.set(shard, grant);
  findPartners(state, nowMs);
}

function onHold(
  state: HeartbeatState,
  shard: ShardId,
  hold: Hold | undefined,
  nowMs: number,
): void {
  const old = state.holds.get(shard);
  if (hold === undefined) {
    state.holds.delete(shard);
  } else {
    const same = old !== undefined && old.hold.epoch === hold.epoch;
    const kept = same ? [...old.starts].filter(([node]) => hold.secondaries.includes(node)) : [];
    state.holds.set(shard, { hold, sinceMs: nowMs, starts: new Map(kept) });
  }
  findPartners(state, nowMs);
  for (const node of hold?.secondaries ?? []) {
    const partner = state.partners.get(node);
    if (partner !== undefined) partner.nextBeatMs = nowMs;
  }
}

function onRevoke(
  state: HeartbeatState,
  shard: ShardId,
  epoch: Epoch,
  nowMs: number,
  out: HeartbeatEffect[],
): void {
  if (epoch > (state.revoked.get(shard) ?? -1)) state.revoked.set(shard, epoch);
  const grant = state.grants.get(shard);
  if (grant !== undefined && grant.epoch <= epoch) {
    state.grants.delete(shard);
    findPartners(state, nowMs);
  }
  const lastGrantedMs = state.grantedMs.get(shard) ?? -Infinity;
  out.push({ kind: "revoked", shard, epoch, lastGrantedMs });
}

/** What was sent before the jump may be older than the monotonic clock says. */
function onClockJump(state: HeartbeatState, nowMs: number, out: HeartbeatEffect[]): void {
  for (const [shard, { hold, starts }] of state.holds) {
    for (const node of starts.keys()) {
      out.push({ kind: "lease", shard, epoch: hold.epoch, node, startMs: undefined });
    }
    starts.clear();
  }
  for (const partner of state.partners.values()) {
    partner.flights = [];
    partner.nextBeatMs = nowMs;
  }
}

/** Partners are the watched ones, our secondaries, and the primaries that we are secondary of. */
function findPartners(state: HeartbeatState, nowMs: number): void {
  const wanted = new Set(state.watched);
  for (const { primary } of state.grants.values()) wanted.add(primary);
  for (const { hold } of state.holds.values()) {
    for (const node of hold.secondaries) wanted.add(node);
  }
  wanted.delete(state.me);
  for (const member of state.partners.keys()) {
    if (!wanted.has(member)) state.partners.delete(member);
  }
  for (const member of wanted) {
    if (state.partners.has(member)) continue;
    const fresh = {
      member,
      sinceMs: nowMs,
      heardMs: undefined,
      answeredMs: nowMs,
      silent: undefined,
    };
    state.partners.set(member, { nextBeatMs: nowMs, flights: [], ...fresh });
  }
}
