// How an epoch ends and what a copy tells managers: seals, handover, leases that must run out, wishes.
// cluster.md "Replica state machine" (serve, SEAL, becoming primary) and "What the manager does".

import { unreachable } from "../../lib/assert.ts";
import { epoch as makeEpoch } from "../../mail/ids.ts";
import type { ShardReport } from "./manager-types.ts";
import { tailEnd } from "./hash-tail.ts";
import type { Grant, Hold } from "./heartbeat-types.ts";
import { graftOwn } from "./replica-graft.ts";
import { isFull, positionOf } from "./replica-report.ts";
import type { ReplicaState } from "./replica-state.ts";
import type { LeaseStarts, ReplicaEffect, ReplicaEvent } from "./replica-types.ts";
import type { Copy, ShardConfig } from "./shard-config.ts";

type Event<K extends ReplicaEvent<unknown>["kind"]> = Extract<ReplicaEvent<unknown>, { kind: K }>;

/**
 * True while this copy may answer reads and take changes: it is the table's primary, everything that
 * its log held when it became that is committed and applied, leases that it or its earlier life granted
 * have run out, and its own are fresh towards every secondary. Called for every read and write.
 */
export function serves(
  state: Readonly<ReplicaState>,
  nowMs: number,
  leaseStartMs: LeaseStarts,
): boolean {
  const { config } = state;
  if (state.role !== "primary" || !state.active || config === undefined) return false;
  if (state.sealedEpoch >= config.epoch || state.damaged) return false;
  if (nowMs < state.waitUntilMs || state.appliedLsn < state.barrierLsn) return false;
  // Also towards one that only catches up: it may be what the next epoch is made from.
  for (const peer of state.peers) {
    if (nowMs - leaseStartMs(peer.node) >= state.limits.leaseMs) return false;
  }
  return true;
}

/** For whom this copy grants leases now. */
export function grantOf(state: Readonly<ReplicaState>): Grant | undefined {
  const { config } = state;
  if (state.role !== "secondary" || !state.active || config === undefined) return undefined;
  const ended = Math.max(state.sealedEpoch, state.sealing, state.revokedEpoch);
  if (ended >= config.epoch) return undefined;
  return { epoch: config.epoch, primary: config.primary.node };
}

/** Of whom this copy needs leases now. */
export function holdOf(state: Readonly<ReplicaState>): Hold | undefined {
  const { config } = state;
  if (state.role !== "primary" || !state.active || config === undefined) return undefined;
  if (state.sealedEpoch >= config.epoch || state.damaged) return undefined;
  return { epoch: config.epoch, secondaries: config.secondaries.map((copy) => copy.node) };
}

/** What a copy was until now in this process. */
export interface Before {
  readonly active: boolean;
  readonly role: ReplicaState["role"];
  readonly epoch: number;
  readonly full: boolean;
}

/** A copy that becomes primary: when may it serve? */
export function startWaiting<R>(
  state: ReplicaState,
  config: ShardConfig,
  before: Before,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  if (before.active && before.role === "primary") {
    // It granted nothing meanwhile. What the pulse was asked for is asked of it for this epoch.
    if (state.waitUntilMs === Number.POSITIVE_INFINITY) {
      out.push({ kind: "revoke", epoch: makeEpoch(config.epoch) });
    }
    return;
  }
  state.waitUntilMs = state.restartUntilMs;
  if (!before.active) return;
  // The one we granted leases to has ended its epoch, and had waited for those of its predecessors.
  if (before.role === "secondary" && config.endedEpoch === before.epoch) return;
  if (before.role !== "secondary" || before.epoch !== config.epoch - 1 || !before.full) {
    // Others granted the last leases; they were sealed before this config was committed. One that was
    // not full may have followed a primary that was still waiting for those of the epoch before.
    state.waitUntilMs = Math.max(state.waitUntilMs, nowMs + state.limits.graceMs);
    return;
  }
  if (state.revokedEpoch >= before.epoch) {
    waitForLeases(state);
    return;
  }
  state.waitUntilMs = Number.POSITIVE_INFINITY;
  out.push({ kind: "revoke", epoch: makeEpoch(config.epoch) });
}

/** The pulse grants nothing more: goes on with what waited for that. */
export function onRevoked<R>(
  state: ReplicaState,
  event: Event<"revoked">,
  out: ReplicaEffect<R>[],
): void {
  if (event.epoch > state.revokedEpoch) state.revokedEpoch = event.epoch;
  if (event.lastGrantedMs > state.lastGrantedMs) state.lastGrantedMs = event.lastGrantedMs;
  if (state.waitUntilMs === Number.POSITIVE_INFINITY && event.epoch >= (state.config?.epoch ?? 0)) {
    state.waitUntilMs = state.restartUntilMs;
    waitForLeases(state);
  }
  if (state.sealing === 0 || state.revokedEpoch < state.sealing) return;
  const epoch = makeEpoch(state.sealing);
  state.sealing = 0;
  if (epoch > state.sealedEpoch) state.sealedEpoch = epoch;
  out.push({ kind: "persistSeal", epoch });
}

/** From here on nothing of that epoch is granted or acknowledged; the answer comes when that is on disk. */
export function onSeal<R>(
  state: ReplicaState,
  event: Event<"seal">,
  out: ReplicaEffect<R>[],
): void {
  const { epoch, evenIfHeard, heardMs, nowMs } = event;
  const { config, role } = state;
  // A copy that is none may keep a tail that a former member needs.
  const isUsable = (!state.copying && !state.damaged) || state.first !== undefined;
  if (config === undefined || !isUsable) {
    out.push({ kind: "sealRefused", epoch, why: "unusable" });
  } else if (epoch < config.epoch) {
    out.push({ kind: "sealRefused", epoch, why: "newer" });
  } else if (state.sealedDurableEpoch >= epoch) {
    if (state.graft === undefined) out.push({ kind: "sealed", epoch });
  } else if (role === "primary" && config.epoch === epoch) {
    out.push({ kind: "sealRefused", epoch, why: "heard" });
  } else if (isHeard(state, heardMs, nowMs) && !evenIfHeard) {
    out.push({ kind: "sealRefused", epoch, why: "heard" });
  } else if (state.sealedEpoch < epoch && state.sealing < epoch) {
    state.sealing = epoch;
    out.push({ kind: "revoke", epoch });
  }
}

/** The seal is on disk, and with it everything logged before. */
export function onSealDurable<R>(
  state: ReplicaState,
  event: Event<"sealDurable">,
  out: ReplicaEffect<R>[],
): void {
  const { epoch, nowMs } = event;
  if (epoch <= state.sealedDurableEpoch) return;
  state.sealedDurableEpoch = epoch;
  if (state.role === "primary" && state.config?.epoch === epoch) {
    out.push({ kind: "handedOver", epoch });
    return;
  }
  graftOwn(state, nowMs, out);
  if (state.graft === undefined) out.push({ kind: "sealed", epoch });
}

/** Takes no more changes; once all are settled the epoch is over here, for reads and writes, for ever. */
export function onHandOver<R>(
  state: ReplicaState,
  event: Event<"handOver">,
  out: ReplicaEffect<R>[],
): void {
  const { epoch, nowMs } = event;
  if (state.role !== "primary" || !state.active || state.config?.epoch !== epoch) {
    out.push({ kind: "handOverRefused", epoch });
  } else if (state.sealedDurableEpoch >= epoch) {
    out.push({ kind: "handedOver", epoch });
  } else if (state.sealedEpoch < epoch) {
    state.handingSinceMs ??= nowMs;
    continueHandOver(state, nowMs, out);
  }
}

export function continueHandOver<R>(
  state: ReplicaState,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  const { config, handingSinceMs } = state;
  if (handingSinceMs === undefined || config === undefined) return;
  const { epoch } = config;
  // Not before its own wait is over: the next primary skips its wait, and goes by that.
  const settled = state.commitLsn === tailEnd(state.tail) && state.commitLsn >= state.barrierLsn;
  if (settled && nowMs >= state.waitUntilMs && state.asking === undefined) {
    state.handingSinceMs = undefined;
    state.sealedEpoch = epoch;
    out.push({ kind: "persistSeal", epoch });
  } else if (nowMs - handingSinceMs >= state.limits.handOverMs) {
    state.handingSinceMs = undefined;
    out.push({ kind: "handOverRefused", epoch });
  }
}

/** What this copy wants of managers now; says so when that changes. */
export function updateWish<R>(
  state: ReplicaState,
  event: { readonly nowMs: number; readonly heardMs: number },
  serving: boolean,
  out: ReplicaEffect<R>[],
): void {
  const kind = wishKind(state, event, serving);
  const { wish, config } = state;
  if (kind === wish?.kind && (wish === undefined || wish.epoch === config?.epoch)) return;
  state.wish =
    kind === undefined || config === undefined ? undefined : makeWish(state, config, kind);
  out.push({ kind: "report" });
}

function wishKind(
  state: ReplicaState,
  { nowMs, heardMs }: { readonly nowMs: number; readonly heardMs: number },
  serving: boolean,
): ShardReport["kind"] | undefined {
  const { config, role } = state;
  if (config === undefined || !state.active || role === "none") return undefined;
  if (state.damaged) return isFull(state) ? "unusable" : undefined;
  if (state.sealedEpoch >= config.epoch) {
    if (state.sealedDurableEpoch < config.epoch || state.graft !== undefined) return undefined;
    return role === "primary" ? "handedOver" : "sealed";
  }
  if (role === "primary") {
    if (state.asking !== undefined) return "removeSecondary";
    return state.synced !== undefined && serving ? "synced" : undefined;
  }
  const silentMs = nowMs - Math.max(heardMs, state.sinceMs);
  return silentMs >= state.limits.graceMs ? "primarySilent" : undefined;
}

function makeWish(
  state: ReplicaState,
  { shard, epoch }: ShardConfig,
  kind: ShardReport["kind"],
): ShardReport | undefined {
  const { asking, synced } = state;
  switch (kind) {
    case "handedOver":
    case "sealed":
      return { kind, shard, epoch, ...positionOf(state) };
    case "primarySilent":
    case "unusable":
      return { kind, shard, epoch };
    case "synced":
      return synced === undefined ? undefined : { kind, shard, epoch, secondary: copyOf(synced) };
    case "removeSecondary": {
      if (asking === undefined) return undefined;
      const { commitMark, markHash } = positionOf(state);
      const settled = commitMark >= state.barrierLsn;
      return { kind, shard, epoch, secondary: copyOf(asking), commitMark, markHash, settled };
    }
    default:
      return unreachable(kind);
  }
}

function copyOf({ node, store }: Copy): Copy {
  return { node, store };
}

function isHeard(state: ReplicaState, heardMs: number, nowMs: number): boolean {
  const primary = state.config?.primary.node;
  if (state.role !== "secondary" || primary === undefined || !state.up.has(primary)) return false;
  return nowMs - heardMs < state.limits.suspectMs;
}

function waitForLeases(state: ReplicaState): void {
  const untilMs = state.lastGrantedMs + state.limits.graceMs;
  if (untilMs > state.waitUntilMs) state.waitUntilMs = untilMs;
}
