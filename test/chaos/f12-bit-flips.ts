// F12: bits of one node's log and blobs flip while it is down. Whatever its start, reads and the scrubber
// find is fetched from the other copy; in the end every byte of every copy is right.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ChaosContext, Scenario } from "../support/chaos-context.ts";
import { metric } from "../support/metric.ts";
import { isAlive, until } from "../support/processes.ts";
import { killMember, membersOf, oneOf, untilBack } from "./faults.ts";

const flipsEach = 40;

export const bitFlips: Scenario = {
  name: "F12",
  about: "random bits flip in the log and blobs of a random node while it is down for 3 s",
  limits: {
    sessionsClosed: 0,
    unavailableP99Ms: 1500,
    unavailableMaxMs: 2500,
    fullWithinMs: 120_000,
  },
  cluster: { restartAfter: "3s", set: ["disk.scrubEvery=1s"] },
  async run(context, over) {
    const { cluster } = context;
    while (!over.aborted) {
      await cluster.settled(180_000);
      if (over.aborted) return;
      const node = oneOf(membersOf(context).nodes, context.random);
      const pid = await killMember(context, node);
      await until(`the end of ${node}`, 2000, () => (isAlive(pid) ? undefined : true));
      flipBits(cluster.node(node).data, context.random);
      await untilBack(context, node, pid);
      await cluster.settled(180_000);
      await scrubbed(context, node);
    }
  },
};

/** Two whole passes of the scrubber from now on: what the first one finds the second finds mended. */
async function scrubbed(context: ChaosContext, node: string): Promise<void> {
  const { http } = context.cluster.node(node);
  const before = await metric(http, "pabal_scrub_passes_total");
  await until(`${node} to be scrubbed`, 60_000, async () =>
    (await metric(http, "pabal_scrub_passes_total")) >= before + 2 ? true : undefined,
  );
  const [found, repaired, lost] = await Promise.all(
    ["found", "repaired", "lost"].map((what) => metric(http, `pabal_damage_${what}_total`)),
  );
  context.figure("damage found", found ?? 0);
  context.figure("repaired", repaired ?? 0);
  context.figure("lost on both", lost ?? 0, 0);
}

function flipBits(folder: string, random: () => number): void {
  const files = ["log", "blobs"].flatMap((name) =>
    readdirSync(join(folder, name))
      .filter((file) => file.endsWith(".seg") || (name === "blobs" && !file.includes(".")))
      .map((file) => ({ path: join(folder, name, file), bytes: contents(folder, name, file) })),
  );
  const total = files.reduce((sum, { bytes }) => sum + bytes.length, 0);
  for (let flip = 0; flip < flipsEach; flip++) {
    let at = Math.floor(random() * total);
    for (const { bytes } of files) {
      const byte = bytes[at];
      if (byte !== undefined) {
        bytes[at] = byte ^ (1 << Math.floor(random() * 8));
        break;
      }
      at -= bytes.length;
    }
  }
  for (const { path, bytes } of files) writeFileSync(path, bytes);
}

function contents(folder: string, name: string, file: string): Buffer {
  return readFileSync(join(folder, name, file));
}
