// One member's copy of one shard as a machine without I/O: the caller performs the effects in order
// and reports what happened as events. Roles come from the shard table; the halves are in
// replica-primary.ts and replica-secondary.ts. Leaves bytes, disks, links and clocks to node/.

import { epoch as makeEpoch, lsn as makeLsn } from "../../mail/ids.ts";
import type { Epoch, MemberId } from "../../mail/ids.ts";
import { unreachable } from "../../lib/assert.ts";
import { hashAt, makeTail, pushHash, rebase, tailEnd } from "./hash-tail.ts";
import {
  advanceCommit,
  onAck,
  onBlobsSent,
  onFed,
  onFeedGone,
  onLogged,
  onNeedBlob,
  onPropose,
  onStatus,
  peerOf,
  forgetProposals,
  probe,
  shipAll,
  startPrimary,
  tickPrimary,
} from "./replica-primary.ts";
import {
  advanceMark,
  flushAck,
  onAppend,
  onNotLogged,
  onPrimaryUp,
  onProbe,
  startSecondary,
} from "./replica-secondary.ts";
import type {
  Limits,
  Recovered,
  ReplicaEffect,
  ReplicaEvent,
  ReplicaMessage,
  ReplicaState,
} from "./replica-types.ts";
import { roleOf } from "./shard-config.ts";
import type { Copy, ShardConfig } from "./shard-config.ts";

/**
 * The state of a copy after a start, from what its disk holds. It serves and acknowledges nothing
 * before a `config` event says what the table holds now.
 *
 * @param inc the incarnation that the coordinator gave this process; grows with each start.
 */
export function makeReplica(
  me: Copy,
  inc: number,
  recovered: Recovered,
  limits: Limits,
): ReplicaState {
  const tail = makeTail(recovered.appliedLsn, recovered.appliedHash);
  for (const hash of recovered.tail) pushHash(tail, makeLsn(tailEnd(tail) + 1), hash);
  const applied = recovered.appliedLsn;
  return {
    me,
    inc,
    limits,
    config: recovered.config,
    configDurableEpoch: recovered.config?.epoch ?? 0,
    role: "none",
    active: false,
    tail,
    endEpoch: recovered.endEpoch,
    durableLsn: tailEnd(tail),
    commitLsn: applied,
    appliedLsn: applied,
    up: new Set(),
    barrierLsn: applied,
    peers: [],
    waiting: [],
    waitingStart: 0,
    waitingBytes: 0,
    expiredLsn: makeLsn(0),
    primaryInc: 0,
    matchedLsn: applied,
    heardMark: applied,
    ackDue: false,
    ackedLsn: makeLsn(0),
  };
}

/**
 * True while this copy may answer reads and take changes: it is the table's primary and everything
 * that its log held when it became that is committed and applied.
 */
export function serves(state: ReplicaState): boolean {
  return state.role === "primary" && state.active && state.appliedLsn >= state.barrierLsn;
}

/** The epoch this copy goes by, for WRONG_NODE answers. */
export function epochOf(state: ReplicaState): Epoch | undefined {
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
      return onPropose(state, event, serves(state), out);
    case "logged":
      return onLogged(state, event);
    case "notLogged":
      return onNotLogged(state, event.lsn);
    case "durable":
      return onDurable(state, event, out);
    case "applied":
      return onApplied(state, event.lsn);
    case "message":
      return onMessage(state, event.from, event.message, event.nowMs, out);
    case "flush":
      if (state.role === "primary") shipAll(state, event.nowMs, event.hold, out);
      else if (state.role === "secondary") flushAck(state, out);
      return;
    case "tick":
      if (state.role === "primary") tickPrimary(state, event.nowMs, out);
      return;
    case "config":
      return onConfig(state, event.config, event.nowMs, out);
    case "configDurable":
      return onConfigDurable(state, event.epoch, out);
    case "peerUp":
      return onPeerUp(state, event.node, event.nowMs, out);
    case "peerDown":
      return onPeerDown(state, event.node);
    case "fed":
      return onFed(state, event, out);
    case "feedGone":
      return onFeedGone(state, event, out);
    case "blobsSent":
      return onBlobsSent(state, event, out);
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
  const held = state.config?.epoch ?? 0;
  if (config.epoch < held) {
    // A slow watch repeats old news after a start; before one, the table itself has gone back.
    if (!state.active) out.push({ kind: "alarm", why: "tableBehind" });
    return;
  }
  if (config.epoch === held && state.active) return;
  const role = roleOf(config, state.me);
  if (config.epoch > held) {
    state.config = config;
    if (role !== "none" || held > 0) out.push({ kind: "persistConfig", config });
  }
  state.active = true;
  state.role = role;
  state.peers = [];
  if (role !== "primary") forgetProposals(state);
  if (role === "primary") startPrimary(state, config, nowMs, out);
  else if (role === "secondary") startSecondary(state);
}

function onConfigDurable<R>(state: ReplicaState, epoch: Epoch, out: ReplicaEffect<R>[]): void {
  state.configDurableEpoch = Math.max(state.configDurableEpoch, epoch);
  if (state.role === "primary") advanceCommit(state, out);
  else if (state.role === "secondary") advanceMark(state, out);
}

function onDurable<R>(
  state: ReplicaState,
  event: Extract<ReplicaEvent<R>, { kind: "durable" }>,
  out: ReplicaEffect<R>[],
): void {
  if (event.lsn <= state.durableLsn) return;
  // The hash tells a suffix that was cut meanwhile from the entries that took its place.
  if (hashAt(state.tail, event.lsn) !== event.hash) return;
  state.durableLsn = event.lsn;
  if (state.role === "primary") advanceCommit(state, out);
  else if (state.role === "secondary") advanceMark(state, out);
}

function onApplied(state: ReplicaState, applied: ReplicaState["appliedLsn"]): void {
  if (applied <= state.appliedLsn) return;
  state.appliedLsn = applied;
  rebase(state.tail, applied);
}

function onPeerUp<R>(
  state: ReplicaState,
  node: MemberId,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  state.up.add(node);
  const peer = peerOf(state, node);
  if (peer !== undefined) probe(state, peer, nowMs, out);
  else if (state.role === "secondary") onPrimaryUp(state, node, out);
}

function onPeerDown(state: ReplicaState, node: MemberId): void {
  state.up.delete(node);
  const peer = peerOf(state, node);
  if (peer !== undefined) peer.mode = "down";
}

function onMessage<R>(
  state: ReplicaState,
  from: MemberId,
  message: ReplicaMessage<R>,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  if (!state.active || state.config === undefined) return;
  if (message.toInc !== state.inc && message.kind !== "probe") return;
  if (message.epoch !== state.config.epoch) {
    onOtherEpoch(state, from, message, out);
    return;
  }
  if (message.kind === "probe" || message.kind === "append") {
    if (state.role !== "secondary" || from !== state.config.primary.node) return;
    if (message.fromInc < state.primaryInc) return;
    if (message.fromInc > state.primaryInc) {
      startSecondary(state);
      state.primaryInc = message.fromInc;
    }
    if (message.kind === "probe") onProbe(state, from, out);
    else onAppend(state, from, message, out);
    return;
  }
  if (message.kind === "refused") return;
  const peer = state.role === "primary" ? peerOf(state, from) : undefined;
  if (peer === undefined || message.fromInc < peer.inc) return;
  if (message.kind === "status") onStatus(state, peer, message, nowMs, out);
  else if (message.fromInc !== peer.inc) return;
  else if (message.kind === "ack") onAck(state, peer, message, nowMs, out);
  else onNeedBlob(state, peer, message, nowMs, out);
}

function onOtherEpoch<R>(
  state: ReplicaState,
  from: MemberId,
  message: ReplicaMessage<R>,
  out: ReplicaEffect<R>[],
): void {
  const mine = state.config?.epoch ?? makeEpoch(0);
  if (message.epoch > mine) {
    out.push({ kind: "refreshTable" });
  } else if (message.kind === "probe" || message.kind === "append") {
    const refused = { kind: "refused", epoch: mine, fromInc: state.inc, toInc: message.fromInc };
    out.push({ kind: "send", to: from, message: { ...refused, kind: "refused" } });
  }
}
