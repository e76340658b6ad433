// One member's copy of one shard as a machine without I/O: the caller performs the effects in order
// and reports what happened as events. Roles come from the shard table; the halves are in
// replica-primary.ts and replica-secondary.ts. Leaves bytes, disks, links and clocks to node/.

import { lsn as makeLsn } from "../../mail/ids.ts";
import type { Epoch, Lsn, MemberId } from "../../mail/ids.ts";
import { unreachable } from "../../lib/assert.ts";
import { hashAt, makeTail, pushHash, rebase, tailEnd } from "./hash-tail.ts";
import type { HashTail } from "./hash-tail.ts";
import { advanceCommit, forgetProposals, onLogged, onPropose } from "./replica-commit.ts";
import {
  continueHandOver,
  onHandOver,
  onRevoked,
  onSeal,
  onSealDurable,
  serves,
  startWaiting,
  updateWish,
} from "./replica-epoch.ts";
import { continueGraft, onGraft, tickGraft } from "./replica-graft.ts";
import { onMessage } from "./replica-messages.ts";
import { onPeerLeaving, probeBoth, startPrimary, tickPrimary } from "./replica-primary.ts";
import { isFull } from "./replica-report.ts";
import {
  advanceMark,
  startCopy,
  dropTail,
  flushAck,
  keepTail,
  onCutSaved,
  onNotLogged,
  onPrimaryUp,
  startSecondary,
} from "./replica-secondary.ts";
import { onBlobsSent, onFed, onFeedGone, peerOf, shipAll } from "./replica-streams.ts";
import type { FollowedLog, Limits, Recovered, ReplicaState } from "./replica-state.ts";
import type { ReplicaEffect, ReplicaEvent } from "./replica-types.ts";
import { roleOf } from "./shard-config.ts";
import type { Copy, ShardConfig } from "./shard-config.ts";

export { grantOf, holdOf, serves } from "./replica-epoch.ts";

type Event<K extends ReplicaEvent<unknown>["kind"]> = Extract<ReplicaEvent<unknown>, { kind: K }>;

/** No copy is waited for: leases were not granted before. */
const longAgoMs = Number.NEGATIVE_INFINITY;

/**
 * The state of a copy after a start, from what its disk holds. It serves and acknowledges nothing
 * before a `config` event says what the table holds now.
 *
 * @param inc the incarnation that the coordinator gave this process; grows with each start.
 * @param nowMs when this process started, or later: an earlier life of it granted no lease since.
 */
export function makeReplica(
  me: Copy,
  inc: number,
  recovered: Recovered,
  limits: Limits,
  nowMs: number,
): ReplicaState {
  const { config, sealedEpoch, appliedLsn, endEpoch, damaged = false } = recovered;
  const log = followedLog(appliedLsn, recovered.appliedHash, recovered.tail);
  const { first } = recovered;
  // Who has no config has never been in an epoch that anybody served.
  const restartUntilMs = config === undefined ? longAgoMs : nowMs + limits.graceMs;
  return {
    me,
    inc,
    limits,
    config,
    sealedEpoch,
    sealedDurableEpoch: sealedEpoch,
    role: "none",
    active: false,
    sinceMs: nowMs,
    endEpoch,
    commitLsn: appliedLsn,
    shownLsn: appliedLsn,
    appliedLsn,
    up: new Set(),
    wish: undefined,
    revokedEpoch: 0,
    lastGrantedMs: longAgoMs,
    restartUntilMs,
    sealing: 0,
    waitUntilMs: restartUntilMs,
    barrierLsn: appliedLsn,
    peers: [],
    asking: undefined,
    handingSinceMs: undefined,
    synced: undefined,
    waiting: [],
    waitingStart: 0,
    waitingBytes: 0,
    expiredLsn: makeLsn(0),
    primaryInc: 0,
    heardMark: appliedLsn,
    first:
      first === undefined ? undefined : followedLog(first.baseLsn, first.baseHash, first.hashes),
    cuttingAfter: undefined,
    copying: false,
    copyAtMs: Number.POSITIVE_INFINITY,
    fillingSinceMs: undefined,
    damaged,
    graft: undefined,
    ...log,
  };
}

function followedLog(baseLsn: Lsn, baseHash: number, hashes: readonly number[]): FollowedLog {
  const tail: HashTail = makeTail(baseLsn, baseHash);
  for (const hash of hashes) pushHash(tail, makeLsn(tailEnd(tail) + 1), hash);
  return {
    tail,
    durableLsn: tailEnd(tail),
    matchedLsn: baseLsn,
    ackDue: false,
    ackedLsn: makeLsn(0),
  };
}

/** The epoch this copy goes by, for WRONG_NODE answers. */
export function epochOf(state: Readonly<ReplicaState>): Epoch | undefined {
  return state.config?.epoch;
}

/** Takes one event: changes `state`, and appends to `out` what is to be done, in order. */
export function stepReplica<R>(
  state: ReplicaState,
  event: ReplicaEvent<R>,
  out: ReplicaEffect<R>[],
): void {
  switch (event.kind) {
    case "propose":
      return onPropose(state, event, serves(state, event.nowMs, event.leaseStartMs), out);
    case "logged":
      return onLogged(state, event);
    case "notLogged":
      return onNotLogged(state, event.lsn, event.tail);
    case "durable":
      return onDurable(state, event, out);
    case "applied":
      return onApplied(state, event.lsn);
    case "message":
      return onMessage(state, event.from, event.message, event.nowMs, out);
    case "flush":
      return onFlush(state, event, out);
    case "tick":
      return onTick(state, event, out);
    case "fed":
      return onFed(state, event, out);
    case "feedGone":
      return onFeedGone(state, event, out);
    case "blobsSent":
      return onBlobsSent(state, event, out);
    case "cutSaved":
      return onCutSaved(state, event, out);
    default:
      return stepConfig(state, event, out);
  }
}

/** Events off the data path. */
function stepConfig<R>(
  state: ReplicaState,
  event: Event<
    | "config"
    | "peerUp"
    | "peerDown"
    | "peerLeaving"
    | "seal"
    | "revoked"
    | "sealDurable"
    | "handOver"
    | "graft"
    | "copied"
  >,
  out: ReplicaEffect<R>[],
): void {
  switch (event.kind) {
    case "config":
      return onConfig(state, event.config, event.nowMs, out);
    case "peerUp":
      return onPeerUp(state, event.node, event.nowMs, out);
    case "peerDown":
      return onPeerDown(state, event.node);
    case "peerLeaving":
      onPeerLeaving(state, event.node, event.nowMs);
      return updateWish(state, { nowMs: event.nowMs, heardMs: event.nowMs }, false, out);
    case "seal":
      return onSeal(state, event, out);
    case "revoked":
      return onRevoked(state, event, out);
    case "sealDurable":
      return onSealDurable(state, event, out);
    case "handOver":
      return onHandOver(state, event, out);
    case "graft":
      return onGraft(state, event, out);
    case "copied":
      return onCopied(state, event);
    default:
      return unreachable(event);
  }
}

function onConfig<R>(
  state: ReplicaState,
  config: ShardConfig,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  const { active } = state;
  const held = state.config?.epoch ?? 0;
  if (config.epoch < held) {
    // A slow watch repeats old news after a start; before one, the table itself has gone back.
    if (!active) out.push({ kind: "alarm", why: "tableBehind" });
    return;
  }
  if (config.epoch === held && active) return;
  const before = { active, role: state.role, epoch: held, full: isFull(state) };
  const role = roleOf(config, state.me);
  if (config.epoch > held) {
    state.config = config;
    if (role !== "none" || held > 0) out.push({ kind: "persistConfig", config });
  }
  state.active = true;
  state.role = role;
  state.sinceMs = nowMs;
  state.peers = [];
  state.asking = undefined;
  state.handingSinceMs = undefined;
  state.synced = undefined;
  state.graft = undefined;
  if (role !== "primary") forgetProposals(state);
  if (role === "secondary") startSecondary(state);
  else state.cuttingAfter = undefined;
  if (role === "secondary" && !isFull(state)) {
    state.fillingSinceMs ??= nowMs;
    keepTail(state, out);
  } else {
    state.fillingSinceMs = undefined;
    dropTail(state, out);
  }
  if (role !== "primary") return;
  if (state.damaged) return; // Its secondaries will miss its heartbeats.
  startWaiting(state, config, before, nowMs, out);
  startPrimary(state, config.epoch > held, nowMs, out);
}

function onDurable<R>(state: ReplicaState, event: Event<"durable">, out: ReplicaEffect<R>[]): void {
  const log = event.tail ? state.first : state;
  if (log === undefined || event.lsn <= log.durableLsn) return;
  // The hash tells a suffix that was cut meanwhile from the entries that took its place.
  if (hashAt(log.tail, event.lsn) !== event.hash) return;
  log.durableLsn = event.lsn;
  if (state.role === "primary") advanceCommit(state, out);
  else if (state.role === "secondary") advanceMark(state, out);
  if (state.graft !== undefined) continueGraft(state, out);
}

/** Hashes are kept from the commit mark on, which what is shown may be ahead of. */
function onApplied(state: ReplicaState, applied: Lsn): void {
  if (applied > state.appliedLsn) state.appliedLsn = applied;
  const base = state.appliedLsn < state.commitLsn ? state.appliedLsn : state.commitLsn;
  if (base > state.tail.baseLsn) rebase(state.tail, base);
}

function onFlush<R>(state: ReplicaState, event: Event<"flush">, out: ReplicaEffect<R>[]): void {
  if (state.role === "secondary") {
    flushAck(state, out);
  } else if (state.role === "primary") {
    if (state.sealedEpoch >= (state.config?.epoch ?? 0)) return;
    shipAll(state, event.nowMs, event.hold, out);
    if (state.handingSinceMs !== undefined) continueHandOver(state, event.nowMs, out);
  }
}

function onTick<R>(state: ReplicaState, event: Event<"tick">, out: ReplicaEffect<R>[]): void {
  const { nowMs } = event;
  const { config } = state;
  let serving = false;
  const ended = config === undefined || state.sealedEpoch >= config.epoch;
  if (state.role === "primary" && !ended && !state.damaged) {
    serving = serves(state, nowMs, event.leaseStartMs);
    tickPrimary(state, event, serving, out);
    if (state.handingSinceMs !== undefined) continueHandOver(state, nowMs, out);
  }
  if (state.graft !== undefined) tickGraft(state, nowMs, out);
  if (nowMs >= state.copyAtMs && config !== undefined) {
    state.copyAtMs = Number.POSITIVE_INFINITY;
    state.copying = false;
    startCopy(state, config.primary.node, out);
  }
  updateWish(state, event, serving, out);
}

/** The copy was made anew, or is worth nothing and must be. */
function onCopied(state: ReplicaState, event: Event<"copied">): void {
  const { point, nowMs } = event;
  if (!state.copying) return;
  if (point === undefined) {
    state.damaged = true;
    state.copyAtMs = nowMs + state.limits.copyRetryMs;
    return;
  }
  const { lsn } = point;
  Object.assign(state, followedLog(lsn, point.hash, []));
  state.endEpoch = 0;
  state.commitLsn = lsn;
  state.shownLsn = lsn;
  state.appliedLsn = lsn;
  state.heardMark = lsn;
  state.copying = false;
  state.damaged = false;
}

function onPeerUp<R>(
  state: ReplicaState,
  node: MemberId,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  state.up.add(node);
  const peer = peerOf(state, node);
  if (peer !== undefined) probeBoth(state, peer, nowMs, out);
  else if (state.role === "secondary") onPrimaryUp(state, node, out);
}

function onPeerDown(state: ReplicaState, node: MemberId): void {
  state.up.delete(node);
  const peer = peerOf(state, node);
  if (peer === undefined) return;
  peer.mode = "down";
  if (peer.first !== undefined && peer.first.mode !== "done") peer.first.mode = "down";
}
