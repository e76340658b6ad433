// Chaos runs: a cluster of real processes under load, one scenario after the other that makes faults,
// peace, and the judgement over ledger, sessions, waiting times and copies. Scenarios are in test/chaos/.

import { setMaxListeners } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { Announcements } from "./chaos-announcements.ts";
import { ChaosContext, type ChaosRunOptions, Phase, type Scenario } from "./chaos-context.ts";
import { runReader } from "./chaos-readers.ts";
import { type ChaosReport, judge } from "./chaos-report.ts";
import { runSender } from "./chaos-senders.ts";
import { DevCluster, type DevClusterOptions } from "./dev-cluster.ts";
import { Ledger } from "./ledger.ts";
import { metric } from "./metric.ts";
import { BadNetwork } from "./network/bad-network.ts";
import { until } from "./processes.ts";

const spoolsEmptyMs = 30_000;

/**
 * Runs the scenarios one after the other on one fresh cluster, to their judgement. Nothing is left
 * running. @returns a report for each.
 */
export async function runScenarios(
  scenarios: readonly Scenario[],
  options: ChaosRunOptions,
): Promise<readonly ChaosReport[]> {
  const { gateways, nodes, users } = options;
  const data = mkdtempSync(join(tmpdir(), "pabal-chaos-"));
  const network = scenarios.some((scenario) => scenario.network === true)
    ? await networkOf(options, data)
    : undefined;
  try {
    const wanted = togetherOf(scenarios);
    const cluster = await DevCluster.start({
      gateways,
      nodes,
      users,
      startMs: 90_000,
      data,
      ...wanted,
      coordinator: options.coordinator,
      set: [
        "log.level=warn",
        ...(network === undefined ? [] : [network.setting]),
        ...(wanted.set ?? []),
        ...(options.set ?? []),
      ],
    });
    const ledger = new Ledger(join(cluster.folder, "ledger"));
    return await withCluster(
      scenarios.map((scenario) => new Phase(scenario)),
      (first) => new ChaosContext(cluster, ledger, options, network, first),
    );
  } finally {
    network?.close();
    if (process.env["PABAL_KEEP"] !== "1") rmSync(data, { recursive: true, force: true });
  }
}

function networkOf({ nodes, gateways, seed }: ChaosRunOptions, data: string): Promise<BadNetwork> {
  const named = (letter: string, count: number): readonly string[] =>
    Array.from({ length: count }, (_, index) => `${letter}${index + 1}`);
  return BadNetwork.start([...named("n", nodes), ...named("g", gateways)], data, seed);
}

/** What all of them want of the cluster; of different times to restart the first one counts. */
function togetherOf(scenarios: readonly Scenario[]): Partial<DevClusterOptions> {
  return scenarios.reduce<Partial<DevClusterOptions>>((before, { cluster = {} }) => {
    const set = [...(before.set ?? []), ...(cluster.set ?? [])];
    return { ...cluster, ...before, set, env: { ...before.env, ...cluster.env } };
  }, {});
}

async function withCluster(
  phases: readonly Phase[],
  make: (first: Phase) => ChaosContext,
): Promise<readonly ChaosReport[]> {
  const [first] = phases;
  if (first === undefined) throw new Error("there is nothing to run");
  const context = make(first);
  const { cluster, ledger, options } = context;
  let passed = false;
  try {
    await context.learnUsers();
    await underLoad(phases, context);
    await cluster.settled(120_000);
    const reports = await judge(phases, context);
    passed = reports.every(({ broken, late }) => broken.length + late.length === 0);
    return reports;
  } finally {
    ledger.close();
    if (passed) await cluster.destroy();
    else await leaveFor(cluster, options.say);
  }
}

async function underLoad(phases: readonly Phase[], context: ChaosContext): Promise<void> {
  const { options } = context;
  const over = new AbortController();
  setMaxListeners(0, over.signal);
  const clients = [
    ...Array.from({ length: options.senders }, (_, n) => runSender(context, n, over.signal)),
    ...Array.from({ length: options.readers }, (_, n) => runReader(context, n, over.signal)),
  ];
  if (phases.some(({ scenario }) => scenario.announcements === true)) {
    const announcements = new Announcements(context);
    clients.push(announcements.run(over.signal));
    context.checks.push(() => announcements.check());
  }
  const failed = Promise.all(clients);
  failed.catch(() => over.abort());
  try {
    // Everybody has logged in before the first fault.
    await wait(3000, undefined, { signal: over.signal });
    for (const phase of phases) await makeFaults(phase, context, over.signal);
  } finally {
    over.abort();
    await failed;
  }
}

/** One scenario's faults, and the wait until everything is whole again. */
async function makeFaults(phase: Phase, context: ChaosContext, over: AbortSignal): Promise<void> {
  const { options, cluster } = context;
  const { scenario } = phase;
  context.begin(phase);
  const startedMs = performance.now();
  const loads = [loadavg()[0] ?? 0];
  const watch = setInterval(() => loads.push(loadavg()[0] ?? 0), 5000);
  const end = new AbortController();
  setMaxListeners(0, end.signal);
  const timer = setTimeout(() => end.abort(), options.seconds * 1000);
  const giveUp = (): void => end.abort();
  over.addEventListener("abort", giveUp);
  try {
    await scenario.run(context, end.signal);
    phase.fullMs = await cluster.settled(scenario.limits.fullWithinMs * 3);
    await spoolsAreEmpty(context);
    await wait(1000, undefined, { signal: over });
  } finally {
    clearTimeout(timer);
    clearInterval(watch);
    over.removeEventListener("abort", giveUp);
    phase.tookMs = performance.now() - startedMs;
    phase.load = loads.reduce((sum, value) => sum + value, 0) / loads.length;
  }
}

/** What was taken over while shards were away is in its mailboxes. */
async function spoolsAreEmpty(context: ChaosContext): Promise<void> {
  const startedMs = performance.now();
  const empty = async (): Promise<boolean> => {
    const waiting = await Promise.all(
      context.cluster.ports.nodes.map(({ http }) => metric(http, "pabal_spool_recipients")),
    );
    return waiting.every((count) => count === 0);
  };
  if (await empty()) return;
  await until("empty spools", 90_000, async () => ((await empty()) ? true : undefined));
  context.figure("spools empty after ms", performance.now() - startedMs, spoolsEmptyMs);
}

/** A failed run's folder stays, to be looked at. */
async function leaveFor(cluster: DevCluster, say: (line: string) => void): Promise<void> {
  if (process.env["PABAL_KEEP"] !== "1") {
    await cluster.destroy();
    return;
  }
  say(`left for inspection: ${cluster.folder}, ${cluster.data}`);
  await cluster.stop().catch(() => undefined);
}
