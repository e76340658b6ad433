// The judgement over a chaos run: what was acknowledged is in every mailbox once and on two nodes, and
// no scenario's limits were exceeded. One line of figures for each scenario.

import type { ChaosContext, ChaosLimits, Phase } from "./chaos-context.ts";
import { type Percentiles, percentiles } from "./chaos-outage.ts";
import { checkByImap, checkReplicas } from "./check-ledger.ts";

export interface ChaosReport {
  /** One line. */
  readonly figures: string;
  /** Promises that were broken: something lost, twice, changed. Empty when the scenario passes. */
  readonly broken: readonly string[];
  /** Limits of time that were exceeded. Empty when the scenario passes. */
  readonly late: readonly string[];
}

/** What holds for the run as a whole, whichever scenario was to blame. */
interface Kept {
  readonly broken: readonly string[];
  readonly late: readonly string[];
  readonly lost: number;
  readonly twice: number;
}

/** Stops the cluster, whose shards are all whole, and reads everything. */
export async function judge(
  phases: readonly Phase[],
  context: ChaosContext,
): Promise<readonly ChaosReport[]> {
  const { ledger, options } = context;
  const kept = await check(context);
  options.say(`refusals and broken tries: ${JSON.stringify(Object.fromEntries(ledger.reasons))}`);
  return phases.map((phase) => report(phase, context, kept));
}

async function check({ cluster, ledger, violations, late, checks }: ChaosContext): Promise<Kept> {
  const byImap = await checkByImap(cluster, ledger);
  const others: string[] = [];
  for (const one of checks) others.push(...(await one()));
  const members = await cluster.shards();
  const { nodes } = cluster.ports;
  const { status } = await cluster.stop();
  const inFolders = await checkReplicas(nodes, ledger, members);
  const lost = new Set(byImap.flatMap((line) => /: 0 of (\S+), not/.exec(line)?.[1] ?? []));
  const twice = new Set(byImap.flatMap((line) => /: [2-9]\d* of (\S+),/.exec(line)?.[1] ?? []));
  const broken = [
    ...violations,
    ...byImap,
    ...others,
    ...inFolders,
    ...(status === 0 ? [] : [`pabal dev ended with ${status}`]),
  ];
  return { broken, late, lost: lost.size, twice: twice.size };
}

function report(phase: Phase, context: ChaosContext, kept: Kept): ChaosReport {
  const { ledger, options, counts, violations } = context;
  const { broken } = kept;
  const { scenario, outages, closedByUs } = phase;
  const healed = outages.unavailability("heal");
  const late = [...kept.late, ...beyondLimits(phase, options.roomForLoad ?? 1)];
  const passed = broken.length === 0 && late.length === 0;
  const parts = [
    `${scenario.name} seed ${options.seed}, ${Math.round(phase.tookMs / 1000)} s`,
    `${options.nodes} nodes, ${options.coordinator}, load ${phase.load.toFixed(1)}`,
    `${outages.faults} faults, ${ledger.accepted.size} acknowledged, ${kept.lost} lost`,
    `${kept.twice} duplicated, ${ledger.unknown.size} without an answer, ${counts.reads} reads`,
    `${violations.length} violations, ${kept.late.length} too late, ${closedByUs.length} sessions closed by us`,
    `unavailable ${shown(outages.unavailability())}`,
    ...(healed.count === 0 ? [] : [`healed in ${shown(healed)}`]),
    `others at most ${Math.round(outages.others)} ms`,
    ...[...phase.figures].map(([name, { values }]) => {
      const { count, p50, max } = percentiles(values);
      const most = `${name} ${Math.round(max)}`;
      return count === 1 ? most : `${most} (p50 ${Math.round(p50)}, ${count})`;
    }),
    `FULL after ${Math.round(phase.fullMs)} ms: ${passed ? "passed" : "FAILED"}`,
  ];
  return { figures: parts.join(", "), broken, late };
}

function beyondLimits(
  { scenario, outages, figures, closedByUs, fullMs }: Phase,
  room: number,
): readonly string[] {
  const limits: ChaosLimits = scenario.limits;
  const away = outages.unavailability();
  const healed = outages.unavailability("heal").max;
  return [
    ...beyond("sessions closed by us", closedByUs.length, limits.sessionsClosed, closedByUs),
    ...beyond("unavailability p99", away.p99, limits.unavailableP99Ms * room, outages.worst(5)),
    ...beyond("unavailability max", away.max, limits.unavailableMaxMs * room, outages.worst(5)),
    ...beyond(
      "healed after",
      healed,
      (limits.healedWithinMs ?? Infinity) * room,
      outages.worst(5, "heal"),
    ),
    ...beyond("time to FULL", fullMs, limits.fullWithinMs * room),
    ...[...figures].flatMap(([name, { values, most }]) =>
      beyond(name, percentiles(values).max, name.endsWith(" ms") ? most * room : most),
    ),
  ].map((line) => `${scenario.name}: ${line}`);
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
