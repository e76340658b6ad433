// Processes for tests: members of a cluster started by the test itself, the command line, waiting on
// conditions, memory and CPU of a process. Nothing is left running when the test process ends.

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
/** The built program; another build can be named for a run while dist/ is being worked on. */
export const program = process.env.PABAL_TEST_PROGRAM ?? join(root, "dist", "main.js");

/** Short-lived children that die with this process; each is the leader of its own group. */
export const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) signalGroup(child, "SIGKILL");
});

/**
 * Starts `pabal <args>` as leader of a group of its own, with its output in a file. The whole group is
 * killed when this process ends in any way, or when `release` is called.
 */
export function startGroup(
  args: readonly string[],
  logFile: string,
  env: NodeJS.ProcessEnv = process.env,
): { readonly child: ChildProcess; readonly release: () => void } {
  const log = openSync(logFile, "a", 0o600);
  const child = spawn(process.execPath, [program, ...args], {
    stdio: ["ignore", log, log],
    detached: true,
    env,
  });
  closeSync(log);
  // Its input ends with this process, however that ends.
  const watch = `read line; kill -9 -${child.pid ?? 0}`;
  const guard = spawn("sh", ["-c", watch], { stdio: ["pipe", "ignore", "ignore"], detached: true });
  return { child, release: () => guard.stdin.end() };
}

export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A member run by the test itself. */
export class ServedMember {
  readonly #child: ChildProcess;
  readonly #release: () => void;
  readonly #ended: Promise<number>;

  constructor(configFile: string, logFile: string) {
    const { child, release } = startGroup(["serve", "--config", configFile], logFile);
    this.#child = child;
    this.#release = release;
    this.#ended = new Promise((done) => {
      this.#child.once("exit", (code) => done(code ?? 128));
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number> {
    signalPid(this.pid, signal);
    const late = wait(15_000, undefined, { ref: false }).then(() => {
      signalPid(this.pid, "SIGKILL");
      throw new Error("the member did not stop in 15 s");
    });
    const status = await Promise.race([this.#ended, late]);
    this.#release();
    return status;
  }
}

/** Runs `pabal <args>` to its end, at most 30 s. */
export async function runCommand(
  args: readonly string[],
  options: {
    readonly input?: string;
    readonly env?: NodeJS.ProcessEnv;
    readonly withinMs?: number;
  } = {},
): Promise<CommandResult> {
  const child = spawn(process.execPath, [program, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    env: options.env ?? process.env,
    timeout: options.withinMs ?? 30_000,
    killSignal: "SIGKILL",
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  child.stdin.on("error", () => {}); // It may end without reading.
  child.stdin.end(options.input ?? "");
  const status = await new Promise<number>((done, fail) => {
    child.once("error", fail);
    child.once("close", (code) => done(code ?? 137));
  });
  return { status, stdout, stderr };
}

/** Asks until an answer is there, every 20 ms. @throws Error naming what was waited for. */
export async function until<T>(
  what: string,
  withinMs: number,
  ask: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  const end = performance.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > end) throw new Error(`waited ${withinMs} ms for ${what}`);
    await wait(20);
  }
}

export function isAlive(pid: number): boolean {
  if (pid === 0) return false;
  try {
    // A zombie that its parent has not collected yet is dead for us.
    return !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** Resident memory of a process, bytes: now, or the most it ever had. */
export function memoryOf(pid: number, which: "VmRSS" | "VmHWM" = "VmRSS"): number {
  const line = new RegExp(`^${which}:\\s+(\\d+) kB`, "m").exec(
    readFileSync(`/proc/${pid}/status`, "utf8"),
  );
  return Number(line?.[1] ?? 0) * 1024;
}

export function signalPid(pid: number, signal: NodeJS.Signals): void {
  if (pid <= 0) return;
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already.
  }
}

export function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Nobody is left in it.
  }
}
