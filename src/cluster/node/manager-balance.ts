// Evenness: after failures and after nodes have come, primaries change places with their secondaries
// (no mail moves), and copies move to nodes that have few. One thing at a time, and only while all is
// well. Paper §4.1: load is spread over all servers.

import type { MemberId } from "../../mail/ids.ts";
import { sharesDomain } from "../protocol/manager-alarms.ts";
import { chooseCopy, domainOf, isHere, isLeaving } from "../protocol/manager-state.ts";
import type { ManagerState } from "../protocol/manager-state.ts";
import type { ManagerOrder } from "../protocol/manager-types.ts";
import type { ShardConfig } from "../protocol/shard-config.ts";

/** The cluster must have been whole and untouched for so long. */
const calmMs = 5000;
const everyMs = 500;

export class ManagerBalance {
  readonly #state: ManagerState;
  #calmSinceMs: number | undefined;
  #nextMs = 0;
  #wanted = false;

  constructor(state: ManagerState) {
    this.#state = state;
  }

  /** There is something to even out. */
  get isWanted(): boolean {
    return this.#wanted;
  }

  /** At most one order now and then; none unless this gateway acts. */
  orders(nowMs: number): readonly ManagerOrder[] {
    if (nowMs < this.#nextMs) return [];
    this.#nextMs = nowMs + everyMs;
    if (!isCalm(this.#state)) {
      this.#calmSinceMs = undefined;
      this.#wanted = false;
      return [];
    }
    this.#calmSinceMs ??= nowMs;
    if (nowMs - this.#calmSinceMs < calmMs) return [];
    const order = nextOrder(this.#state);
    this.#wanted = order !== undefined;
    return order === undefined || !this.#state.acting ? [] : [order];
  }
}

/** Every shard whole, every node here, nothing under way. */
function isCalm(state: ManagerState): boolean {
  for (const node of state.nodes.values()) {
    if (!isHere(state, { node: node.facts.node, store: node.facts.store })) return false;
  }
  for (const { config, action, order } of state.shards.values()) {
    if (action !== undefined || order !== undefined) return false;
    const { primary, secondaries } = config;
    if (secondaries.length === 0 || !secondaries.every((one) => one.full)) return false;
    if (![primary, ...secondaries].every((one) => isHere(state, one))) return false;
  }
  return state.shards.size > 0;
}

/** A role swap where primaries are uneven, else a move where copies are. */
export function nextOrder(state: ManagerState): ManagerOrder | undefined {
  const primaries = new Map<MemberId, number>();
  const copies = new Map<MemberId, number>();
  for (const node of state.nodes.keys()) {
    if (isLeaving(state, node)) continue;
    primaries.set(node, 0);
    copies.set(node, 0);
  }
  const configs = [...state.shards.values()].map(({ config }) => config);
  for (const { primary, secondaries } of configs) {
    add(primaries, primary.node);
    for (const { node } of [primary, ...secondaries]) add(copies, node);
  }
  return (
    nextSpread(state, copies) ??
    nextMove(state, configs, copies) ??
    nextSwap(state, configs, primaries)
  );
}

/** Copies that came to lie in one failure domain part as soon as another has a node for one of them. */
function nextSpread(
  state: ManagerState,
  copies: ReadonlyMap<MemberId, number>,
): ManagerOrder | undefined {
  for (const managed of state.shards.values()) {
    if (!sharesDomain(state, managed)) continue;
    const { config } = managed;
    const { shard, primary, secondaries } = config;
    const [secondary] = secondaries;
    if (secondary === undefined) continue;
    const nodes = [...copies.keys()];
    const to = chooseCopy(state, config, primary, nodes, [secondary.node]);
    if (to === undefined || domainOf(state, to.node) === domainOf(state, primary.node)) continue;
    return { kind: "move", shard, from: secondary.node, to: to.node };
  }
  return undefined;
}

/** Where several would do equally well, from the busiest node to the idlest. */
function nextSwap(
  state: ManagerState,
  configs: readonly ShardConfig[],
  primaries: ReadonlyMap<MemberId, number>,
): ManagerOrder | undefined {
  let best: { order: ManagerOrder; gain: number; relief: number } | undefined;
  for (const { shard, primary, secondaries } of configs) {
    const here = primaries.get(primary.node);
    for (const { node } of secondaries) {
      const there = primaries.get(node);
      if (here === undefined || there === undefined || here - there < 2) continue;
      const gain = here - there;
      const relief = loadOf(state, primary.node) - loadOf(state, node);
      if (best === undefined || gain > best.gain || (gain === best.gain && relief > best.relief)) {
        best = { order: { kind: "swap", shard, to: node }, gain, relief };
      }
    }
  }
  return best?.order;
}

/** From the fullest node to the emptiest (of equals the busiest, the idlest), never two copies on one node or into one failure domain. */
function nextMove(
  state: ManagerState,
  configs: readonly ShardConfig[],
  copies: ReadonlyMap<MemberId, number>,
): ManagerOrder | undefined {
  const nodes = [...copies.keys()].toSorted(
    (a, b) => (copies.get(a) ?? 0) - (copies.get(b) ?? 0) || loadOf(state, a) - loadOf(state, b),
  );
  const [to] = nodes;
  if (to === undefined) return undefined;
  for (const from of nodes.toReversed()) {
    if ((copies.get(from) ?? 0) - (copies.get(to) ?? 0) < 2) return undefined;
    // The secondary's copy first: nobody notices.
    for (const isPrimary of [false, true]) {
      const found = configs.find(
        (config) => (config.primary.node === from) === isPrimary && fits(state, config, from, to),
      );
      if (found !== undefined) return { kind: "move", shard: found.shard, from, to };
    }
  }
  return undefined;
}

function fits(state: ManagerState, config: ShardConfig, from: MemberId, to: MemberId): boolean {
  const nodes = [config.primary, ...config.secondaries].map(({ node }) => node);
  if (!nodes.includes(from) || nodes.includes(to)) return false;
  const staying = nodes.filter((node) => node !== from);
  // Where both share a domain already (one machine), a move makes nothing worse.
  const shares = staying.some((node) => domainOf(state, node) === domainOf(state, from));
  return shares || staying.every((node) => domainOf(state, node) !== domainOf(state, to));
}

/** 0 idle … 1 busy. */
function loadOf(state: ManagerState, node: MemberId): number {
  return state.nodes.get(node)?.facts.load ?? 0;
}

function add(counts: Map<MemberId, number>, node: MemberId): void {
  const count = counts.get(node);
  if (count !== undefined) counts.set(node, count + 1);
}
