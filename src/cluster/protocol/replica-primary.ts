// The primary's part: taking it up, and what it asks of managers: a silent secondary removed, a
// complete one called full. cluster.md "Becoming primary". Proposals are in replica-commit.ts, the
// way to the secondaries in replica-streams.ts.

import { lsn as makeLsn } from "../../mail/ids.ts";
import type { MemberId } from "../../mail/ids.ts";
import { assert } from "../../lib/assert.ts";
import { tailEnd } from "./hash-tail.ts";
import { ackedOf, advanceCommit, appendNewEpoch, expire } from "./replica-commit.ts";
import type { ReplicaState, SecondaryState } from "./replica-state.ts";
import { newStream, probe, tickStream } from "./replica-streams.ts";
import type { LeaseStarts, ReplicaEffect } from "./replica-types.ts";

/**
 * Takes up the part of primary: nothing is served before what the log holds now is committed.
 *
 * @param began this life of the process is the epoch's first. A later one does not know whether it said
 * SYNCED, so it must not count a secondary's tail any more: the table may say "full" any time.
 */
export function startPrimary<R>(
  state: ReplicaState,
  began: boolean,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  const { config } = state;
  assert(config !== undefined, "a primary has a config");
  const newEpoch = state.endEpoch < config.epoch ? 1 : 0;
  state.barrierLsn = makeLsn(tailEnd(state.tail) + newEpoch);
  appendNewEpoch(state, out);
  state.peers = config.secondaries.map((copy) => ({
    copy,
    first: copy.full || !began ? undefined : newStream(copy.node, true, nowMs),
    owes: undefined,
    ...newStream(copy.node, false, nowMs),
  }));
  for (const peer of state.peers) probeBoth(state, peer, nowMs, out);
  advanceCommit(state, out);
}

/** Asks where both logs of a secondary end. */
export function probeBoth<R>(
  state: ReplicaState,
  peer: SecondaryState,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  probe(state, peer, nowMs, out);
  if (peer.first !== undefined && peer.first.mode !== "done") probe(state, peer.first, nowMs, out);
}

/** Deadlines: unknown outcomes, secondaries that owe an answer, commit marks of an idle shard. */
export function tickPrimary<R>(
  state: ReplicaState,
  event: { readonly nowMs: number; readonly leaseStartMs: LeaseStarts },
  serving: boolean,
  out: ReplicaEffect<R>[],
): void {
  const { nowMs, leaseStartMs } = event;
  expire(state, nowMs, out);
  // The log may have had no room for it.
  appendNewEpoch(state, out);
  for (const peer of state.peers) {
    tickStream(state, peer, peer.copy.full, nowMs, out);
    if (peer.first !== undefined) tickStream(state, peer.first, false, nowMs, out);
    if (serving) noteSynced(state, peer);
    noteOwed(state, peer, nowMs);
  }
  if (state.asking !== undefined || nowMs < state.waitUntilMs) return;
  for (const peer of state.peers) {
    if (!isLost(state, peer, nowMs, leaseStartMs(peer.node))) continue;
    state.asking = peer.copy;
    return;
  }
}

/** A secondary says that it stops: it is removed before its users have to wait for that. */
export function onPeerLeaving(state: ReplicaState, node: MemberId, nowMs: number): void {
  const { config } = state;
  const ended = config === undefined || state.sealedEpoch >= config.epoch;
  if (state.role !== "primary" || !state.active || ended || state.damaged) return;
  if (state.asking !== undefined || nowMs < state.waitUntilMs) return;
  state.asking = state.peers.find((peer) => peer.node === node)?.copy;
}

/** True when this secondary must be removed for anything to be served or committed again. */
function isLost(
  state: ReplicaState,
  peer: SecondaryState,
  nowMs: number,
  leaseStartMs: number,
): boolean {
  if (leaseStartMs === Number.POSITIVE_INFINITY) return false; // Nobody is there to be asked.
  const { removeMs, removeDownMs, stallMs } = state.limits;
  // A link that broke while heartbeats are answered will be back; without them the process is gone.
  const unheardMs = nowMs - Math.max(leaseStartMs, state.sinceMs);
  if (unheardMs >= (state.up.has(peer.node) ? removeMs : removeDownMs)) return true;
  const acked = ackedOf(peer);
  if (peer.first === undefined) {
    if (peer.mode === "broken") return true;
    // Its tail can't be counted: in another epoch it can.
    if (!peer.copy.full && acked < state.barrierLsn) return true;
  }
  // Heartbeats come, acknowledgements don't: a cut link, a stuck disk, too much to catch up with.
  const { owes } = peer;
  if (owes === undefined || acked >= owes.lsn) return false;
  return nowMs - Math.max(owes.sinceMs, state.waitUntilMs) >= stallMs;
}

/**
 * What is not on the primary's own disk yet is not the secondary's fault: it is fed from there, and a
 * primary with a slow disk would remove one good secondary after the other.
 */
function noteOwed(state: ReplicaState, peer: SecondaryState, nowMs: number): void {
  const acked = ackedOf(peer);
  const { durableLsn } = state;
  if (peer.owes !== undefined && acked < peer.owes.lsn) return;
  peer.owes = acked < durableLsn ? { lsn: durableLsn, sinceMs: nowMs } : undefined;
}

/**
 * Calls a secondary complete when its own log holds and has applied all that the epoch began with, and
 * everything since. From then on, for the whole epoch, only that log counts: the table may say "full"
 * any time later.
 */
function noteSynced(state: ReplicaState, peer: SecondaryState): void {
  const { first } = peer;
  if (peer.copy.full || state.synced !== undefined || peer.mode !== "live") return;
  if (peer.mark < state.barrierLsn || peer.ackedLsn < ackedOf(peer)) return;
  if (first !== undefined) first.mode = "done";
  state.synced = peer.copy;
}
