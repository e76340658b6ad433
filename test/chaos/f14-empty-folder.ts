// F14: a node dies and comes back with an empty data folder: it is another node by the same name, and
// its copies are made anew.

import { rmSync } from "node:fs";
import type { Scenario } from "../support/chaos-context.ts";
import { isAlive, until } from "../support/processes.ts";
import { killMember, membersOf, oneOf, untilBack } from "./faults.ts";

export const emptyFolder: Scenario = {
  name: "F14",
  about: "kill -9 of a random node, whose data folder is empty when it is back after 2 s",
  limits: {
    sessionsClosed: 0,
    unavailableP99Ms: 1500,
    unavailableMaxMs: 2500,
    fullWithinMs: 120_000,
  },
  cluster: { restartAfter: "2s" },
  async run(context, over) {
    const { cluster } = context;
    while (!over.aborted) {
      await cluster.settled(180_000);
      if (over.aborted) return;
      const node = oneOf(membersOf(context).nodes, context.random);
      const pid = await killMember(context, node);
      const killedMs = performance.now();
      await until(`the end of ${node}`, 1500, () => (isAlive(pid) ? undefined : true));
      rmSync(cluster.node(node).data, { recursive: true, force: true });
      await untilBack(context, node, pid);
      await cluster.settled(180_000);
      context.figure("all copies whole after ms", performance.now() - killedMs, 120_000);
    }
  },
};
