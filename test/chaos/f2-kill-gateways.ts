// F2: kill -9 of a random gateway every 5 s. Sessions of other gateways notice nothing.

import type { Scenario } from "../support/chaos-context.ts";
import { killMember, oneOf, pauseUntil, startsWithinMs } from "./faults.ts";

const everyMs = 5000;

export const killGateways: Scenario = {
  name: "F2",
  about: "kill -9 of a random gateway every 5 s, back after 1 s",
  limits: {
    sessionsClosed: 0,
    unavailableP99Ms: 1500,
    unavailableMaxMs: 2500,
    fullWithinMs: 60_000,
  },
  cluster: { restartAfter: "1s" },
  async run(context, over) {
    const gateways = context.cluster.ports.gateways.map(({ id }) => id);
    let next = performance.now();
    while (!over.aborted) {
      await context.cluster.ready(gateways, startsWithinMs);
      await pauseUntil(next, over);
      if (over.aborted) return;
      next = performance.now() + everyMs;
      await killMember(context, oneOf(gateways, context.random));
    }
  },
};
