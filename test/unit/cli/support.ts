// Runs the command line: in this process, which is quick, or as a process of its own where standard
// input or a signal takes part.

import { spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { runProgram } from "../../../src/cli/program.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));

export interface Run {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

export interface RunOptions {
  readonly env?: Record<string, string>;
  readonly input?: string;
  /** Ends the process once its output has this. */
  readonly until?: RegExp;
}

/** `pabal ARGS…` from the sources. The environment has no cluster in it unless `env` says so. One at a time. */
export function pabal(args: readonly string[], options: RunOptions = {}): Promise<Run> {
  return options.input === undefined && options.until === undefined
    ? here(args, options.env ?? {})
    : asProcess(args, options);
}

async function here(args: readonly string[], env: Record<string, string>): Promise<Run> {
  const { stdout, stderr } = process;
  const kept = {
    env: { ...process.env },
    out: stdout.write.bind(stdout),
    err: stderr.write.bind(stderr),
    status: process.exitCode,
  };
  const said = { out: "", err: "" };
  const catching = (to: "out" | "err") => (text: string | Uint8Array) => {
    said[to] += String(text);
    return true;
  };
  // In place: os.tmpdir() reads the process's own environment, whatever object stands for it.
  setEnvironment({ ...kept.env, PABAL_ADMIN: undefined, PABAL_ADMIN_TOKEN: undefined, ...env });
  process.exitCode = undefined;
  stdout.write = catching("out");
  stderr.write = catching("err");
  try {
    await runProgram(["node", "pabal", ...args], "0.0.0");
    return { status: Number(process.exitCode ?? 0), ...said };
  } finally {
    stdout.write = kept.out;
    stderr.write = kept.err;
    setEnvironment(kept.env);
    process.exitCode = kept.status;
  }
}

function setEnvironment(wanted: Readonly<Record<string, string | undefined>>): void {
  for (const name of Object.keys(process.env)) {
    if (wanted[name] === undefined) delete process.env[name];
  }
  for (const [name, value] of Object.entries(wanted)) {
    if (value !== undefined) process.env[name] = value;
  }
}

function asProcess(args: readonly string[], options: RunOptions): Promise<Run> {
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn(process.execPath, ["--import", "tsx", "src/main.ts", ...args], {
    cwd: root,
    env: { PATH, HOME, TMPDIR: tmpdir(), ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let [out, err] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
    if (options.until?.test(out) === true) child.kill("SIGTERM");
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    err += text;
  });
  child.stdin.on("error", () => {}); // It need not read its input.
  child.stdin.end(options.input ?? "");
  return new Promise((resolve) => {
    child.on("close", (status) => resolve({ status, out, err }));
  });
}
