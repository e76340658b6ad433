// F1: kill -9 of a random mail node every 5 s; it is back after 2 s.

import type { Scenario } from "../support/chaos-context.ts";
import { killMember, oneOf, pauseUntil, startsWithinMs } from "./faults.ts";

const everyMs = 5000;

export const killNodes: Scenario = {
  name: "F1",
  about: "kill -9 of a random node every 5 s, back after 2 s",
  limits: {
    sessionsClosed: 0,
    unavailableP99Ms: 1500,
    unavailableMaxMs: 2500,
    fullWithinMs: 60_000,
  },
  cluster: { restartAfter: "2s" },
  announcements: true,
  async run(context, over) {
    const nodes = context.cluster.ports.nodes.map(({ id }) => id);
    let next = performance.now();
    while (!over.aborted) {
      // One failure at a time, also where a start or a copy takes long: of a shard with one whole copy
      // that copy must not go.
      await context.cluster.settled(startsWithinMs);
      await pauseUntil(next, over);
      if (over.aborted) return;
      next = performance.now() + everyMs;
      await killMember(context, oneOf(nodes, context.random));
    }
  },
};
