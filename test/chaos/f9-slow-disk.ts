// F9: every fdatasync of one node takes 200 ms to 3 s longer. Where that is more than the half second
// that counts as unwell, its primaries are moved away; mail goes on anyhow.

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { ChaosContext, Scenario } from "../support/chaos-context.ts";
import { until } from "../support/processes.ts";
import { membersOf, oneOf, pauseUntil } from "./faults.ts";

const movedWithinMs = 10_000;
/** It is watched for so much longer than it may take. */
const patienceMs = 5000;
/** As `healthLimits`: what takes longer is unwell; a little more, as other work adds to it. */
const unwellMs = 600;
/** One node is slow, the others are well: the one before is so again after this. */
const wellAfterMs = 35_000;
/** A node that is barely well is only slow, for so long. */
const slowForMs = 5000;

const preload = fileURLToPath(new URL("../support/slow-sync.mjs", import.meta.url));
const folder = join(tmpdir(), `pabal-slow-${process.pid}`);

export const slowDisk: Scenario = {
  name: "F9",
  about: "fsync takes 200 ms to 3 s longer on a random node",
  limits: {
    sessionsClosed: 0,
    // A primary waits for its slow secondary until that has moved, too.
    unavailableP99Ms: 12_000,
    unavailableMaxMs: 15_000,
    fullWithinMs: 90_000,
  },
  cluster: {
    env: { NODE_OPTIONS: `--import ${preload}`, PABAL_TEST_SLOW_SYNC: folder },
  },
  async run(context, over) {
    const { random, cluster } = context;
    mkdirSync(folder, { recursive: true });
    try {
      // In turns, so that a short run has one that must move.
      for (let turn = 0; !over.aborted; turn++) {
        const longer =
          turn % 3 === 2 ? 200 + random() * 250 : unwellMs * (3000 / unwellMs) ** random();
        await cluster.settled(120_000);
        await slowOnce(context, oneOf(await holders(context), random), Math.round(longer), over);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

async function slowOnce(
  context: ChaosContext,
  node: string,
  delayMs: number,
  over: AbortSignal,
): Promise<void> {
  const file = join(folder, node);
  await context.fault(`fsync of ${node} takes ${delayMs} ms longer`, [node]);
  const startMs = performance.now();
  writeFileSync(file, `${delayMs}`);
  try {
    if (delayMs < unwellMs) {
      await pauseUntil(startMs + slowForMs, over);
      return;
    }
    let left = Infinity;
    const mostMs = movedWithinMs * (context.options.roomForLoad ?? 1);
    for (const untilMs = startMs + mostMs + patienceMs; left > 0 && performance.now() < untilMs; ) {
      await wait(50);
      const shards = await context.cluster.shards();
      left = shards.filter(({ primary }) => primary.node === node).length;
    }
    if (left > 0) context.options.say(`${node} has kept ${left} primaries`);
    context.figure("primaries moved after ms", performance.now() - startMs, movedWithinMs);
  } finally {
    rmSync(file, { force: true });
  }
  await pauseUntil(performance.now() + wellAfterMs, over);
}

/** Nodes that have primaries: one that was slow a moment ago has none for a while. */
async function holders(context: ChaosContext): Promise<readonly string[]> {
  return until("nodes with primaries", 60_000, async () => {
    const shards = await context.cluster.shards();
    const nodes = membersOf(context).nodes.filter((node) =>
      shards.some(({ primary }) => primary.node === node),
    );
    return nodes.length > 1 ? nodes : undefined;
  });
}
