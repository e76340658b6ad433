// Fault tests that are tests of their own (`npm test` has them): `npm run chaos -- Fn` runs the test and
// ends in its line of figures. They need a quiet cluster, or a disk of their own, rather than load.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { figuresVariable } from "../support/figures.ts";
import { root } from "../support/processes.ts";
import type { ChaosReport } from "../support/chaos-report.ts";

export interface TestScenario {
  readonly name: string;
  readonly about: string;
  readonly project: "integration" | "unit";
  readonly files: readonly string[];
  /** Titles; all tests of the files when absent. */
  readonly titles?: string;
}

export const testScenarios: readonly TestScenario[] = [
  {
    name: "F5",
    about: "members crash at each named point of a delivery's way",
    project: "integration",
    files: ["test/integration/crash-points.test.ts"],
  },
  {
    name: "F11",
    about: "disk full on one node (a small tmpfs)",
    project: "integration",
    files: ["test/integration/disk-full.test.ts"],
  },
  {
    name: "F13",
    about: "every prefix of a recorded write trace, with unsynced parts dropped",
    project: "unit",
    files: ["test/unit/store-log/crash.test.ts", "test/unit/store/power-loss.test.ts"],
  },
  {
    name: "F17",
    about: "the connection is reset right behind the final dot, and the message sent again",
    project: "integration",
    files: ["test/integration/spool.test.ts"],
    titles: "reset behind the final dot",
  },
];

/** Runs the test to its end; `say` hears what it writes. */
export async function runTest(
  scenario: TestScenario,
  say: (line: string) => void,
): Promise<ChaosReport> {
  const { name, files } = scenario;
  const folder = mkdtempSync(join(tmpdir(), "pabal-figures-"));
  const file = join(folder, "figures");
  try {
    const { status, total } = await runVitest(scenario, file, say);
    const figures = existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n") : [];
    const broken = [
      ...(status === 0 ? [] : [`${files.join(", ")} ended with ${status}`]),
      ...(figures.length > 0 ? [] : [`${name} has not run to its end (${total})`]),
    ];
    const what = figures.map((line) => line.slice(name.length + 2)).join("; ");
    return {
      figures: `${name} ${what}: ${broken.length === 0 ? "passed" : "FAILED"}`,
      broken,
      late: [],
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runVitest(
  { project, files, titles }: TestScenario,
  figuresFile: string,
  say: (line: string) => void,
): Promise<{ readonly status: number; readonly total: string }> {
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  const only = titles === undefined ? [] : ["-t", titles];
  const patience = "--testTimeout=120000";
  const args = [vitest, "run", patience, "--project", project, ...files, ...only];
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: { ...process.env, [figuresVariable]: figuresFile },
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 600_000,
    killSignal: "SIGKILL",
  });
  let last = "";
  createInterface({ input: child.stdout }).on("line", (line) => {
    say(line);
    last = line;
  });
  const status = await new Promise<number>((done, fail) => {
    child.once("error", fail);
    child.once("close", (code) => done(code ?? 137));
  });
  return { status, total: last };
}
