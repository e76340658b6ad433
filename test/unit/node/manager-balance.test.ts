// Evenness is restored by role swaps and moves, one at a time, and ends.

import { expect, test } from "vitest";
import { ManagerBalance, nextOrder } from "../../../src/cluster/node/manager-balance.ts";
import { makeManager } from "../../../src/cluster/protocol/manager-state.ts";
import type { ManagerState } from "../../../src/cluster/protocol/manager-state.ts";
import type { ManagerOrder } from "../../../src/cluster/protocol/manager-types.ts";
import type { Copy, ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import { epoch, memberId, shardId, storeId } from "../../../src/mail/ids.ts";

const copy = (node: string): Copy => ({
  node: memberId(node),
  store: storeId(node.slice(1).padStart(32, "0")),
});

interface Holder {
  readonly primary: string;
  readonly secondary: string;
}

function stateOf(nodes: readonly string[], shards: readonly Holder[], domain = (n: string) => n) {
  const state = makeManager(memberId("g1"));
  state.acting = true;
  for (const name of nodes) {
    const { node, store } = copy(name);
    const facts = {
      node,
      store,
      incarnation: 1,
      failureDomain: domain(name),
      draining: false,
      degraded: false,
      load: 0,
    };
    state.nodes.set(node, { facts, deathsMs: [] });
  }
  for (const [index, holder] of shards.entries()) put(state, index, holder);
  return state;
}

function put(state: ManagerState, index: number, { primary, secondary }: Holder): void {
  const shard = shardId(index);
  const config: ShardConfig = {
    shard,
    epoch: epoch((state.shards.get(shard)?.config.epoch ?? 0) + 1),
    primary: copy(primary),
    secondaries: [{ ...copy(secondary), full: true }],
    minCopies: 2,
    nonce: "",
  };
  state.shards.set(shard, {
    config,
    sinceMs: 0,
    action: undefined,
    heard: new Map(),
    unfit: [],
    unfitUntilMs: 0,
    order: undefined,
    movesMs: [],
    leavingSinceMs: undefined,
    restUntilMs: 0,
  });
}

/** Does at once what takes the manager several steps. */
function carryOut(state: ManagerState, order: ManagerOrder): void {
  const shard = state.shards.get(order.shard);
  const secondary = shard?.config.secondaries[0];
  if (shard === undefined || secondary === undefined) throw new Error("no such shard");
  const primary = shard.config.primary.node;
  if (order.kind === "swap") {
    put(state, order.shard, { primary: secondary.node, secondary: primary });
  } else if (order.kind === "move") {
    const other = primary === order.from ? secondary.node : primary;
    expect(other).not.toBe(order.to);
    if (primary === order.from) put(state, order.shard, { primary: other, secondary: order.to });
    else put(state, order.shard, { primary, secondary: order.to });
  }
}

function evenOut(state: ManagerState): { swaps: number; moves: number } {
  const done = { swaps: 0, moves: 0 };
  for (let order = nextOrder(state); order !== undefined; order = nextOrder(state)) {
    carryOut(state, order);
    if (order.kind === "swap") done.swaps++;
    else done.moves++;
    if (done.swaps + done.moves > 200) throw new Error("it never ends");
  }
  return done;
}

function primaries(state: ManagerState): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { config } of state.shards.values()) {
    counts[config.primary.node] = (counts[config.primary.node] ?? 0) + 1;
  }
  return counts;
}

test("a node that came back without primaries gets its share by swaps alone", () => {
  const shards = Array.from({ length: 12 }, (_, i) =>
    i % 2 === 0 ? { primary: "n1", secondary: "n2" } : { primary: "n3", secondary: "n2" },
  );
  const state = stateOf(
    ["n1", "n2", "n3"],
    shards.map((one, i) => (i < 4 ? { primary: "n1", secondary: "n3" } : one)),
  );
  const { moves } = evenOut(state);
  expect(moves).toBe(0);
  const counts = Object.values(primaries(state));
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThan(2);
});

test("a new node gets copies, then primaries, and nobody ends with both copies of a shard", () => {
  const shards = Array.from({ length: 8 }, (_, i) =>
    i % 2 === 0 ? { primary: "n1", secondary: "n2" } : { primary: "n2", secondary: "n1" },
  );
  const state = stateOf(["n1", "n2", "n3"], shards);
  const { moves } = evenOut(state);
  expect(moves).toBeGreaterThan(3);
  for (const { config } of state.shards.values()) {
    expect(config.primary.node).not.toBe(config.secondaries[0]?.node);
  }
  const held = ["n1", "n2", "n3"].map(
    (node) =>
      [...state.shards.values()].filter(({ config }) =>
        [config.primary, ...config.secondaries].some((one) => one.node === node),
      ).length,
  );
  expect(Math.max(...held) - Math.min(...held)).toBeLessThan(2);
});

test("no move puts both copies into one failure domain", () => {
  const shards = Array.from({ length: 6 }, () => ({ primary: "n1", secondary: "n2" }));
  const state = stateOf(["n1", "n2", "n3"], shards, (node) => (node === "n3" ? "n1" : node));
  evenOut(state);
  const domains = new Map([
    ["n1", "n1"],
    ["n2", "n2"],
    ["n3", "n1"],
  ]);
  for (const { config } of state.shards.values()) {
    const [primary, secondary] = [config.primary.node, config.secondaries[0]?.node ?? ""];
    expect(domains.get(primary)).not.toBe(domains.get(secondary));
  }
});

test("copies that came to share a failure domain part again", () => {
  const shards = Array.from({ length: 4 }, () => ({ primary: "n1", secondary: "n2" }));
  const state = stateOf(["n1", "n2", "n3"], shards, (node) => (node === "n3" ? "b" : "a"));
  evenOut(state);
  for (const { config } of state.shards.values()) {
    expect([config.primary.node, config.secondaries[0]?.node]).toContain("n3");
  }
});

test("of nodes with as many copies and primaries, the busiest gives and the idlest gets", () => {
  const shards = [
    ...["n1", "n2"].flatMap((primary) => [
      { primary, secondary: "n5" },
      { primary, secondary: "n6" },
    ]),
    { primary: "n5", secondary: "n6" },
    { primary: "n6", secondary: "n5" },
  ];
  const state = stateOf(["n1", "n2", "n3", "n4", "n5", "n6"], shards);
  const setLoad = (name: string, load: number): void => {
    const known = state.nodes.get(memberId(name));
    if (known === undefined) throw new Error("no such node");
    state.nodes.set(known.facts.node, { ...known, facts: { ...known.facts, load } });
  };
  setLoad("n6", 0.9);
  setLoad("n3", 0.5);
  expect(nextOrder(state)).toMatchObject({ kind: "move", from: "n6", to: "n4" });
});

test("of primaries that are as uneven, the busiest node's goes", () => {
  const pairs = (primary: string, secondary: string) =>
    Array.from({ length: 2 }, () => ({ primary, secondary }));
  const state = stateOf(["n1", "n2", "n3", "n4"], [...pairs("n1", "n3"), ...pairs("n2", "n4")]);
  expect(nextOrder(state)).toMatchObject({ kind: "swap", to: "n3" });
  const busy = state.nodes.get(memberId("n2"));
  if (busy === undefined) throw new Error("no such node");
  state.nodes.set(busy.facts.node, { ...busy, facts: { ...busy.facts, load: 1 } });
  expect(nextOrder(state)).toMatchObject({ kind: "swap", to: "n4" });
});

test("nothing is evened out while a node is away, or before it has been calm for a while", () => {
  const shards = Array.from({ length: 4 }, () => ({ primary: "n1", secondary: "n2" }));
  const state = stateOf(["n1", "n2"], shards);
  const balance = new ManagerBalance(state);
  expect(balance.orders(1000)).toEqual([]);
  state.silent.add(memberId("n2"));
  expect(balance.orders(7000)).toEqual([]);
  expect(balance.isWanted).toBe(false);
  state.silent.clear();
  expect(balance.orders(8000)).toEqual([]);
  expect(balance.orders(12_000)).toEqual([]);
  expect(balance.orders(13_500)).toHaveLength(1);
  state.acting = false;
  expect(balance.orders(14_500)).toEqual([]);
  expect(balance.isWanted).toBe(true);
});
