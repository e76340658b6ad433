// F3: a node and the gateway that is the manager die at the same moment.

import type { ChaosContext, Scenario } from "../support/chaos-context.ts";
import { killMember, oneOf, pauseUntil, startsWithinMs } from "./faults.ts";

const everyMs = 6000;

export const killNodeAndManager: Scenario = {
  name: "F3",
  about: "kill -9 of a random node and of the ring's holder at once",
  limits: {
    sessionsClosed: 0,
    unavailableP99Ms: 3000,
    unavailableMaxMs: 3000,
    fullWithinMs: 60_000,
  },
  cluster: { restartAfter: "2s" },
  async run(context, over) {
    const { nodes } = context.cluster.ports;
    let next = performance.now();
    while (!over.aborted) {
      await context.cluster.settled(startsWithinMs);
      await pauseUntil(next, over);
      if (over.aborted) return;
      next = performance.now() + everyMs;
      const node = oneOf(
        nodes.map(({ id }) => id),
        context.random,
      );
      await Promise.all([killMember(context, node), killMember(context, await manager(context))]);
    }
  },
};

async function manager(context: ChaosContext): Promise<string> {
  const { ring } = await context.cluster.status();
  return ring?.holder ?? context.cluster.ports.gateways[0]?.id ?? "g1";
}
