// Evenness: after failures and after nodes have come, primaries change places with their secondaries
// (no mail moves), and copies move to nodes that have few. One thing at a time, and only while all is
// well. Paper §4.1: load is spread over all servers.

import type { MemberId } from "../../mail/ids.ts";
import { isHere, isLeaving } from "../protocol/manager-state.ts";
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
  return nextMove(state, configs, copies) ?? nextSwap(configs, primaries);
}

function nextSwap(
  configs: readonly ShardConfig[],
  primaries: ReadonlyMap<MemberId, number>,
): ManagerOrder | undefined {
  let best: { readonly order: ManagerOrder; readonly gain: number } | undefined;
  for (const { shard, primary, secondaries } of configs) {
    const here = primaries.get(primary.node);
    for (const { node } of secondaries) {
      const there = primaries.get(node);
      if (here === undefined || there === undefined || here - there < 2) continue;
      const gain = here - there;
      if (best === undefined || gain > best.gain) {
        best = { order: { kind: "swap", shard, to: node }, gain };
      }
    }
  }
  return best?.order;
}

/** From the fullest node to the emptiest, never two copies on one node or into one failure domain. */
function nextMove(
  state: ManagerState,
  configs: readonly ShardConfig[],
  copies: ReadonlyMap<MemberId, number>,
): ManagerOrder | undefined {
  const nodes = [...copies.keys()].toSorted((a, b) => (copies.get(a) ?? 0) - (copies.get(b) ?? 0));
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
  const domainOf = (node: MemberId) => state.nodes.get(node)?.facts.failureDomain;
  const staying = nodes.filter((node) => node !== from);
  // Where both share a domain already (one machine), a move makes nothing worse.
  const shares = staying.some((node) => domainOf(node) === domainOf(from));
  return shares || staying.every((node) => domainOf(node) !== domainOf(to));
}

function add(counts: Map<MemberId, number>, node: MemberId): void {
  const count = counts.get(node);
  if (count !== undefined) counts.set(node, count + 1);
}
