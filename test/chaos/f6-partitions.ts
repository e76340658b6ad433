// F6: the network between members is cut in one way after the other, for some seconds each. Wherever
// there is a way left users go on; whoever was cut off with his gateway goes on once the cut has healed.
// That no two primaries serve shows in the ledger and in readers of each mailbox on both sides; a node
// that is alone is asked as well.

import { setTimeout as wait } from "node:timers/promises";
import type { ChaosContext, Scenario } from "../support/chaos-context.ts";
import { metric } from "../support/metric.ts";
import { between, type Cut, oneWay } from "../support/network/bad-network.ts";
import { membersOf, oneOf, shuffled, untilWhole } from "./faults.ts";

interface Partition {
  readonly what: string;
  readonly cuts: readonly Cut[];
  /** Members without which their users are served at once; others wait for the heal. */
  readonly replaced: readonly string[];
  /** A node that reaches nobody: it must stop serving. */
  readonly alone?: string;
}

/** Grace, and the time that a node needs to notice. */
const stopsWithinMs = 1000;

export const partitions: Scenario = {
  name: "F6",
  about: "partitions: a node, a pair, the gateways, one way, both halves, the coordinator cut off",
  limits: {
    sessionsClosed: 0,
    unavailableP99Ms: 2500,
    unavailableMaxMs: 5000,
    fullWithinMs: 60_000,
    healedWithinMs: 5000,
  },
  network: true,
  async run(context, over) {
    // One whole round at least; short cuts in a short run.
    const longestMs = Math.min(4500, 150 * context.options.seconds);
    await untilWhole(context);
    do {
      for (const make of shuffled(kinds, context.random)) {
        const ms = stopsWithinMs + context.random() * longestMs;
        await cutOnce(context, make(context), ms);
      }
    } while (!over.aborted);
  },
};

async function cutOnce(context: ChaosContext, partition: Partition, ms: number): Promise<void> {
  const { network } = context;
  const { what, cuts, replaced, alone } = partition;
  if (replaced.length > 0) await context.fault(what, replaced);
  else context.options.say(what);
  await network.cut(cuts);
  try {
    await wait(Math.min(ms, stopsWithinMs));
    if (alone !== undefined) await servesNothing(context, alone);
    await wait(Math.max(0, ms - stopsWithinMs));
    await context.fault(`heal of ${what}`, "everybody", "heal");
  } finally {
    await network.heal();
  }
  await untilWhole(context);
}

/** Every shard was whole: without its partners a node may serve none of them. */
async function servesNothing(context: ChaosContext, node: string): Promise<void> {
  const { http } = context.cluster.node(node);
  const serving = await metric(http, "pabal_shards", 'role="serving"');
  if (serving > 0) context.violation(`${node} is alone and serves ${serving} shards`);
}

const kinds: readonly ((context: ChaosContext) => Partition)[] = [
  (context) => {
    const { nodes, all } = membersOf(context);
    const node = oneOf(nodes, context.random);
    return { what: `${node} alone`, cuts: between([node], all), replaced: [node], alone: node };
  },
  (context) => {
    const [a = "", b = ""] = shuffled(membersOf(context).nodes, context.random);
    return { what: `${a} and ${b} apart`, cuts: between([a], [b]), replaced: [a, b] };
  },
  (context) => {
    const { nodes, all } = membersOf(context);
    const node = oneOf(nodes, context.random);
    return {
      what: `${node} is not heard`,
      cuts: oneWay([node], all),
      replaced: [node],
      alone: node,
    };
  },
  (context) => {
    const { nodes, all } = membersOf(context);
    const node = oneOf(nodes, context.random);
    return {
      what: `${node} hears nobody`,
      cuts: oneWay(all, [node]),
      replaced: [node],
      alone: node,
    };
  },
  (context) => {
    const { gateways } = membersOf(context);
    return { what: "gateways apart", cuts: between(gateways, gateways), replaced: [] };
  },
  (context) => {
    const { gateways, all } = membersOf(context);
    const gateway = oneOf(gateways, context.random);
    return { what: `${gateway} alone`, cuts: between([gateway], all), replaced: [] };
  },
  (context) => {
    const { members } = membersOf(context);
    return { what: "the coordinator alone", cuts: between(["c1"], members), replaced: [] };
  },
  (context) => {
    const { nodes, gateways } = membersOf(context);
    const mixed = [...shuffled(nodes, context.random), ...shuffled(gateways, context.random)];
    const here = mixed.filter((_, index) => index % 2 === 0);
    const there = mixed.filter((_, index) => index % 2 === 1);
    const cuts = [...between(here, there), ...between(there, ["c1"])];
    return { what: `${here.join(" ")} c1 | ${there.join(" ")}`, cuts, replaced: [] };
  },
];
