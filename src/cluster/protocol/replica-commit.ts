// The primary's proposals: which are taken, when they are committed, when their outcome is unknown.
// cluster.md "Primary, write". How they get to the secondaries is replica-streams.ts's.

import { lsn as makeLsn } from "../../mail/ids.ts";
import type { Lsn } from "../../mail/ids.ts";
import { assert } from "../../lib/assert.ts";
import { endHash, pushHash, tailEnd } from "./hash-tail.ts";
import type { ReplicaState, SecondaryState } from "./replica-state.ts";
import type { ReplicaEffect, ReplicaEvent } from "./replica-types.ts";

type Event<K extends ReplicaEvent<unknown>["kind"]> = Extract<ReplicaEvent<unknown>, { kind: K }>;

export function onPropose<R>(
  state: ReplicaState,
  event: Extract<ReplicaEvent<R>, { kind: "propose" }>,
  serving: boolean,
  out: ReplicaEffect<R>[],
): void {
  const { ref, bytes, nowMs } = event;
  const taken = serving && state.handingSinceMs === undefined;
  if (!taken || isFull(state, bytes) || isLongAlone(state, nowMs)) {
    const why = taken ? "backlog" : "notServing";
    out.push({ kind: "refuse", ref, why, epoch: state.config?.epoch });
    return;
  }
  out.push(appendEffect(state, ref));
}

export function onLogged(state: ReplicaState, event: Event<"logged">): void {
  assert(state.config !== undefined && state.role === "primary", "only a primary logs of its own");
  pushHash(state.tail, event.lsn, event.hash);
  state.endEpoch = state.config.epoch;
  state.waiting.push({ lsn: event.lsn, atMs: event.nowMs, bytes: event.bytes });
  state.waitingBytes += event.bytes;
}

/** Every epoch begins with NEWEPOCH, also when the primary stays; after a restart it may be there. */
export function appendNewEpoch<R>(state: ReplicaState, out: ReplicaEffect<R>[]): void {
  if (state.config === undefined || state.endEpoch >= state.config.epoch) return;
  out.push(appendEffect<R>(state, undefined));
}

/** Commits what is durable on every member and on at least `minCopies` of them, in order. */
export function advanceCommit<R>(state: ReplicaState, out: ReplicaEffect<R>[]): void {
  const { config } = state;
  if (config === undefined) return;
  // Whoever was asked to change the members goes by the commit mark that they were told.
  if (state.asking !== undefined || state.sealedEpoch >= config.epoch) return;
  if (1 + state.peers.length < config.minCopies) {
    showAlone(state, out);
    return;
  }
  let through = state.durableLsn;
  for (const peer of state.peers) {
    const acked = ackedOf(peer);
    if (acked < through) through = acked;
  }
  if (through <= state.commitLsn) return;
  const fromLsn = makeLsn(state.commitLsn + 1);
  state.commitLsn = through;
  if (through > state.shownLsn) state.shownLsn = through;
  settleWaiting(state, through);
  out.push({ kind: "commit", fromLsn, throughLsn: through });
}

/** What this secondary's disk holds for certain: in the copy's own log, or in its tail-first one. */
export function ackedOf(peer: SecondaryState): Lsn {
  const { first, ackedLsn } = peer;
  return first !== undefined && first.ackedLsn > ackedLsn ? first.ackedLsn : ackedLsn;
}

/** True when too few members are left to commit anything. */
export function isAlone(state: Readonly<ReplicaState>): boolean {
  return state.config !== undefined && 1 + state.peers.length < state.config.minCopies;
}

/** This copy is no primary: whether its proposals are committed is another's decision. */
export function forgetProposals(state: ReplicaState): void {
  state.waiting = [];
  state.waitingStart = 0;
  state.waitingBytes = 0;
}

/** Tells those who wait longer than `commitMs` that the outcome is unknown. */
export function expire<R>(state: ReplicaState, nowMs: number, out: ReplicaEffect<R>[]): void {
  const first = state.waiting[state.waitingStart];
  if (first === undefined) return;
  // Waiting entries have neighbouring lsns, so the first unexpired one is found without a search.
  const done = Math.max(0, state.expiredLsn - first.lsn + 1);
  let through = state.expiredLsn;
  for (let i = state.waitingStart + done; i < state.waiting.length; i += 1) {
    const next = state.waiting[i];
    if (next === undefined || nowMs - next.atMs < state.limits.commitMs) break;
    through = next.lsn;
  }
  if (through === state.expiredLsn) return;
  state.expiredLsn = through;
  out.push({ kind: "expire", throughLsn: through });
}

/**
 * One copy where two are wanted: what the log held when the epoch began may have been acknowledged on
 * the lost machine, so it is shown; nothing is answered before a second disk has it.
 */
function showAlone<R>(state: ReplicaState, out: ReplicaEffect<R>[]): void {
  const through = makeLsn(Math.min(state.durableLsn, state.barrierLsn));
  if (through <= state.shownLsn) return;
  const fromLsn = makeLsn(state.shownLsn + 1);
  state.shownLsn = through;
  out.push({ kind: "show", fromLsn, throughLsn: through });
}

function isFull(state: ReplicaState, bytes: number): boolean {
  const { uncommittedEntriesMax, uncommittedBytesMax } = state.limits;
  return (
    state.waiting.length - state.waitingStart >= uncommittedEntriesMax ||
    state.waitingBytes + bytes > uncommittedBytesMax
  );
}

/** A second copy mostly comes at once; what is proposed much later would only wait for nothing. */
function isLongAlone(state: ReplicaState, nowMs: number): boolean {
  return isAlone(state) && nowMs - state.sinceMs >= state.limits.commitMs;
}

function appendEffect<R>(
  state: ReplicaState,
  ref: R | undefined,
): Extract<ReplicaEffect<R>, { kind: "append" }> {
  assert(state.config !== undefined, "a primary has a config");
  const { epoch } = state.config;
  const lsn = makeLsn(tailEnd(state.tail) + 1);
  const prevHash = endHash(state.tail);
  return { kind: "append", lsn, epoch, prevHash, mark: state.commitLsn, ref };
}

function settleWaiting(state: ReplicaState, through: Lsn): void {
  const { waiting } = state;
  let start = state.waitingStart;
  for (
    let next = waiting[start];
    next !== undefined && next.lsn <= through;
    next = waiting[start]
  ) {
    state.waitingBytes -= next.bytes;
    start += 1;
  }
  state.waitingStart = start;
  if (start < waiting.length && start < 1024) return;
  waiting.splice(0, start);
  state.waitingStart = 0;
}
