// What scenarios are made of: members killed or stopped, noted with the users whom that concerns.

import { setTimeout as wait } from "node:timers/promises";
import type { ChaosContext } from "../support/chaos-run.ts";
import { isAlive, signalPid, until } from "../support/processes.ts";

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
  await context.fault(`${signal} ${member}`, member);
  const pid = context.cluster.pid(member);
  signalPid(pid, signal);
  return pid;
}

/** Resolves once the member runs again under another pid and is ready. */
export async function untilBack(context: ChaosContext, member: string, pid: number): Promise<void> {
  await until(`a new ${member}`, 30_000, () => {
    const now = context.cluster.pid(member);
    return now !== pid && isAlive(now) ? true : undefined;
  });
  await context.cluster.ready([member]);
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
