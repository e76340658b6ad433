// What is measured: a Pabal cluster that the benchmark starts, or a peer. A target says where it
// listens, which processes are its own, and who its users are.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { PortsFile } from "../../src/cli/dev/ports-file.ts";

export interface Target {
  readonly name: string;
  readonly smtp?: number;
  readonly lmtp?: number;
  readonly imap?: number;
  readonly pop3?: number;
  /** The admin API; peers have none. */
  readonly admin?: PortsFile["admin"];
  readonly users: readonly string[];
  readonly password: string;
  /** Messages that were accepted and are not in every mailbox yet; absent: none ever. */
  readonly queued?: () => number;
  /** Processes by part, for CPU accounting; asked anew, as peers fork. */
  readonly processes: () => readonly { readonly part: string; readonly pid: number }[];
  readonly stop: () => Promise<void>;
}

const startWithinMs = 60_000;
const stopWithinMs = 20_000;

/** Starts `pabal dev` from dist/ with so many nodes and users. */
export async function startPabal(options: {
  readonly gateways: number;
  readonly nodes: number;
  readonly users: number;
  readonly data?: string;
  readonly set?: readonly string[];
}): Promise<Target> {
  const folder = mkdtempSync(join(tmpdir(), "pabal-bench-"));
  const file = join(folder, "ports.json");
  const child = spawn(
    process.execPath,
    [
      "dist/main.js",
      "dev",
      "--ports-json",
      file,
      "--gateways",
      String(options.gateways),
      "--nodes",
      String(options.nodes),
      "--users",
      String(options.users),
      "--data",
      options.data ?? join(folder, "data"),
      ...["log.level=warn", ...(options.set ?? [])].flatMap((pair) => ["--set", pair]),
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  const end = performance.now() + startWithinMs;
  while (!existsSync(file)) {
    if (child.exitCode !== null || performance.now() > end) {
      child.kill("SIGTERM");
      throw new Error("pabal dev did not start");
    }
    await wait(50);
  }
  const ports = JSON.parse(readFileSync(file, "utf8")) as PortsFile;
  const first = ports.gateways[0];
  if (first === undefined) throw new Error("no gateway");
  return {
    name: "Pabal",
    smtp: first.smtp,
    lmtp: first.lmtp,
    imap: first.imap,
    pop3: first.pop3,
    admin: ports.admin,
    users: ports.users,
    password: ports.password,
    processes: () => [
      ...ports.gateways.map(({ id, pid }) => ({ part: id, pid })),
      ...ports.nodes.map(({ id, pid }) => ({ part: id, pid })),
      { part: "c1", pid: ports.coordinator.pid },
    ],
    stop: async () => {
      const gone = new Promise((done) => {
        child.once("exit", done);
      });
      child.kill("SIGTERM");
      const hurry = setTimeout(() => child.kill("SIGKILL"), stopWithinMs);
      await gone;
      clearTimeout(hurry);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
