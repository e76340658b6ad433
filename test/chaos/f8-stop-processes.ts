// F8: SIGSTOP of a random node for 0.1 to 10 s, then SIGCONT: an old primary that wakes up must not
// serve what it no longer may.

import { setTimeout as wait } from "node:timers/promises";
import type { Scenario } from "../support/chaos-context.ts";
import { oneOf, signalMember, startsWithinMs } from "./faults.ts";

export const stopProcesses: Scenario = {
  name: "F8",
  about: "SIGSTOP of a random node for 0.1 to 10 s",
  limits: {
    sessionsClosed: 0,
    unavailableP99Ms: 2000,
    unavailableMaxMs: 4000,
    fullWithinMs: 60_000,
  },
  async run(context, over) {
    const nodes = context.cluster.ports.nodes.map(({ id }) => id);
    while (!over.aborted) {
      await context.cluster.ready(nodes, startsWithinMs);
      const node = oneOf(nodes, context.random);
      const stoppedMs = 100 * 100 ** context.random();
      const pid = await signalMember(context, node, "SIGSTOP");
      try {
        await wait(stoppedMs, undefined, { signal: over }).catch(() => undefined);
      } finally {
        process.kill(pid, "SIGCONT");
      }
      await wait(2000, undefined, { signal: over }).catch(() => undefined);
    }
  },
};
