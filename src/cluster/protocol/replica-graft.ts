// Making a tail-first log and a copy's own log one, when the primary is lost before the copy was full:
// a sealed copy appends the entries of the tail that it, or another sealed member, keeps.
// cluster.md "primary lost while the secondary is only catching up".

import { lsn as makeLsn } from "../../mail/ids.ts";
import { endHash, hashAt, tailEnd } from "./hash-tail.ts";
import { holds, joinsTail } from "./replica-report.ts";
import { acceptAll } from "./replica-secondary.ts";
import type { Graft, ReplicaState } from "./replica-state.ts";
import type { ReplicaEffect, ReplicaEvent, ReplicaMessage } from "./replica-types.ts";

type Event<K extends ReplicaEvent<unknown>["kind"]> = Extract<ReplicaEvent<unknown>, { kind: K }>;
type Message<R, K extends ReplicaMessage<R>["kind"]> = Extract<ReplicaMessage<R>, { kind: K }>;

/** A manager's order. Nothing but a seal keeps the log still meanwhile. */
export function onGraft<R>(
  state: ReplicaState,
  event: Event<"graft">,
  out: ReplicaEffect<R>[],
): void {
  const { epoch, from, throughLsn, throughHash, nowMs } = event;
  const held = state.config?.epoch ?? 0;
  const usable = !state.copying && !state.damaged && held <= epoch && state.role !== "primary";
  if (!usable || state.sealedDurableEpoch < epoch) {
    out.push({ kind: "grafted", epoch, ok: false });
    return;
  }
  startGraft(state, { epoch, from, throughLsn, throughHash, inc: 0, askedMs: nowMs }, out);
}

/** Appends this member's own tail to its log, when that log reaches the tail. */
export function graftOwn<R>(state: ReplicaState, nowMs: number, out: ReplicaEffect<R>[]): void {
  const { first, me } = state;
  if (first === undefined || state.copying || state.damaged || !joinsTail(state)) return;
  const throughLsn = tailEnd(first.tail);
  const throughHash = endHash(first.tail);
  if (holds(state, { throughLsn, throughHash })) return;
  const epoch = state.config?.epoch;
  if (epoch === undefined) return;
  const own = { epoch, from: me.node, throughLsn, throughHash, inc: state.inc, askedMs: nowMs };
  startGraft(state, own, out);
}

/** The other end of a graft: entries of our tail, which is still as our epoch is sealed. */
export function onPull<R>(
  state: ReplicaState,
  message: Message<R, "pull">,
  from: Graft["from"],
  out: ReplicaEffect<R>[],
): void {
  const { first } = state;
  if (first === undefined || state.sealedEpoch < message.epoch) return;
  const fromLsn = makeLsn(Math.max(message.lsn, first.tail.baseLsn + 1));
  const throughLsn = tailEnd(first.tail);
  if (fromLsn > throughLsn) return;
  const { epoch, fromInc: toInc } = message;
  out.push({ kind: "sendPulled", to: from, toInc, epoch, fromLsn, throughLsn });
}

export function onPulled<R>(
  state: ReplicaState,
  message: Message<R, "pulled">,
  from: Graft["from"],
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  const { graft } = state;
  if (graft === undefined || graft.from !== from || graft.epoch !== message.epoch) return;
  if (state.cuttingAfter !== undefined || state.copying) return;
  graft.inc = message.fromInc;
  const { prevLsn, prevHash } = message;
  // What was taken before did not get into the log, which was full: it is asked for again in a while.
  if (prevLsn > tailEnd(state.tail) && prevLsn <= graft.afterLsn) return;
  if (prevLsn >= state.tail.baseLsn && hashAt(state.tail, prevLsn) !== prevHash) {
    // What we hold does not reach the tail, or is not what the tail goes on from.
    endGraft(state, false, out);
    return;
  }
  if (!acceptAll(state, state, from, message, out)) return;
  const last = message.entries.at(-1);
  if (last === undefined || last.lsn <= graft.afterLsn) return;
  graft.afterLsn = last.lsn;
  if (graft.afterLsn < graft.throughLsn) pull(state, graft, nowMs, out);
}

/** The log is durable further, or cut: is the graft done, or does it go on? */
export function continueGraft<R>(state: ReplicaState, out: ReplicaEffect<R>[]): void {
  const { graft } = state;
  if (graft === undefined || !holds(state, graft)) return;
  const durable = state.durableLsn >= Math.min(graft.throughLsn, tailEnd(state.tail));
  if (durable) endGraft(state, true, out);
}

/** What was asked for may be lost. */
export function tickGraft<R>(state: ReplicaState, nowMs: number, out: ReplicaEffect<R>[]): void {
  const { graft } = state;
  if (graft === undefined || nowMs - graft.askedMs < state.limits.pullMs) return;
  const end = tailEnd(state.tail);
  if (graft.afterLsn > end) graft.afterLsn = end;
  if (graft.afterLsn < graft.throughLsn) pull(state, graft, nowMs, out);
}

function startGraft<R>(
  state: ReplicaState,
  order: Omit<Graft, "afterLsn">,
  out: ReplicaEffect<R>[],
): void {
  const graft = { ...order, afterLsn: state.shownLsn };
  state.graft = graft;
  if (holds(state, graft)) continueGraft(state, out);
  else pull(state, graft, graft.askedMs, out);
}

function endGraft<R>(state: ReplicaState, ok: boolean, out: ReplicaEffect<R>[]): void {
  const { graft } = state;
  if (graft === undefined) return;
  state.graft = undefined;
  const { epoch, from } = graft;
  if (from === state.me.node) out.push({ kind: "sealed", epoch });
  else out.push({ kind: "grafted", epoch, ok });
}

function pull<R>(state: ReplicaState, graft: Graft, nowMs: number, out: ReplicaEffect<R>[]): void {
  graft.askedMs = nowMs;
  const { epoch, from } = graft;
  const { me, first, inc } = state;
  const next = makeLsn(graft.afterLsn + 1);
  if (from !== me.node) {
    const message = { kind: "pull", epoch, fromInc: inc, toInc: 0, tail: false } as const;
    out.push({ kind: "send", to: from, message: { ...message, lsn: next } });
  } else if (first !== undefined) {
    const fromLsn = makeLsn(Math.max(next, first.tail.baseLsn + 1));
    const throughLsn = graft.throughLsn;
    out.push({ kind: "sendPulled", to: from, toInc: inc, epoch, fromLsn, throughLsn });
  }
}
