// F10: fsync fails on a node. It must end at once, and its users go on elsewhere. Needs strace and the
// right to trace; without it the scenario fails, as it shows nothing.

import { setTimeout as wait } from "node:timers/promises";
import type { Scenario } from "../support/chaos-context.ts";
import { canTrace, failSyncs } from "../support/failing-sync.ts";
import { isAlive, until } from "../support/processes.ts";
import { oneOf, untilBack } from "./faults.ts";

export const failedSync: Scenario = {
  name: "F10",
  about: "fsync fails on a random node (strace), which is started again after 2 s",
  limits: {
    sessionsClosed: 0,
    // The process is traced from the fault on, which makes its last moments slow.
    unavailableP99Ms: 3000,
    unavailableMaxMs: 5000,
    fullWithinMs: 60_000,
  },
  cluster: { restartAfter: "2s" },
  async run(context, over) {
    if (!canTrace()) return context.violation("strace is missing, or may not trace");
    const { cluster } = context;
    while (!over.aborted) {
      await cluster.settled(120_000);
      // A node that has just come back may hold nothing yet: it syncs nothing, and nothing can fail.
      const node = oneOf(await context.nodesWithUsers(), context.random);
      const pid = cluster.pid(node);
      await context.fault(`fsync of ${node} fails`, [node]);
      const startMs = performance.now();
      const failing = failSyncs(pid);
      try {
        await until(`${node} to end`, 30_000, () => (isAlive(pid) ? undefined : true));
        context.figure("ended after ms", performance.now() - startMs);
      } finally {
        failing.end();
      }
      await untilBack(context, node, pid);
      await wait(1000, undefined, { signal: over }).catch(() => undefined);
    }
  },
};
