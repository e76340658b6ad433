// F7: all links of a node are half-open: bytes go nowhere and no end is told, while datagrams pass. Each
// gateway must notice by itself, and the node's users go on elsewhere.

import type { ChaosContext, Scenario } from "../support/chaos-context.ts";
import { between } from "../support/network/bad-network.ts";
import { until } from "../support/processes.ts";
import { membersOf, oneOf, pauseUntil, untilWhole } from "./faults.ts";

const noticedMs = 600;
const heldMs = 3000;

export const halfOpenLinks: Scenario = {
  name: "F7",
  about: "all links of a random node half-open for 3 s",
  limits: {
    sessionsClosed: 0,
    // Half a second to notice, then the lease of a primary that other nodes still hear, then GRACE.
    unavailableP99Ms: 2500,
    unavailableMaxMs: 3500,
    fullWithinMs: 60_000,
    healedWithinMs: 5000,
  },
  network: true,
  async run(context, over) {
    await untilWhole(context);
    while (!over.aborted) {
      const { nodes, gateways, members } = membersOf(context);
      const node = oneOf(nodes, context.random);
      await context.fault(`links of ${node} half-open`, [node]);
      await context.network.cut(between([node], members, "link"));
      const startMs = performance.now();
      try {
        await Promise.all(gateways.map((gateway) => noticed(context, gateway, node, startMs)));
        await pauseUntil(startMs + heldMs, over);
        await context.fault(`heal of ${node}`, "everybody", "heal");
      } finally {
        await context.network.heal();
      }
      await untilWhole(context);
    }
  },
};

/** Measures until the gateway says that its link to the node is down. */
async function noticed(
  context: ChaosContext,
  gateway: string,
  node: string,
  startMs: number,
): Promise<void> {
  await until(`${gateway} to notice`, 10_000, async () => {
    const { members } = await context.cluster.status(gateway);
    return members.some(({ id, up }) => id === node && !up) ? true : undefined;
  });
  context.figure("noticed after ms", performance.now() - startMs, noticedMs);
}
