// CPU time, memory and bytes written of processes as the kernel counts them (/proc), children that ended included.

import { readFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import type { Target } from "./target.ts";

/** CPU of all processes in half a second while nobody asks for anything. */
const quietMs = 60;
const ticksPerSecond = 100; // USER_HZ, fixed on Linux.

/** CPU milliseconds used so far by each part of a target. A process that is gone counts as 0. */
export function cpuMs(target: Target): ReadonlyMap<string, number> {
  const byPart = new Map<string, number>();
  for (const { part, pid } of target.processes()) {
    byPart.set(part, (byPart.get(part) ?? 0) + processCpuMs(pid));
  }
  return byPart;
}

/** Sum over all parts. */
export function totalCpuMs(target: Target): number {
  return [...cpuMs(target).values()].reduce((sum, ms) => sum + ms, 0);
}

/** Bytes that the target's processes have had the kernel write so far, in whole pages. Needs the same user or root. */
export function writtenBytes(target: Target): number {
  return target
    .processes()
    .reduce(
      (sum, { pid }) =>
        sum + Number(/^write_bytes: (\d+)/m.exec(read(`/proc/${pid}/io`))?.[1] ?? 0),
      0,
    );
}

/** Waits until the target does next to nothing, so that no scenario pays for the one before. */
export async function settled(target: Target, mostMs = 10_000): Promise<void> {
  for (let waitedMs = 0, before = totalCpuMs(target); waitedMs < mostMs; waitedMs += 500) {
    await wait(500);
    const now = totalCpuMs(target);
    if (now - before <= quietMs) return;
    before = now;
  }
}

/** Resident bytes of all processes of the parts whose name begins with `prefix`. */
export function residentBytes(target: Target, prefix: string): number {
  return target
    .processes()
    .filter(({ part }) => part.startsWith(prefix))
    .reduce((sum, { pid }) => sum + rss(pid), 0);
}

function processCpuMs(pid: number): number {
  const text = read(`/proc/${pid}/stat`);
  // Fields behind the command's closing bracket: utime is the 12th, stime 13th, cutime 14th, cstime 15th.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index] ?? 0), 0);
  return (ticks * 1000) / ticksPerSecond;
}

function rss(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) * 1024;
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // The process ended meanwhile.
  }
}
