// What the manager remembers, and what can be read off it: who can be reached, which copies exist,
// where a new one would lie well. Changes nothing; rules are in manager.ts.

import type { MemberId, ShardId } from "../../mail/ids.ts";
import type {
  MailNode,
  ManagerOrder,
  SealAnswer,
  ShardPlan,
  ShardReport,
  TailEnd,
} from "./manager-types.ts";
import { sameCopy } from "./shard-config.ts";
import type { Copy, SecondaryCopy, ShardConfig } from "./shard-config.ts";

export interface ManagerTimes {
  /** An answer that does not come is asked for again after this. */
  readonly retryMs: number;
  /** A former copy that could not be grafted may have learnt what it needs after this. */
  readonly unfitMs: number;
  /** A write's outcome, read again by the shell where it is unknown, comes within this. */
  readonly writeMs: number;
  /**
   * A handover that was not answered for so long is given up by a commit. From a node that is drained
   * or unwell the primary is then taken as if the node had failed (manager-leave.ts).
   */
  readonly handOverMs: number;
  /** A report or another gateway's view counts for so long. */
  readonly reportMs: number;
  readonly viewMs: number;
  /** A node that died `deathsMax` times within this is avoided. */
  readonly deathsWithinMs: number;
  readonly deathsMax: number;
  /** At most so many primaries change hands by plan at the same time, those of unwell nodes apart. */
  readonly handOversMax: number;
  /** More full copies than wanted are kept for so long: an order may be under way at another gateway. */
  readonly surplusMs: number;
  /** A shard that got another primary twice within this is given to nodes that are well only. */
  readonly movesWithinMs: number;
}

export const managerTimes: ManagerTimes = {
  retryMs: 250,
  unfitMs: 3000,
  writeMs: 4000,
  handOverMs: 1500,
  reportMs: 600,
  viewMs: 2000,
  deathsWithinMs: 600_000,
  deathsMax: 3,
  handOversMax: 8,
  surplusMs: 30_000,
  movesWithinMs: 30_000,
};

/** What is under way for a shard, all in its present epoch. One thing at a time. */
export type Action =
  | {
      readonly kind: "seal";
      sinceMs: number;
      readonly copies: readonly Copy[];
      readonly answers: Map<MemberId, SealAnswer>;
      readonly evenIfHeard: boolean;
      /** The primary lives, but did not hand over in time. */
      readonly leaving: boolean;
    }
  /** Where the primary stands is asked, to decide `why`. */
  | { readonly kind: "ask"; readonly why: "addCopy" | "removeCopy" | "resolve"; sinceMs: number }
  | { readonly kind: "handOver"; readonly to: Copy; sinceMs: number }
  | {
      readonly kind: "graft";
      readonly base: Copy;
      readonly source: SecondaryCopy;
      readonly at: TailEnd;
      sinceMs: number;
    }
  | { readonly kind: "write"; readonly plan: ShardPlan; sinceMs: number };

/** The newest report of each kind, from each copy, in the shard's present epoch. */
export interface Heard {
  readonly from: Copy;
  readonly linked: readonly MemberId[];
  readonly report: ShardReport;
  readonly atMs: number;
}

export interface ManagedShard {
  config: ShardConfig;
  /** Since when this config is known. */
  sinceMs: number;
  action: Action | undefined;
  readonly heard: Map<string, Heard>;
  /** Former copies that did not contain the tail's anchor, or not yet: not asked again for a while. */
  unfit: MemberId[];
  unfitUntilMs: number;
  order: ManagerOrder | undefined;
  /** When it got another primary lately, newest first. */
  movesMs: readonly number[];
  /** When the primary was first told to hand over, as it is to leave its node. */
  leavingSinceMs: number | undefined;
  /** Nothing is planned before (nobody answered, no node had room). */
  restUntilMs: number;
}

export const movesKept = 2;

export interface KnownNode {
  readonly facts: MailNode;
  /** Starts of new processes that were noticed: each stands for a death. */
  readonly deathsMs: readonly number[];
}

export interface ManagerState {
  readonly me: MemberId;
  readonly times: ManagerTimes;
  nowMs: number;
  acting: boolean;
  readonly shards: Map<ShardId, ManagedShard>;
  /** Registered nodes; those that were before, with their deaths, in `gone`. */
  readonly nodes: Map<MemberId, KnownNode>;
  readonly gone: Map<MemberId, KnownNode>;
  readonly reset: Set<MemberId>;
  readonly silent: Set<MemberId>;
  gateways: readonly MemberId[];
  readonly views: Map<
    MemberId,
    { readonly unreachable: readonly MemberId[]; readonly atMs: number }
  >;
}

export function makeManager(me: MemberId, times: ManagerTimes = managerTimes): ManagerState {
  return {
    me,
    times,
    nowMs: 0,
    acting: false,
    shards: new Map(),
    nodes: new Map(),
    gone: new Map(),
    reset: new Set(),
    silent: new Set(),
    gateways: [me],
    views: new Map(),
  };
}

/** True when most gateways of the ring can't reach the node. */
export function isLost(state: ManagerState, node: MemberId): boolean {
  let lost = state.reset.has(node) || state.silent.has(node) ? 1 : 0;
  for (const gateway of state.gateways) {
    const view = gateway === state.me ? undefined : state.views.get(gateway);
    if (view === undefined || state.nowMs - view.atMs > state.times.viewMs) continue;
    if (view.unreachable.includes(node)) lost += 1;
  }
  return lost * 2 > state.gateways.length;
}

/** True when this gateway can talk to the node and it still has that data folder. */
export function isHere(state: ManagerState, copy: Copy): boolean {
  const known = state.nodes.get(copy.node);
  if (known?.facts.store !== copy.store) return false;
  return !state.reset.has(copy.node) && !state.silent.has(copy.node) && !isLost(state, copy.node);
}

/** True when the node came back with another data folder: this copy will never be seen again. */
export function isWiped(state: ManagerState, copy: Copy): boolean {
  const known = state.nodes.get(copy.node);
  return known !== undefined && known.facts.store !== copy.store;
}

/** The failure domain that the node is in, or was when it was last registered. */
export function domainOf(state: ManagerState, node: MemberId): string | undefined {
  return (state.nodes.get(node) ?? state.gone.get(node))?.facts.failureDomain;
}

/** A node that an operator or the node itself wants rid of its primaries. */
export function isLeaving(state: ManagerState, node: MemberId): boolean {
  const facts = state.nodes.get(node)?.facts;
  return facts !== undefined && (facts.draining || facts.degraded);
}

/** How little a node is fit for primaries: 0 well, 1 was unwell a moment ago, 2 is unwell, 3 drained or about to end. */
export function illness(state: ManagerState, node: MemberId): number {
  const facts = state.nodes.get(node)?.facts;
  if (facts === undefined) return 0;
  if (facts.draining || facts.stopping === true) return 3;
  return facts.degraded ? (facts.recovering === true ? 1 : 2) : 0;
}

/** Its disk or its loop is slow, or it is nearly full. */
export function isDegraded(state: ManagerState, node: MemberId): boolean {
  return state.nodes.get(node)?.facts.degraded === true;
}

/** Its process ends in a moment. */
export function isStopping(state: ManagerState, node: MemberId): boolean {
  return state.nodes.get(node)?.facts.stopping === true;
}

export function isDraining(state: ManagerState, node: MemberId): boolean {
  return state.nodes.get(node)?.facts.draining === true;
}

/** The newest report of this kind that is fresh, of the shard's present epoch. */
export function heardOf<K extends ShardReport["kind"]>(
  state: ManagerState,
  shard: ManagedShard,
  kind: K,
): (Heard & { readonly report: Extract<ShardReport, { kind: K }> }) | undefined {
  for (const heard of shard.heard.values()) {
    const { report } = heard;
    if (report.kind !== kind || report.epoch !== shard.config.epoch) continue;
    if (state.nowMs - heard.atMs > state.times.reportMs) continue;
    return { ...heard, report: report as Extract<ShardReport, { kind: K }> };
  }
  return undefined;
}

/**
 * The best node for another copy of this shard. One in the failure domain of a copy that stays is taken
 * only when no other domain has a node for it. Then by deaths, health, whether it is a former member,
 * copies held and load. `linked`: nodes that the primary reaches.
 */
export function chooseCopy(
  state: ManagerState,
  config: ShardConfig,
  primary: Copy,
  linked: readonly MemberId[],
  except: readonly MemberId[],
): Copy | undefined {
  const members = [primary, ...config.secondaries].map(({ node }) => node);
  const domains = members
    .filter((node) => !except.includes(node) && (node === primary.node || !isDraining(state, node)))
    .map((node) => domainOf(state, node));
  let best: { readonly copy: Copy; readonly costs: readonly number[] } | undefined;
  for (const { facts, deathsMs } of state.nodes.values()) {
    const { node, store, failureDomain, load } = facts;
    const copy = { node, store };
    if (members.includes(node) || except.includes(node) || !linked.includes(node)) continue;
    if (facts.draining || !isHere(state, copy)) continue;
    const former = config.former?.some((one) => sameCopy(one, copy)) === true;
    // A former member has its copy already, or most of it.
    if (facts.crowded === true && !former) continue;
    const deaths = deathsMs.filter((at) => state.nowMs - at < state.times.deathsWithinMs).length;
    const costs = [
      domains.includes(failureDomain) ? 1 : 0,
      deaths >= state.times.deathsMax ? 1 : 0,
      illness(state, node),
      former ? 0 : 1,
      copiesAt(state, node),
      load,
    ];
    if (best === undefined || isLess(costs, best.costs)) best = { copy, costs };
  }
  return best?.copy;
}

function copiesAt(state: ManagerState, node: MemberId): number {
  let count = 0;
  for (const { config, action } of state.shards.values()) {
    const { primary, secondaries } = action?.kind === "write" ? action.plan : config;
    if (primary.node === node || secondaries.some((one) => one.node === node)) count += 1;
  }
  return count;
}

function isLess(a: readonly number[], b: readonly number[]): boolean {
  for (const [at, cost] of a.entries()) {
    const other = b[at] ?? 0;
    if (cost !== other) return cost < other;
  }
  return false;
}

/** How many handovers are under way. */
export function handOversNow(state: ManagerState): number {
  let count = 0;
  for (const { action } of state.shards.values()) if (action?.kind === "handOver") count += 1;
  return count;
}
