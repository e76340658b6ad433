// F16: every mail node is stopped in order and started again, one after the other: no client sees an
// error. Its primaries are handed over; where it is a secondary, changes wait until it is replaced.

import { setTimeout as wait } from "node:timers/promises";
import type { Scenario } from "../support/chaos-context.ts";
import { signalMember, startsWithinMs, untilBack } from "./faults.ts";

export const rollingRestart: Scenario = {
  name: "F16",
  about: "rolling restart of all nodes by SIGTERM",
  limits: {
    sessionsClosed: 0,
    unavailableP99Ms: 1500,
    unavailableMaxMs: 2500,
    fullWithinMs: 60_000,
  },
  cluster: { restartAfter: "500ms" },
  async run(context, over) {
    const nodes = context.cluster.ports.nodes.map(({ id }) => id);
    for (let turn = 0; !over.aborted; turn++) {
      const node = nodes[turn % nodes.length] ?? "n1";
      const pid = await signalMember(context, node, "SIGTERM");
      await untilBack(context, node, pid);
      await context.cluster.settled(startsWithinMs);
      await wait(1000, undefined, { signal: over }).catch(() => undefined);
    }
  },
};
