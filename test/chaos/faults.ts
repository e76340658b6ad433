// What scenarios are made of: members killed or stopped, noted with the users whom that concerns.

import { setTimeout as wait } from "node:timers/promises";
import type { ChaosContext } from "../support/chaos-context.ts";
import { isAlive, signalPid, until } from "../support/processes.ts";

/** Patience with a member that starts; what users wait for is judged by itself. */
export const startsWithinMs = 120_000;

/** kill -9; `pabal dev` starts the member again after its `restartAfter`. */
export function killMember(context: ChaosContext, member: string): Promise<number> {
  return signalMember(context, member, "SIGKILL");
}

/** @returns the pid that got the signal. */
export async function signalMember(
  context: ChaosContext,
  member: string,
  signal: NodeJS.Signals,
): Promise<number> {
  await context.fault(`${signal} ${member}`, [member]);
  const pid = context.cluster.pid(member);
  signalPid(pid, signal);
  return pid;
}

/** Resolves once the member runs again under another pid and is ready. */
export async function untilBack(context: ChaosContext, member: string, pid: number): Promise<void> {
  await until(`a new ${member}`, startsWithinMs, () => {
    const now = context.cluster.pid(member);
    return now !== pid && isAlive(now) ? true : undefined;
  });
  const { cluster } = context;
  await cluster.ready([member], startsWithinMs);
  if (member !== "c1") return;
  // It takes links when it is ready; nothing else can be told of it.
  for (const { id } of cluster.ports.gateways) {
    await until(`${id} to reach ${member}`, startsWithinMs, async () => {
      const { members } = await cluster.status(id);
      return members.some((one) => one.id === member && !one.up) ? undefined : true;
    });
  }
}

/** After a fault: every shard is whole, and who waited is served. What comes next has its own effects. */
export async function untilWhole(context: ChaosContext): Promise<void> {
  const nowMs = performance.now();
  await context.cluster.settled(120_000);
  await context.nobodyWaitsSince(nowMs);
  context.outages.end();
}

/** Waits for the moment on the monotonic clock, or until `over` aborts. */
export async function pauseUntil(atMs: number, over: AbortSignal): Promise<void> {
  const leftMs = Math.max(0, atMs - performance.now());
  await wait(leftMs, undefined, { signal: over }).catch(() => undefined);
}

export function oneOf<T>(from: readonly T[], random: () => number): T {
  const chosen = from[Math.floor(random() * from.length)];
  if (chosen === undefined) throw new Error("nothing to choose from");
  return chosen;
}

/** In another order. */
export function shuffled<T>(values: readonly T[], random: () => number): readonly T[] {
  return values
    .map((value) => ({ value, at: random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ value }) => value);
}

/** Ids of all members; `all` has the coordinator, too. */
export function membersOf({ cluster }: ChaosContext): {
  readonly nodes: readonly string[];
  readonly gateways: readonly string[];
  readonly members: readonly string[];
  readonly all: readonly string[];
} {
  const nodes = cluster.ports.nodes.map(({ id }) => id);
  const gateways = cluster.ports.gateways.map(({ id }) => id);
  const members = [...nodes, ...gateways];
  return { nodes, gateways, members, all: [...members, "c1"] };
}
