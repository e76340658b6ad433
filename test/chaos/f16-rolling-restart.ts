// F16: every member is stopped in order (SIGTERM) and started again, one after the other: no client sees
// an error. A node's primaries are handed over; where it is a secondary, changes wait until it is replaced.
// Who was connected to a gateway that stops goes to another one.

import { setTimeout as wait } from "node:timers/promises";
import type { ChaosContext, Scenario } from "../support/chaos-context.ts";
import { membersOf, signalMember, startsWithinMs, untilBack } from "./faults.ts";

export const rollingRestart: Scenario = {
  name: "F16",
  about: "rolling restart of all members by SIGTERM",
  limits: {
    sessionsClosed: 0,
    unavailableP99Ms: 1500,
    unavailableMaxMs: 2500,
    fullWithinMs: 60_000,
  },
  cluster: { restartAfter: "500ms" },
  async run(context, over) {
    const { nodes, gateways } = membersOf(context);
    const everyone = [...nodes, ...gateways, "c1"];
    const before = errors(context);
    for (let turn = 0; !over.aborted; turn++) {
      const member = everyone[turn % everyone.length] ?? "n1";
      const pid = await signalMember(context, member, "SIGTERM");
      await untilBack(context, member, pid);
      await context.cluster.settled(startsWithinMs);
      await wait(500, undefined, { signal: over }).catch(() => undefined);
    }
    context.figure("errors at clients", errors(context) - before, 0);
  },
};

/** Refusals of commands and messages; the end of a connection to a gateway that stops is none. */
function errors({ ledger }: ChaosContext): number {
  return [...ledger.reasons].reduce(
    (sum, [reason, count]) => sum + (/^(?:45|imap: \[)/.test(reason) ? count : 0),
    0,
  );
}
