// `npm run sim -- --seeds N [--from S]`, `--seed S [--trace] [--break RULE]`: whole simulated clusters
// from seeds, on all cores. Prints progress; on a violation the seed and the invariant, exit code 1.

import { fork } from "node:child_process";
import { rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { compiled } from "./compiled.ts";
import { makeStorePlan } from "./store/plan.ts";
import { runStoreSeed } from "./store/world.ts";
import { parseArgs } from "node:util";
import { makePlan } from "./world/plan.ts";
import type { Plan } from "./world/plan.ts";
import { rules } from "./world/rules.ts";
import type { Rule } from "./world/rules.ts";
import { runSeed } from "./world/world.ts";
import type { RunOptions, RunResult } from "./world/cluster.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string" },
    from: { type: "string" },
    seed: { type: "string" },
    trace: { type: "boolean", default: false },
    /** The trace has every step of every replica. */
    steps: { type: "boolean", default: false },
    break: { type: "string" },
    /** Nodes have the real store. */
    store: { type: "boolean", default: false },
    /** No faults but members that are cut off, one after the other (hunts.ts). */
    cuts: { type: "boolean", default: false },
    jobs: { type: "string" },
    child: { type: "string" },
    /** The last line is `N passed, N failed`, for CI. */
    total: { type: "boolean", default: false },
    /** Goes on after a violation, to count them. */
    all: { type: "boolean", default: false },
  },
});

/** A child's news: some seeds done, and those that failed. */
interface News {
  readonly done: number;
  readonly failed: readonly RunResult[];
  readonly acks: number;
  readonly reads: number;
  readonly configs: number;
  readonly events: number;
}

const broken = rules.find((rule) => rule === values.break);
if (values.break !== undefined && broken === undefined) {
  process.stderr.write(`sim: --break takes one of ${rules.join(", ")}\n`);
  process.exitCode = 2;
} else if (values.child !== undefined) {
  await runChild(values.child, broken);
} else if (values.seed !== undefined) {
  await runOne(Number(values.seed), broken);
} else {
  await runMany(Number(values.from ?? 1), Number(values.seeds ?? 1000));
}

function planOf(seed: number): Plan {
  if (values.store) return makeStorePlan(seed);
  return values.cuts ? makePlan(seed, ["cutOff"], true) : makePlan(seed);
}

function run(seed: number, options: RunOptions): Promise<RunResult> {
  if (values.store) return runStoreSeed(makeStorePlan(seed), options);
  return Promise.resolve(runSeed(planOf(seed), options));
}

async function runOne(seed: number, rule: Rule | undefined): Promise<void> {
  const plan = planOf(seed);
  const { trace, steps } = values;
  const options = {
    detailed: steps,
    ...(rule === undefined ? {} : { broken: rule }),
    ...(trace ? { trace: (line: string) => process.stdout.write(`${line}\n`) } : {}),
  };
  const kinds = [...plan.faults].join(", ") || "no faults";
  const { nodes, gateways, shards, minCopies } = plan;
  process.stdout.write(
    `seed ${seed}: ${nodes} nodes, ${gateways} gateways, ${shards} shards, minCopies ${minCopies}; ${kinds}\n`,
  );
  const result = await run(seed, options);
  const { virtualMs, events, acks, reads, configs, healedMs } = result;
  process.stdout.write(
    `${(virtualMs / 1000).toFixed(1)} s virtual, ${events} events, ${acks} acknowledged, ${reads} reads, ${configs} configurations, FULL after ${healedMs} ms\n`,
  );
  if (result.violation !== undefined) fail(result);
}

function fail({ seed, violation }: RunResult): void {
  process.stdout.write(`seed ${seed} violates ${violation?.what ?? ""}\n`);
  process.exitCode = 1;
}

/** `range` is "first,count,step". */
async function runChild(range: string, rule: Rule | undefined): Promise<void> {
  const [first = 0, end = 0, step = 1] = range.split(",").map(Number);
  const batch = 20;
  let news = emptyNews();
  for (let seed = first; seed < end; seed += step) {
    const result = await run(seed, rule === undefined ? {} : { broken: rule });
    news = addResult(news, result);
    if (news.done < batch && seed + step < end) continue;
    process.send?.(news);
    news = emptyNews();
  }
}

function emptyNews(): News {
  return { done: 0, failed: [], acks: 0, reads: 0, configs: 0, events: 0 };
}

function addResult(news: News, result: RunResult): News {
  return {
    done: news.done + 1,
    failed: result.violation === undefined ? news.failed : [...news.failed, result],
    acks: news.acks + result.acks,
    reads: news.reads + result.reads,
    configs: news.configs + result.configs,
    events: news.events + result.events,
  };
}

function addNews(a: News, b: News): News {
  return {
    done: a.done + b.done,
    failed: [...a.failed, ...b.failed],
    acks: a.acks + b.acks,
    reads: a.reads + b.reads,
    configs: a.configs + b.configs,
    events: a.events + b.events,
  };
}

async function runMany(first: number, count: number): Promise<void> {
  const jobs = Math.max(1, Number(values.jobs ?? availableParallelism()));
  const { program, folder } = compiled();
  const startMs = performance.now();
  let total = emptyNews();
  let toldMs = startMs;
  const children = Array.from({ length: jobs }, (_, at) => {
    const range = `${first + at},${first + count},${jobs}`;
    const args = ["--child", range, ...(broken === undefined ? [] : ["--break", broken])];
    for (const world of ["store", "cuts"] as const) if (values[world]) args.push(`--${world}`);
    return fork(program, args, { execArgv: [] });
  });
  const ends = children.map(async (child) => {
    child.on("message", (news: News) => {
      total = addNews(total, news);
      const nowMs = performance.now();
      if (nowMs - toldMs < 5000 && news.failed.length === 0) return;
      toldMs = nowMs;
      tell(total, nowMs - startMs);
      for (const result of news.failed) fail(result);
      if (news.failed.length > 0 && !values.all) for (const one of children) one.kill();
    });
    const code = await new Promise<number | null>((resolve) => {
      child.on("close", resolve);
    });
    if (code !== 0 && code !== null) process.exitCode = 1;
  });
  await Promise.all(ends);
  tell(total, performance.now() - startMs);
  rmSync(folder, { recursive: true, force: true });
  if (!values.total) return;
  const failed = Math.max(total.failed.length, process.exitCode === undefined ? 0 : 1);
  process.stdout.write(`${total.done - total.failed.length} passed, ${failed} failed\n`);
}

function tell({ done, failed, acks, reads, configs, events }: News, tookMs: number): void {
  const seconds = (tookMs / 1000).toFixed(0);
  process.stdout.write(
    `${done} seeds in ${seconds} s: ${failed.length} failed; ${acks} acknowledged, ${reads} reads, ${configs} configurations, ${events} events\n`,
  );
}
