// What the manager does about one shard when nothing is under way for it: the table "What the
// manager does" of cluster.md, most urgent line first. Answers and writes are in manager-action.ts.

import type { MemberId } from "../../mail/ids.ts";
import { start, write } from "./manager-action.ts";
import { handOverTo, leavePrimary, leaveOverdue, successor } from "./manager-leave.ts";
import { addSecondary, handedOver, markFull, removeSecondary, tailFirst } from "./manager-plan.ts";
import type { Anchor } from "./manager-plan.ts";
import {
  chooseCopy,
  heardOf,
  isDraining,
  isHere,
  isLeaving,
  isLost,
  isWiped,
} from "./manager-state.ts";
import type { ManagedShard, ManagerState } from "./manager-state.ts";
import type { ManagerEffect, SealAnswer } from "./manager-types.ts";
import { sameCopy } from "./shard-config.ts";
import type { Copy, SecondaryCopy, ShardConfig } from "./shard-config.ts";

/** One full secondary beside the primary is what a shard has at rest. */
export const secondariesWanted = 1;

/** How long an order that can't be carried out now keeps a shard from being looked at again. */
const restMs = 500;

export function considerShard(
  state: ManagerState,
  shard: ManagedShard,
  out: ManagerEffect[],
): void {
  if (!state.acting || shard.action !== undefined) return;
  if (handOverEnded(state, shard, out)) return;
  const unusable = heardOf(state, shard, "unusable");
  const broken = unusable !== undefined && sameCopy(unusable.from, shard.config.primary);
  if (broken || primaryLost(state, shard)) {
    if (state.nowMs >= shard.restUntilMs) takeOver(state, shard, broken, out);
    return;
  }
  if (heardOf(state, shard, "primarySilent") !== undefined) {
    if (state.nowMs >= shard.restUntilMs) takeOver(state, shard, false, out);
    return;
  }
  if (secondaryRemoved(state, shard, out) || secondarySynced(state, shard, out)) return;
  if (heardOf(state, shard, "sealed") !== undefined) {
    if (leaveOverdue(state, shard, out)) return;
    start(state, shard, { kind: "ask", why: "resolve", sinceMs: state.nowMs }, out);
    return;
  }
  if (state.nowMs < shard.restUntilMs) return;
  if (carryOutOrder(state, shard, out) || relieve(state, shard, out)) return;
  if (wantsCopy(state, shard)) {
    start(state, shard, { kind: "ask", why: "addCopy", sinceMs: state.nowMs }, out);
    return;
  }
  dropSurplus(state, shard, out);
}

/** Most gateways can't reach the primary, or its data folder is not the table's any more. */
export function primaryLost(state: ManagerState, shard: ManagedShard): boolean {
  const { primary } = shard.config;
  return isLost(state, primary.node) || isWiped(state, primary);
}

/** SEAL whoever may follow the primary: the full secondaries, or former ones and a tail. */
function takeOver(
  state: ManagerState,
  shard: ManagedShard,
  broken: boolean,
  out: ManagerEffect[],
): void {
  const { config } = shard;
  const full = config.secondaries.filter((one) => one.full && isHere(state, one));
  const evenIfHeard = broken || primaryLost(state, shard);
  const answers = new Map<MemberId, SealAnswer>();
  const seal = {
    kind: "seal",
    sinceMs: state.nowMs,
    answers,
    evenIfHeard,
    leaving: false,
  } as const;
  if (full.length > 0) {
    start(state, shard, { ...seal, copies: full }, out);
    return;
  }
  const isTailOnly = !config.secondaries.some((one) => one.full);
  const filling = isTailOnly ? config.secondaries.filter((one) => isHere(state, one)) : [];
  if (filling.length > 0) {
    const isSource = filling.some((one) => one.late !== true);
    const bases = isSource ? graftBases(state, shard) : [];
    const others = bases.filter((base) => !filling.some((one) => sameCopy(one, base)));
    // A former member that still takes itself for the primary can't be grafted.
    if (others.length > 0) out.push({ kind: "push", config, to: others.map(({ node }) => node) });
    // One that is being filled may be complete by now, though the table does not say so.
    start(state, shard, { ...seal, copies: [...filling, ...others] }, out);
    return;
  }
  // Nobody is left: manager-alarms.ts tells it.
  shard.restUntilMs = state.nowMs + state.times.retryMs;
}

/**
 * Copies whose own log may contain the anchor of the tail that is all we have: former members, and
 * those among them that are catching up already.
 */
export function graftBases(state: ManagerState, shard: ManagedShard): readonly Copy[] {
  const { former } = shard.config;
  if (former === undefined) return [];
  if (state.nowMs >= shard.unfitUntilMs) shard.unfit = [];
  return former.filter((one) => isHere(state, one) && !shard.unfit.includes(one.node));
}

/** The primary ended its epoch: someone must follow it, whoever asked for it. */
function handOverEnded(state: ManagerState, shard: ManagedShard, out: ManagerEffect[]): boolean {
  const ended = heardOf(state, shard, "handedOver");
  const { config } = shard;
  if (ended === undefined || !sameCopy(ended.from, config.primary)) return false;
  const next = successor(state, shard, undefined);
  if (next !== undefined) write(state, shard, handedOver(config, next), out);
  // Nobody to take it: the old primary begins a new epoch.
  else start(state, shard, { kind: "ask", why: "resolve", sinceMs: state.nowMs }, out);
  return true;
}

function secondaryRemoved(state: ManagerState, shard: ManagedShard, out: ManagerEffect[]): boolean {
  const wish = removalWish(state, shard);
  if (wish === undefined) return false;
  // Which of the two has lost the other? A primary that hears nobody misses every secondary.
  if (!isHere(state, wish.gone)) removeAsWished(state, shard, wish, wish.heard.linked, out);
  else if (!leaveOverdue(state, shard, out))
    start(state, shard, { kind: "ask", why: "removeCopy", sinceMs: state.nowMs }, out);
  return true;
}

interface RemovalWish {
  readonly gone: SecondaryCopy;
  readonly heard: NonNullable<ReturnType<typeof heardOf<"removeSecondary">>>;
}

function removalWish(state: ManagerState, shard: ManagedShard): RemovalWish | undefined {
  const heard = heardOf(state, shard, "removeSecondary");
  const { config } = shard;
  if (heard === undefined || !sameCopy(heard.from, config.primary)) return undefined;
  const gone = config.secondaries.find((one) => sameCopy(one, heard.report.secondary));
  return gone === undefined ? undefined : { gone, heard };
}

/** The primary has answered, and so hears us: what it wishes still is done. */
export function removeCopy(
  state: ManagerState,
  shard: ManagedShard,
  linked: readonly MemberId[],
  out: ManagerEffect[],
): void {
  const wish = removalWish(state, shard);
  if (wish !== undefined) removeAsWished(state, shard, wish, linked, out);
}

function removeAsWished(
  state: ManagerState,
  shard: ManagedShard,
  { gone, heard: { report } }: RemovalWish,
  linked: readonly MemberId[],
  out: ManagerEffect[],
): void {
  const { config } = shard;
  // A full member has what an earlier life of the primary acknowledged; former ones may not.
  const still = gone.full || report.settled === true;
  const left = config.secondaries.length - 1;
  const next =
    left >= secondariesWanted
      ? undefined
      : newCopy(state, config, config.primary, linked, { ...report, still }, [gone.node]);
  write(state, shard, removeSecondary(config, gone, next), out);
}

function secondarySynced(state: ManagerState, shard: ManagedShard, out: ManagerEffect[]): boolean {
  const heard = heardOf(state, shard, "synced");
  const { config } = shard;
  if (heard === undefined || !sameCopy(heard.from, config.primary)) return false;
  const { secondary } = heard.report;
  const member = config.secondaries.find((one) => sameCopy(one, secondary));
  if (member === undefined || member.full) return false;
  write(state, shard, markFull(config, secondary, secondariesWanted), out);
  return true;
}

/** A swap or a move: one step towards it, or nothing when it is done. */
function carryOutOrder(state: ManagerState, shard: ManagedShard, out: ManagerEffect[]): boolean {
  const { order, config } = shard;
  if (order === undefined || order.kind === "forcePromote") return false;
  const isTarget = config.primary.node === order.to;
  const target = config.secondaries.find(({ node }) => node === order.to);
  if (order.kind === "swap") {
    if (!isTarget && target?.full === true) return handOverTo(state, shard, target, out);
    if (!isTarget && target === undefined) refuse(shard, out);
    if (isTarget) shard.order = undefined;
    return false;
  }
  const isSource = config.primary.node === order.from;
  const source = config.secondaries.find(({ node }) => node === order.from);
  if ((!isSource && source === undefined) || order.from === order.to) {
    shard.order = undefined;
    return false;
  }
  if (!isTarget && target === undefined) {
    if (state.nodes.has(order.to)) {
      start(state, shard, { kind: "ask", why: "addCopy", sinceMs: state.nowMs }, out);
      return true;
    }
    refuse(shard, out);
    return false;
  }
  if (target?.full === false) return false;
  if (isSource && target !== undefined) return handOverTo(state, shard, target, out);
  if (source === undefined) return false;
  if (!isCovered(state, config, source)) {
    refuse(shard, out);
    return false;
  }
  shard.order = undefined;
  write(state, shard, removeSecondary(config, source, undefined), out);
  return true;
}

/** Another full secondary is to be seen: nothing that is done by plan leaves a shard with less. */
function isCovered(state: ManagerState, { secondaries }: ShardConfig, gone: Copy): boolean {
  return secondaries.some((one) => one.full && !sameCopy(one, gone) && isHere(state, one));
}

/** Primaries leave a node that is drained or unwell; a drained one gives up its secondaries, too. */
function relieve(state: ManagerState, shard: ManagedShard, out: ManagerEffect[]): boolean {
  if (leavePrimary(state, shard, out)) return true;
  const { config } = shard;
  const leaving = config.secondaries.find((one) => one.full && isDraining(state, one.node));
  if (leaving === undefined || !isCovered(state, config, leaving)) return false;
  write(state, shard, removeSecondary(config, leaving, undefined), out);
  return true;
}

/** Too few secondaries, or one that is wanted elsewhere, or a former member could take up its part. */
function wantsCopy(state: ManagerState, shard: ManagedShard): boolean {
  const { config } = shard;
  if (!isHere(state, config.primary) || state.nodes.size < 2) return false;
  const staying = config.secondaries.filter((one) => !isDraining(state, one.node));
  if (staying.length < secondariesWanted) return hasRoom(state, shard);
  return !staying.some((one) => one.full) && formerReturned(state, shard) !== undefined;
}

/** A former member that is back, well, and not yet among the secondaries, none of which was one. */
function formerReturned(state: ManagerState, shard: ManagedShard): Copy | undefined {
  const { former, secondaries, primary } = shard.config;
  const isMember = (copy: Copy) =>
    copy.node === primary.node || secondaries.some(({ node }) => node === copy.node);
  if (former?.some(isMember) === true) return undefined;
  return former?.find((one) => isHere(state, one) && !isLeaving(state, one.node));
}

/** Some node could take a copy, as far as is known before the primary is asked whom it reaches. */
function hasRoom(state: ManagerState, shard: ManagedShard): boolean {
  const all = [...state.nodes.keys()];
  const { config } = shard;
  return chooseCopy(state, config, config.primary, all, []) !== undefined;
}

/** What the primary's answer to `ask` allows. */
export function addCopy(
  state: ManagerState,
  shard: ManagedShard,
  anchor: Anchor,
  linked: readonly MemberId[],
  out: ManagerEffect[],
): void {
  const { config, order } = shard;
  const ordered =
    order?.kind === "move" ? orderedCopy(state, shard, order.to, anchor, linked) : undefined;
  // An order that can't be carried out now doesn't keep the shard from what it needs.
  const needed = ordered === undefined && wantsCopy(state, shard);
  const next = needed ? neededCopy(state, shard, anchor, linked) : ordered;
  shard.restUntilMs = state.nowMs + restMs;
  if (next !== undefined) write(state, shard, addSecondary(config, next), out);
}

/** Whoever fits best when there are too few; else the former member that is back, if it is linked. */
function neededCopy(
  state: ManagerState,
  shard: ManagedShard,
  anchor: Anchor,
  linked: readonly MemberId[],
): SecondaryCopy | undefined {
  const { config } = shard;
  const staying = config.secondaries.filter((one) => !isDraining(state, one.node));
  const former = formerReturned(state, shard);
  const tooFew = staying.length < secondariesWanted;
  const copy = tooFew
    ? chooseCopy(state, config, config.primary, linked, [])
    : former !== undefined && linked.includes(former.node)
      ? former
      : undefined;
  return copy === undefined ? undefined : tailFirst(config, copy, anchor, false);
}

function orderedCopy(
  state: ManagerState,
  shard: ManagedShard,
  to: MemberId,
  anchor: Anchor,
  linked: readonly MemberId[],
): SecondaryCopy | undefined {
  const facts = state.nodes.get(to)?.facts;
  if (facts === undefined || !linked.includes(to)) return undefined;
  if (shard.config.primary.node === to) return undefined;
  if (shard.config.secondaries.some(({ node }) => node === to)) return undefined;
  return tailFirst(shard.config, { node: to, store: facts.store }, anchor, false);
}

/** Another secondary behind the anchor of a primary; a former member before others. */
export function newCopy(
  state: ManagerState,
  config: ShardConfig,
  primary: Copy,
  linked: readonly MemberId[],
  anchor: Anchor & { readonly still: boolean },
  except: readonly MemberId[],
): SecondaryCopy | undefined {
  const copy = chooseCopy(state, config, primary, linked, except);
  return copy === undefined ? undefined : tailFirst(config, copy, anchor, anchor.still);
}

/** More full copies than wanted, and no order that needs them: the manager that had it is gone. */
function dropSurplus(state: ManagerState, shard: ManagedShard, out: ManagerEffect[]): void {
  const { config, order } = shard;
  const full = config.secondaries.filter((one) => one.full);
  const last = full.find((one) => !isHere(state, one)) ?? full.at(-1);
  if (order !== undefined || full.length <= secondariesWanted || last === undefined) return;
  if (state.nowMs - shard.sinceMs < state.times.surplusMs) return;
  write(state, shard, removeSecondary(config, last, undefined), out);
}

function refuse(shard: ManagedShard, out: ManagerEffect[]): void {
  shard.order = undefined;
  out.push({ kind: "alarm", why: "orderRefused", shard: shard.config.shard });
}
