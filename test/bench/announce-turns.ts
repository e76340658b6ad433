// The same post to groups of different sizes in turn, in one cluster: what the machine does meanwhile
// meets all of them alike, so that the ratios say what a size costs.

import { setTimeout as wait } from "node:timers/promises";
import { joinGroup, makeGroup, memberName, post } from "./announce-target.ts";
import { totalCpuMs, writtenBytes } from "./cpu.ts";
import { median } from "./report.ts";
import type { Target } from "./target.ts";

/** What one post costs: wall time and CPU of all servers, milliseconds, and bytes that they wrote. */
export interface Cost {
  readonly ms: number;
  readonly cpuMs: number;
  readonly bytes: number;
}

/** So many posts, one after the other; `took` gets the time of each. */
export async function roundOf(
  target: Target,
  group: string,
  count: number,
  took: (ms: number) => void,
): Promise<Cost> {
  const [cpu, bytes, started] = [totalCpuMs(target), writtenBytes(target), performance.now()];
  for (let at = 0; at < count; at++) {
    const from = performance.now();
    await post(target, group);
    took(performance.now() - from);
  }
  const ms = (performance.now() - started) / count;
  // Rows are written up to 50 ms later.
  await wait(200);
  const cpuMs = (totalCpuMs(target) - cpu) / count;
  return { ms, cpuMs, bytes: (writtenBytes(target) - bytes) / count };
}

export function medianCost(costs: readonly Cost[]): Cost {
  return {
    ms: median(costs.map(({ ms }) => ms)),
    cpuMs: median(costs.map(({ cpuMs }) => cpuMs)),
    bytes: median(costs.map(({ bytes }) => bytes)),
  };
}

export interface TurnOptions {
  /** Sizes of explicit groups, the smallest first; their members join by the admin API. */
  readonly joined: readonly number[];
  /** Users there are: what the group `all` has. */
  readonly everyone: number;
  readonly rounds: number;
  readonly roundPosts: number;
}

/** @returns a line for each group larger than the smallest: its cost against that one's, in the median of rounds. */
export async function inTurn(target: Target, options: TurnOptions): Promise<string> {
  const { joined, everyone, rounds, roundPosts } = options;
  const groups = joined.map((members) => ({ name: `of-${members}`, members }));
  for (const { name, members } of groups) {
    await makeGroup(target, name);
    await joinGroup(
      target,
      name,
      Array.from({ length: members }, (_, at) => memberName(everyone - 1 - at)),
    );
  }
  const all = [...groups, { name: "all", members: everyone }];
  const costs = all.map(() => [] as Cost[]);
  // The first round is not counted.
  for (let round = 0; round <= rounds; round++) {
    for (const [at, { name }] of all.entries()) {
      const cost = await roundOf(target, name, roundPosts, () => undefined);
      if (round > 0) costs[at]?.push(cost);
    }
  }
  const [base, ...others] = costs.map(medianCost);
  if (base === undefined) return "";
  const shown = `${base.ms.toFixed(2)} ms, ${base.cpuMs.toFixed(2)} ms CPU`;
  return others
    .map(({ ms, cpuMs, bytes }, at) => {
      const [wall, cpu, written] = [ms / base.ms, cpuMs / base.cpuMs, bytes / base.bytes].map(
        (ratio) => ratio.toFixed(2),
      );
      const from = `${all[at + 1]?.members} members against ${all[0]?.members} (${shown})`;
      return `- in turn, ${rounds} × ${roundPosts} posts each: ${from}: wall time × ${wall}, CPU × ${cpu}, bytes × ${written}`;
    })
    .join("\n");
}
