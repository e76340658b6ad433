// What members' answers and the outcomes of writes lead to, and what is done when none comes in time.
// Nothing here is needed for safety: each step ends in one compare-and-set, or in nothing.

import { unreachable } from "../../lib/assert.ts";
import { epoch as makeEpoch, lsn as makeLsn } from "../../mail/ids.ts";
import type { Epoch, MemberId } from "../../mail/ids.ts";
import { rest, start, write } from "./manager-action.ts";
import { handedOver, promote, sameAgain, withFull } from "./manager-plan.ts";
import type { Anchor } from "./manager-plan.ts";
import { isOverdue } from "./manager-leave.ts";
import { addCopy, newCopy, primaryLost, removeCopy, secondariesWanted } from "./manager-shard.ts";
import { domainOf, heardOf, illness, isHere, isLeaving, isWiped } from "./manager-state.ts";
import type { Action, ManagedShard, ManagerState } from "./manager-state.ts";
import type { ManagerEffect, ManagerEvent, SealAnswer, TailEnd } from "./manager-types.ts";
import { sameCopy } from "./shard-config.ts";
import type { Copy, SecondaryCopy } from "./shard-config.ts";

type Event<K extends ManagerEvent["kind"]> = Extract<ManagerEvent, { kind: K }>;
type SealedAnswer = Extract<SealAnswer, { kind: "sealed" }>;
type ActionOf<K extends Action["kind"]> = Extract<Action, { kind: K }>;

export function onSealAnswer(
  state: ManagerState,
  shard: ManagedShard,
  event: Event<"sealAnswer">,
  out: ManagerEffect[],
): void {
  const { action, config } = shard;
  const { from, answer, linked } = event;
  if (action?.kind !== "seal" || !action.copies.some((copy) => sameCopy(copy, from))) return;
  if (answer.kind === "sealed" && answer.epoch !== config.epoch) return;
  action.answers.set(from.node, answer);
  const member = config.secondaries.find((one) => sameCopy(one, from));
  if (answer.kind === "sealed" && member !== undefined) {
    if (member.full && !answer.full) tellBehind(shard, from, out);
    if (answer.full && (member.full || hasAll(config.epoch, answer))) {
      promoteTo(state, shard, action, from, { linked, anchor: answer }, out);
      return;
    }
  }
  if (startGraft(state, shard, action, out)) return;
  const all = action.copies.every((copy) => action.answers.has(copy.node));
  if (all) rest(state, shard, state.times.retryMs);
}

/**
 * True when a copy that the table does not call full is as good as one. An entry of the present epoch in
 * its own log proves that it holds all that the primary's log held when the epoch began, and so all that
 * was acknowledged or shown before, whatever its tail began with; its tail, which it holds as well, what
 * was acknowledged since.
 */
function hasAll(epoch: Epoch, { logEpoch = makeEpoch(0) }: SealedAnswer): boolean {
  return logEpoch >= epoch;
}

/** A copy that should be complete is not: it must not be promoted. */
function tellBehind(shard: ManagedShard, from: Copy, out: ManagerEffect[]): void {
  out.push({ kind: "alarm", why: "copyBehind", shard: shard.config.shard, node: from.node });
}

/** `primary`, sealed and complete, takes over, with a new copy behind it if one can be had at once. */
function promoteTo(
  state: ManagerState,
  shard: ManagedShard,
  { leaving }: ActionOf<"seal">,
  primary: Copy,
  { linked, anchor }: { readonly linked: Event<"sealAnswer">["linked"]; readonly anchor: Anchor },
  out: ManagerEffect[],
): void {
  const config = withFull(shard.config, primary);
  const others = config.secondaries.filter((one) => !sameCopy(one, primary));
  const except = [config.primary.node];
  const next =
    others.length >= secondariesWanted
      ? undefined
      : newCopy(state, config, primary, linked, { ...anchor, still: true }, except);
  if (leaving && others.length < secondariesWanted && isHere(state, config.primary)) {
    if (next === undefined || isWorse(state, primary, next, config.primary)) {
      write(state, shard, promote(config, primary, "secondary", undefined), out);
      return;
    }
  }
  const old = isWiped(state, config.primary) ? "gone" : "former";
  write(state, shard, promote(config, primary, old, next), out);
}

/** Another copy there would be no gain: its node is unwell, too, or shares the primary's fate. */
function isWorse(state: ManagerState, primary: Copy, next: Copy, old: Copy): boolean {
  const [domain, ofNext, ofOld] = [primary, next, old].map(({ node }) => domainOf(state, node));
  const isWeller = illness(state, next.node) < illness(state, old.node);
  return !isWeller || (ofNext === domain && ofOld !== domain);
}

/** With a sealed tail and a sealed log that may reach it: let the log's owner fetch the tail. */
function startGraft(
  state: ManagerState,
  shard: ManagedShard,
  { copies, answers }: ActionOf<"seal">,
  out: ManagerEffect[],
): boolean {
  const { config } = shard;
  if (config.secondaries.some((one) => one.full)) return false;
  const isSealed = (copy: Copy) => answers.get(copy.node)?.kind === "sealed";
  const source = config.secondaries.find(
    (one) => one.late !== true && copies.some((copy) => sameCopy(copy, one)) && isSealed(one),
  );
  const base = config.former?.find(
    (one) =>
      copies.some((copy) => sameCopy(copy, one)) &&
      isSealed(one) &&
      !shard.unfit.includes(one.node),
  );
  if (source === undefined || base === undefined) return false;
  const at = tailOf(source, answers.get(source.node));
  if (at === undefined) return false;
  start(state, shard, { kind: "graft", base, source, at, sinceMs: state.nowMs }, out);
  return true;
}

/**
 * Where the tail ends that the table gives a copy. Before it has heard of its place in the table it keeps
 * none, or another one; then nothing was acknowledged with it, but all up to the anchor was before.
 */
function tailOf(
  { fromLsn, anchorHash }: SecondaryCopy,
  answer: SealAnswer | undefined,
): TailEnd | undefined {
  if (answer?.kind !== "sealed" || answer.tail === undefined) return undefined;
  const { tail } = answer;
  if (fromLsn === undefined || anchorHash === undefined) return undefined;
  if (tail?.fromLsn === fromLsn && tail.anchorHash === anchorHash) return tail;
  return { lastLsn: makeLsn(fromLsn - 1), lastHash: anchorHash };
}

export function onGraftAnswer(
  state: ManagerState,
  shard: ManagedShard,
  event: Event<"graftAnswer">,
  out: ManagerEffect[],
): void {
  const { action, config } = shard;
  if (action?.kind !== "graft" || !sameCopy(event.from, action.base)) return;
  // A log that goes on behind the tail's end has what its last epoch proposed: that may stay.
  if (event.position === undefined) {
    shard.unfit = [...shard.unfit, action.base.node];
    shard.unfitUntilMs = state.nowMs + state.times.unfitMs;
    rest(state, shard, 0);
    return;
  }
  const old = isWiped(state, config.primary) ? "gone" : "former";
  write(state, shard, promote(config, action.base, old, undefined), out);
}

export function onAskAnswer(
  state: ManagerState,
  shard: ManagedShard,
  event: Event<"askAnswer">,
  out: ManagerEffect[],
): void {
  const { action, config } = shard;
  const { position, linked } = event;
  if (!sameCopy(event.from, config.primary)) return;
  // Late, and nothing else is under way: it hears us all the same.
  if (action === undefined && position !== undefined) removeCopy(state, shard, linked, out);
  if (action?.kind !== "ask") return;
  if (position === undefined) {
    // Who can't say where it stands is asked for its wish again when its time is over, not at once.
    if (action.why !== "removeCopy") rest(state, shard, state.times.retryMs);
  } else if (action.why === "addCopy") {
    shard.action = undefined;
    addCopy(state, shard, position, linked, out);
  } else if (action.why === "removeCopy") {
    shard.action = undefined;
    removeCopy(state, shard, linked, out);
  } else {
    write(state, shard, sameAgain(config), out);
  }
}

export function onHandOverAnswer(
  state: ManagerState,
  shard: ManagedShard,
  event: Event<"handOverAnswer">,
  out: ManagerEffect[],
): void {
  const { action, config } = shard;
  if (action?.kind !== "handOver" || !sameCopy(event.from, config.primary)) return;
  if (event.position === undefined) {
    // Who is to leave is asked again soon: its time is short.
    const { retryMs } = state.times;
    rest(state, shard, isLeaving(state, config.primary.node) ? retryMs : retryMs * 4);
  } else if (isHere(state, action.to)) {
    write(state, shard, handedOver(config, action.to), out);
  } else {
    write(state, shard, sameAgain(config), out);
  }
}

/** No answer within its time. */
export function checkAction(state: ManagerState, shard: ManagedShard, out: ManagerEffect[]): void {
  const { action, config } = shard;
  if (action === undefined) return;
  const { retryMs, writeMs, handOverMs } = state.times;
  const forMs = state.nowMs - action.sinceMs;
  switch (action.kind) {
    case "seal":
    case "graft":
      if (forMs >= retryMs * (action.kind === "graft" ? 4 : 1)) shard.action = undefined;
      return;
    case "write":
      if (forMs >= writeMs) shard.action = undefined;
      return;
    case "ask":
      if (primaryLost(state, shard) || heardOf(state, shard, "primarySilent") !== undefined)
        shard.action = undefined;
      else if (forMs >= retryMs) noAnswer(state, shard, action, out);
      return;
    case "handOver":
      if (primaryLost(state, shard)) shard.action = undefined;
      else if (isOverdue(state, shard)) shard.action = undefined;
      else if (forMs < handOverMs) return;
      // It may have ended its epoch: a new one of the same primary undoes that.
      else write(state, shard, sameAgain(config), out);
      return;
    default:
      return unreachable(action);
  }
}

/** The primary does not say where it stands. A sealed secondary need not wait for it for ever. */
function noAnswer(
  state: ManagerState,
  shard: ManagedShard,
  action: ActionOf<"ask">,
  out: ManagerEffect[],
): void {
  if (action.why === "removeCopy") shard.action = undefined;
  else rest(state, shard, state.times.retryMs);
  if (action.why === "addCopy") return;
  const full: readonly SecondaryCopy[] = shard.config.secondaries.filter(
    (one) => one.full && isHere(state, one),
  );
  if (full.length === 0 || heardOf(state, shard, "sealed") === undefined) return;
  const answers = new Map<MemberId, SealAnswer>();
  const seal = { kind: "seal", sinceMs: state.nowMs, answers, evenIfHeard: true } as const;
  start(state, shard, { ...seal, copies: full, leaving: false }, out);
}
