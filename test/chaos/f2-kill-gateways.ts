// F2: kill -9 of a random gateway every 5 s. Sessions of other gateways notice nothing.

import type { ChaosContext, Scenario } from "../support/chaos-context.ts";
import { until } from "../support/processes.ts";
import { killMember, oneOf, pauseUntil, startsWithinMs } from "./faults.ts";

const everyMs = 5000;
const ringWithinMs = 1000;

export const killGateways: Scenario = {
  name: "F2",
  announcements: true,
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
      const gateway = oneOf(gateways, context.random);
      const watcher = context.otherGateway(gateway);
      const term = await ringTerm(context, watcher);
      await killMember(context, gateway);
      await ringAfter(context, watcher, gateway, term);
    }
  },
};

async function ringTerm({ cluster }: ChaosContext, watcher: string): Promise<number> {
  return until("a ring", startsWithinMs, async () => (await cluster.status(watcher)).ring?.term);
}

/**
 * Measures until the watcher is on a ring made after the kill. It may have the killed gateway again
 * when it is seen: on a busy machine an answer can take longer than a restart. One that is back while
 * the watcher still pins the token is on the former ring again, which is whole then.
 */
async function ringAfter(
  context: ChaosContext,
  watcher: string,
  killed: string,
  term: number,
): Promise<void> {
  const startMs = performance.now();
  await until("a ring of those who live", startsWithinMs, async () => {
    const now = await ringTerm(context, watcher);
    const back = await context.cluster.status(killed).catch(() => undefined);
    return now > term || back?.ring?.term === now ? true : undefined;
  });
  context.figure("ring whole after ms", performance.now() - startMs, ringWithinMs);
}
