// The promise, on real processes: mail keeps coming in while nodes and gateways are killed, stopped
// and started again at random, and each message that was acknowledged is on two nodes, once, as sent.
// `npm test -- integration --long` sends 10,000 messages.

import { join } from "node:path";
import { expect, test } from "vitest";
import { runChaos } from "../support/chaos.ts";
import { checkByImap, checkReplicas } from "../support/check-ledger.ts";
import { DevCluster } from "../support/dev-cluster.ts";
import { expectKept } from "../support/kept.ts";
import { Ledger } from "../support/ledger.ts";

const long = process.env.PABAL_TEST_LONG === "1";
const messages = long ? 10_000 : 1500;
const seed = Number(process.env.PABAL_TEST_SEED ?? Date.now() % 1_000_000);

test(`${messages} messages at 64 connections under random kills: each 250 is one message on two nodes`, {
  timeout: long ? 1_200_000 : 240_000,
}, async (context) => {
  const cluster = await DevCluster.start({ users: 20, nodes: 4, set: ["log.level=warn"] });
  const ledger = new Ledger(join(cluster.folder, "ledger"));
  try {
    const figures = await runChaos({
      cluster,
      ledger,
      messages,
      connections: 64,
      spreadMs: long ? 240_000 : 20_000,
      faultEveryMs: 1500,
      seed,
    });
    const settledMs = await cluster.settled(60_000);
    const byImap = await checkByImap(cluster, ledger);
    const folders = cluster.ports.nodes;
    const shards = await cluster.shards();
    const { status } = await cluster.stop();
    const inFolders = await checkReplicas(folders, ledger, shards);
    process.stdout.write(
      `chaos: seed ${seed}, ${ledger.accepted.size} acknowledged, ${figures.tries} tries, ` +
        `${ledger.unknown.size} without an answer, ${JSON.stringify(figures.faults)}, ` +
        `${figures.reads} reads, ${Math.round(figures.ms / 1000)} s, settled in ${Math.round(settledMs)} ms, ` +
        `${JSON.stringify(Object.fromEntries(ledger.reasons))}\n`,
    );
    expectKept(context, [...byImap, ...inFolders, ...figures.violations]);
    expect(Object.values(figures.faults).reduce((sum, n) => sum + n, 0)).toBeGreaterThan(8);
    expect(status).toBe(0);
  } finally {
    ledger.close();
    await cluster.destroy();
  }
});
