// fdatasync that fails in a running process, by strace: for tests of what a node does when its disk
// says no. strace may be missing, or not allowed to attach.

import { execFileSync, spawn } from "node:child_process";

export interface FailingSync {
  /** What strace has written so far: a line a call. */
  calls(): string;
  end(): void;
}

/** From now on each fdatasync of the process gives EIO. */
export function failSyncs(pid: number): FailingSync {
  const trace = spawn(
    "strace",
    ["-f", "-qq", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO", "-p", `${pid}`],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  let calls = "";
  trace.stderr.on("data", (bytes: Buffer) => {
    calls += bytes.toString("latin1");
  });
  return { calls: () => calls, end: () => void trace.kill("SIGKILL") };
}

export function canTrace(): boolean {
  try {
    execFileSync("strace", ["-qq", "-e", "inject=fdatasync:error=EIO", "true"], {
      stdio: "ignore",
      timeout: 10_000,
    });
    return true;
  } catch {
    return false;
  }
}
