// F18: of all datagrams (heartbeats, leases, the ring) 30 % are lost, some come twice, late, with a
// flipped bit, or once more long after: the ring turns, and no shard loses a copy.

import { setTimeout as wait } from "node:timers/promises";
import type { ChaosContext, Scenario } from "../support/chaos-context.ts";

const weather = { lost: 0.3, doubled: 0.2, forged: 0.2 };
const lookEveryMs = 250;
/** Looks at which the ring need not be whole: three tries of a hop may fail. */
const brokenShareMost = 0.2;
/** Of 64 shards. Heartbeats that were not repeated cost 43 of them a copy within 17 s. */
const crowdedMost = 12;

export const badDatagrams: Scenario = {
  name: "F18",
  about: "30 % of all datagrams lost, others doubled, late or forged",
  limits: {
    sessionsClosed: 0,
    unavailableP99Ms: 1000,
    unavailableMaxMs: 2000,
    fullWithinMs: 60_000,
  },
  network: true,
  async run(context, over) {
    const { network, cluster } = context;
    await cluster.settled(90_000);
    const unsafe = new Set<number>();
    await context.fault("bad weather", "everybody");
    await network.setWeather(weather);
    let [looks, broken, turns] = [0, 0, 0];
    let last = "";
    try {
      while (!over.aborted) {
        await wait(lookEveryMs, undefined, { signal: over }).catch(() => undefined);
        await noteUnsafe(context, unsafe);
        const { ring } = await cluster.status();
        looks++;
        if (ring?.order.length !== cluster.ports.gateways.length) broken++;
        if (ring?.holder !== undefined && ring.holder !== last) turns++;
        last = ring?.holder ?? last;
      }
    } finally {
      await network.heal();
    }
    const { lost, doubled, forged } = await network.counts();
    context.figure("datagrams lost", lost);
    context.figure("doubled", doubled);
    context.figure("forged", forged);
    context.figure("ring seen broken %", (100 * broken) / looks, 100 * brokenShareMost);
    context.figure("ring turns seen", turns);
    if (turns < 2) context.violation("the ring did not turn");
    // On a crowded machine a thread may sleep through its leases, whatever the network does.
    const most = (context.options.roomForLoad ?? 1) > 1 ? crowdedMost : 0;
    context.figure("shards that lost a copy", unsafe.size, most);
  },
};

async function noteUnsafe({ cluster }: ChaosContext, unsafe: Set<number>): Promise<void> {
  for (const { shard, state } of await cluster.shards()) if (state !== "FULL") unsafe.add(shard);
}
