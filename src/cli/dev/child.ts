// One member of a development cluster as a process: started, watched, started again after it died,
// stopped. Its log lines are handed on line by line. Knows nothing of mail.

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

export interface ChildOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Milliseconds until a dead member is started again; undefined: never. */
  readonly restartAfterMs: number | undefined;
  readonly onLine: (line: string) => void;
  /** Runs after each start with the new pid. */
  readonly onStart: (pid: number) => void;
  readonly onExit: (status: string) => void;
}

const longestPauseMs = 10_000;

export class Child {
  readonly #options: ChildOptions;
  #process: ChildProcess | undefined;
  #stopping = false;
  /** Ends by itself, one after the other. */
  #failures = 0;
  #restart: NodeJS.Timeout | undefined;

  constructor(options: ChildOptions) {
    this.#options = options;
    this.#start();
  }

  get name(): string {
    return this.#options.name;
  }
  /** Pid of the running process; 0 while it is down. */
  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** Sends SIGTERM (or SIGKILL) and resolves once the process is gone. It is not started again. */
  async stop(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restart);
    const running = this.#process;
    if (running === undefined) return;
    const gone = new Promise<void>((done) => {
      running.once("exit", () => done());
    });
    running.kill(signal);
    // A member that a test has stopped with SIGSTOP would never see the signal.
    running.kill("SIGCONT");
    await gone;
  }

  #start(): void {
    const { command, args, onLine, onStart, onExit, restartAfterMs } = this.#options;
    // Disk and LevelDB share Node's thread pool, whose size counts from the start of a process only.
    const env = { UV_THREADPOOL_SIZE: "16", ...process.env };
    const child = spawn(command, [...args], { env, stdio: ["ignore", "pipe", "pipe"] });
    this.#process = child;
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY }).on("line", onLine);
    }
    const startedMs = performance.now();
    let gone = false;
    const ended = (status: string): void => {
      if (gone) return;
      gone = true;
      this.#process = undefined;
      onExit(status);
      if (this.#stopping || restartAfterMs === undefined) return;
      const longer = Math.min(
        longestPauseMs,
        restartAfterMs * 2 ** Math.max(0, this.#failures - 1),
      );
      this.#restart = setTimeout(() => this.#start(), Math.max(restartAfterMs, longer));
    };
    child.once("error", (error) => ended(error.message));
    child.once("exit", (code, signal) => {
      // Who ends by itself has a reason (a full disk) that is seldom gone the next moment.
      const early = performance.now() - startedMs < longestPauseMs;
      if (signal !== null || code === 0) this.#failures = 0;
      else this.#failures = early ? this.#failures + 1 : 1;
      ended(signal ?? `status ${code ?? 0}`);
    });
    if (child.pid !== undefined) onStart(child.pid);
  }
}
