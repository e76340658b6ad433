// One chaos run: a cluster of real processes under load, a scenario that makes faults, then peace, and
// the judgement over ledger, sessions, waiting times and copies. Scenarios are in test/chaos/.

import { setMaxListeners } from "node:events";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { z } from "zod";
import { Outages, type Percentiles } from "./chaos-outage.ts";
import { runReader } from "./chaos-readers.ts";
import { runSender } from "./chaos-senders.ts";
import { seeded } from "./chaos.ts";
import { checkByImap, checkReplicas } from "./check-ledger.ts";
import { DevCluster, type DevClusterOptions } from "./dev-cluster.ts";
import { Ledger } from "./ledger.ts";

export interface ChaosRunOptions {
  /** How long faults go on. */
  readonly seconds: number;
  readonly nodes: number;
  readonly gateways: number;
  readonly users: number;
  readonly senders: number;
  readonly readers: number;
  /** Over all senders. */
  readonly messagesPerSecond: number;
  readonly seed: number;
  readonly coordinator: "embedded" | "etcd";
  /** Said as the run goes on. */
  readonly say: (line: string) => void;
}

/** What must hold besides: nothing lost, nothing twice, no violation, equal copies. */
export interface ChaosLimits {
  /** Connections that the cluster may close; faults that hit gateways allow for theirs. */
  readonly sessionsClosed: number;
  readonly unavailableP99Ms: number;
  readonly unavailableMaxMs: number;
  readonly fullWithinMs: number;
}

export interface Scenario {
  readonly name: string;
  readonly about: string;
  readonly limits: ChaosLimits;
  readonly cluster?: Partial<DevClusterOptions>;
  /** Makes faults until `over` aborts, and lets everything be up again then. */
  run(context: ChaosContext, over: AbortSignal): Promise<void>;
}

export interface ChaosReport {
  /** One line. */
  readonly figures: string;
  /** What must not be; empty when the run passes. */
  readonly wrong: readonly string[];
}

/** What clients and scenarios share in one run. */
export class ChaosContext {
  readonly cluster: DevCluster;
  readonly ledger: Ledger;
  readonly options: ChaosRunOptions;
  readonly outages = new Outages();
  readonly random: () => number;
  readonly counts = { tries: 0, reads: 0 };
  readonly violations: string[] = [];
  /** A client that was not served for so long gives up: a violation. */
  readonly giveUpMs = 60_000;
  readonly closedByUs: string[] = [];
  /** Gateway processes that a scenario has ended: their connections may close. */
  readonly #hit = new Set<number>();
  #shardOfUser = new Map<string, number>();

  constructor(cluster: DevCluster, ledger: Ledger, options: ChaosRunOptions) {
    this.cluster = cluster;
    this.ledger = ledger;
    this.options = options;
    this.random = seeded(options.seed);
  }

  violation(what: string): void {
    if (this.violations.length < 100) this.violations.push(what);
    this.options.say(`VIOLATION ${what}`);
  }

  /** Where a client goes whose gateway does not answer. */
  otherGateway(gateway: string): string {
    const ids = this.cluster.ports.gateways.map(({ id }) => id);
    return ids[(ids.indexOf(gateway) + 1) % ids.length] ?? gateway;
  }

  /** A connection to this gateway process ended, and the client did not end it. */
  sessionClosed(protocol: string, gateway: string, pid: number): void {
    if (!this.#hit.has(pid)) this.closedByUs.push(`${protocol} at ${gateway}`);
  }

  /** Messages to the user that were acknowledged so long ago and lie in the mailbox, not in the spool. */
  acknowledged(user: string, agoMs: number): readonly string[] {
    const untilMs = performance.now() - agoMs;
    const stored = this.ledger.inMailbox.get(user) ?? [];
    return stored.flatMap(({ id, atMs }) => (atMs <= untilMs ? [id] : []));
  }

  /** Notes a fault that is made right after; it concerns users with a copy on `member`, or all. */
  async fault(what: string, member: string): Promise<void> {
    const pid = this.cluster.pid(member);
    if (member.startsWith("g")) this.#hit.add(pid);
    const shards = await this.cluster.shards();
    const concerned = new Set(
      this.cluster.ports.users.filter((user) => {
        const shard = this.#shardOfUser.get(user);
        return shards.some((config) => config.shard === shard && config.nodes.includes(member));
      }),
    );
    const unsafe = shards.filter(({ state }) => state !== "FULL").length;
    const where = `concerns ${concerned.size} users, ${unsafe} shards not whole`;
    this.outages.fault(`${what}, ${unsafe} shards not whole`, concerned);
    this.options.say(`${what} (${where})`);
  }

  async learnUsers(): Promise<void> {
    const answer = await this.cluster.admin("GET", "/admin/v1/users");
    const { users } = userList.parse(JSON.parse(answer.text));
    this.#shardOfUser = new Map(users.map(({ name, shard }) => [name, shard]));
  }
}

const userList = z.object({ users: z.array(z.object({ name: z.string(), shard: z.number() })) });

/** Runs the scenario from a fresh cluster to its judgement. Nothing is left running. */
export async function runScenario(
  scenario: Scenario,
  options: ChaosRunOptions,
): Promise<ChaosReport> {
  const { gateways, nodes, users } = options;
  const cluster = await DevCluster.start({
    gateways,
    nodes,
    users,
    ...scenario.cluster,
    coordinator: options.coordinator,
    set: ["log.level=warn", ...(scenario.cluster?.set ?? [])],
  });
  const ledger = new Ledger(join(cluster.folder, "ledger"));
  const context = new ChaosContext(cluster, ledger, options);
  let passed = false;
  try {
    await context.learnUsers();
    const loadedMs = await underLoad(scenario, context);
    const fullMs = await context.cluster.settled(scenario.limits.fullWithinMs * 3);
    const report = await judge(scenario, context, loadedMs, fullMs);
    passed = report.wrong.length === 0;
    return report;
  } finally {
    ledger.close();
    if (passed) await cluster.destroy();
    else await leaveFor(cluster, options.say);
  }
}

/** @returns how long the load went on, ms. */
async function underLoad(scenario: Scenario, context: ChaosContext): Promise<number> {
  const { options } = context;
  const startedMs = performance.now();
  const over = new AbortController();
  setMaxListeners(0, over.signal);
  const clients = [
    ...Array.from({ length: options.senders }, (_, n) => runSender(context, n, over.signal)),
    ...Array.from({ length: options.readers }, (_, n) => runReader(context, n, over.signal)),
  ];
  const failed = Promise.all(clients);
  failed.catch(() => over.abort());
  try {
    // Everybody has logged in before the first fault.
    await wait(3000, undefined, { signal: over.signal });
    const faultsOver = new AbortController();
    setMaxListeners(0, faultsOver.signal);
    const end = (): void => faultsOver.abort();
    const timer = setTimeout(end, options.seconds * 1000);
    over.signal.addEventListener("abort", end);
    await scenario.run(context, faultsOver.signal);
    clearTimeout(timer);
    await wait(1000, undefined, { signal: over.signal });
  } finally {
    over.abort();
    await failed;
  }
  return performance.now() - startedMs;
}

async function judge(
  { name, limits }: Scenario,
  context: ChaosContext,
  loadedMs: number,
  fullMs: number,
): Promise<ChaosReport> {
  const { cluster, ledger, outages, counts, violations, closedByUs, options } = context;
  const byImap = await checkByImap(cluster, ledger);
  const members = await cluster.shards();
  const { nodes: folders } = cluster.ports;
  const { status } = await cluster.stop();
  const inFolders = await checkReplicas(folders, ledger, members);
  const lost = new Set(byImap.flatMap((line) => /: 0 of (\S+), not/.exec(line)?.[1] ?? []));
  const twice = new Set(byImap.flatMap((line) => /: [2-9]\d* of (\S+),/.exec(line)?.[1] ?? []));
  const { unavailability: away } = outages;
  const wrong = [
    ...violations,
    ...byImap,
    ...inFolders,
    ...beyond("sessions closed by us", closedByUs.length, limits.sessionsClosed),
    ...beyond("unavailability p99", away.p99, limits.unavailableP99Ms, outages.worst(5)),
    ...beyond("unavailability max", away.max, limits.unavailableMaxMs, outages.worst(5)),
    ...beyond("time to FULL", fullMs, limits.fullWithinMs),
    ...(status === 0 ? [] : [`pabal dev ended with ${status}`]),
  ];
  const reasons = JSON.stringify(Object.fromEntries(ledger.reasons));
  options.say(`refusals and broken tries: ${reasons}`);
  const figures =
    `${name} seed ${options.seed}, ${Math.round(loadedMs / 1000)} s, ${options.nodes} nodes, ` +
    `${options.coordinator}: ${outages.faults} faults, ${ledger.accepted.size} acknowledged, ` +
    `${lost.size} lost, ${twice.size} duplicated, ${ledger.unknown.size} without an answer, ` +
    `${counts.reads} reads, ${violations.length} violations, ${closedByUs.length} sessions closed by us, ` +
    `unavailable ${shown(away)}, others at most ${Math.round(outages.others)} ms, ` +
    `FULL after ${Math.round(fullMs)} ms: ${wrong.length === 0 ? "passed" : "FAILED"}`;
  return { figures, wrong };
}

function beyond(
  what: string,
  value: number,
  most: number,
  details: readonly string[] = [],
): readonly string[] {
  if (value <= most) return [];
  return [`${what}: ${Math.round(value)}, at most ${most}`, ...details];
}

function shown({ count, p50, p99, max }: Percentiles): string {
  return `p50 ${Math.round(p50)} p99 ${Math.round(p99)} max ${Math.round(max)} ms (${count} waits)`;
}

/** A failed run's folder stays, to be looked at. */
async function leaveFor(cluster: DevCluster, say: (line: string) => void): Promise<void> {
  if (process.env["PABAL_KEEP"] !== "1") {
    await cluster.destroy();
    return;
  }
  say(`left for inspection: ${cluster.folder}`);
  await cluster.stop().catch(() => undefined);
}
