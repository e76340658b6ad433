// F4: both nodes of a shard are killed at once. Mail to its users is accepted meanwhile, kept in the
// spool of other shards, and in their mailboxes once the nodes are back.

import { setTimeout as wait } from "node:timers/promises";
import type { ChaosContext, Scenario } from "../support/chaos-context.ts";
import { killMember, oneOf, untilWhole } from "./faults.ts";

/** While both are away reading waits; they start again after 3 s. */
const awayMs = 12_000;

export const killBothCopies: Scenario = {
  name: "F4",
  about: "kill -9 of both nodes of a shard at once, back after 3 s",
  limits: {
    sessionsClosed: 0,
    unavailableP99Ms: awayMs,
    unavailableMaxMs: awayMs,
    fullWithinMs: 60_000,
  },
  cluster: { restartAfter: "3s" },
  async run(context, over) {
    while (!over.aborted) {
      // Who has waited through two faults has waited twice as long.
      await untilWhole(context);
      if (over.aborted) break;
      const shard = oneOf(await context.cluster.shards(), context.random);
      const [first = "n1", second = "n2"] = shard.whole;
      await Promise.all([killMember(context, first), killMember(context, second)]);
      await wait(2000, undefined, { signal: over }).catch(() => undefined);
    }
    await context.cluster.settled(120_000);
    sayWhatWasSpooled(context);
  },
};

function sayWhatWasSpooled(context: ChaosContext): void {
  const { accepted, inMailbox } = context.ledger;
  const atOnce = [...inMailbox.values()].reduce((sum, ids) => sum + ids.length, 0);
  context.figure("accepted into the spool", accepted.size - atOnce);
  if (accepted.size === atOnce) context.tooLate("no mail was accepted into the spool");
}
