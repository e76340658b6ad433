// A development cluster of real processes for tests: `pabal dev` from dist/ with the ports file,
// members to kill, the command line beside it. Knows no mail protocol. Every wait has an end, and
// nothing is left running when the test process ends.

import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { type ShardList, shardList } from "../../src/cli/commands/cluster.ts";
import { type ClusterStatus, clusterStatus } from "../../src/cli/commands/cluster-status.ts";
import type { PortsFile } from "../../src/cli/dev/ports-file.ts";
import type { ShardMembers } from "./replicas.ts";
import {
  type CommandResult,
  isAlive,
  runCommand,
  ServedMember,
  signalPid,
  startGroup,
  until,
} from "./processes.ts";

export interface DevClusterOptions {
  readonly gateways?: number;
  readonly nodes?: number;
  readonly users?: number;
  /** Default: embedded. */
  readonly coordinator?: "embedded" | "etcd";
  /** Default `500ms`. */
  readonly restartAfter?: string;
  /** `key=value` for every member. */
  readonly set?: readonly string[];
  /** Default: a fresh folder that goes with the cluster. A given one stays. */
  readonly data?: string;
  /** Added to the environment of all members. */
  readonly env?: Readonly<Record<string, string>>;
  /** How long the start may take. Default 45 s. */
  readonly startMs?: number;
}

export interface Ended {
  /** Exit status; 128 + signal number when a signal ended it. */
  readonly status: number;
  readonly ms: number;
}

type Gateway = PortsFile["gateways"][number];
type Node = PortsFile["nodes"][number];

export class DevCluster {
  /** Own temporary folder: ports file, log, state file of the command line, default data. */
  readonly folder: string;
  readonly data: string;
  readonly portsFile: string;
  readonly logFile: string;
  readonly #child: ChildProcess;
  readonly #release: () => void;
  readonly #ended: Promise<Ended>;
  readonly #keepData: boolean;

  /** Resolves once the ports file is there: everything serves. @throws Error with the log's end. */
  static async start(options: DevClusterOptions = {}): Promise<DevCluster> {
    const cluster = new DevCluster(options);
    const within = options.startMs ?? 45_000;
    try {
      await until("the ports file", within, () => {
        if (cluster.#child.exitCode !== null)
          throw new Error(`pabal dev ended with ${cluster.#child.exitCode}`);
        return existsSync(cluster.portsFile) ? true : undefined;
      });
    } catch (error) {
      const log = cluster.log().slice(-4000);
      await cluster.destroy();
      throw new Error(`the cluster did not start; its log ends: ${log}`, { cause: error });
    }
    return cluster;
  }

  private constructor(options: DevClusterOptions) {
    this.folder = mkdtempSync(join(tmpdir(), "pabal-it-"));
    this.data = options.data ?? join(this.folder, "data");
    this.#keepData = options.data !== undefined;
    this.portsFile = join(this.folder, "ports.json");
    this.logFile = join(this.folder, "log");
    mkdirSync(this.data, { recursive: true });
    const started = performance.now();
    const { gateways = 2, nodes = 3, users = 4, restartAfter = "500ms", set = [] } = options;
    const counts = ["--gateways", `${gateways}`, "--nodes", `${nodes}`, "--users", `${users}`];
    const files = ["--ports-json", this.portsFile, "--data", this.data];
    const settings = set.flatMap((pair) => ["--set", pair]);
    const kind = ["--coordinator", options.coordinator ?? "embedded"];
    const args = [
      "dev",
      ...files,
      ...counts,
      ...kind,
      "--restart-after",
      restartAfter,
      ...settings,
    ];
    const { child, release } = startGroup(args, this.logFile, {
      ...this.#environment(),
      ...options.env,
    });
    this.#child = child;
    this.#release = release;
    this.#ended = new Promise((done) => {
      this.#child.once("exit", (code, signal) =>
        done({
          status: code ?? 128 + (signal === "SIGKILL" ? 9 : 15),
          ms: performance.now() - started,
        }),
      );
    });
  }

  /** The ports file as it is now. */
  get ports(): PortsFile {
    return JSON.parse(readFileSync(this.portsFile, "utf8")) as PortsFile;
  }

  gateway(id = "g1"): Gateway {
    return found(
      this.ports.gateways.find((gateway) => gateway.id === id),
      id,
    );
  }

  node(id: string): Node {
    return found(
      this.ports.nodes.find((node) => node.id === id),
      id,
    );
  }

  /** Pid of a member by its id (`c1` too), 0 while it is down; `dev` is the supervisor. */
  pid(id: string): number {
    if (id === "dev") return this.#child.pid ?? 0;
    const { gateways, nodes, coordinator } = this.ports;
    if (id === "c1") return coordinator.pid;
    return found(
      [...gateways, ...nodes].find((member) => member.id === id),
      id,
    ).pid;
  }

  configFile(id: string): string {
    return join(this.data, "config", `${id}.yaml`);
  }

  /** Everything that the members have written so far. */
  log(): string {
    return readFileSync(this.logFile, "utf8");
  }

  /** Sends a signal to a member; quiet when it is down just now. */
  signal(id: string, signal: NodeJS.Signals): void {
    signalPid(this.pid(id), signal);
  }

  /** Kills a member and waits until its process is gone. */
  async kill(id: string, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const pid = this.pid(id);
    signalPid(pid, signal);
    await until(`the end of ${id}`, 10_000, () => (isAlive(pid) ? undefined : true));
  }

  /** Kills a member and waits until `pabal dev` has started it again and it is ready. */
  async restart(id: string, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const before = this.pid(id);
    await this.kill(id, signal);
    await until(`a new ${id}`, 15_000, () => {
      const now = this.pid(id);
      return now !== before && isAlive(now) ? true : undefined;
    });
    await this.ready([id]);
  }

  /** Starts a member that `pabal dev` leaves dead: `pabal serve` with the same file. */
  serve(id: string): ServedMember {
    return new ServedMember(this.configFile(id), this.logFile);
  }

  /** Resolves once these members (default: all) answer /readyz with 200. */
  async ready(ids?: readonly string[], withinMs = 30_000): Promise<void> {
    const { gateways, nodes } = this.ports;
    const asked = [...gateways, ...nodes].filter(({ id }) => ids === undefined || ids.includes(id));
    await Promise.all(
      asked.map(({ id, http }) =>
        until(`${id} to be ready`, withinMs, async () =>
          (await isReady(http)) ? true : undefined,
        ),
      ),
    );
  }

  /** Resolves once every shard is on two nodes and served. @returns what the wait took, ms. */
  async settled(withinMs = 60_000): Promise<number> {
    const started = performance.now();
    await this.ready(undefined, withinMs);
    await until("all shards on two nodes", withinMs, async () => {
      const { shards } = await this.status();
      return shards.full === shards.total ? true : undefined;
    });
    return performance.now() - started;
  }

  /** Answer of the admin API to `cluster status`. */
  async status(gateway = "g1"): Promise<ClusterStatus> {
    const { text } = await this.admin("GET", "/admin/v1/status", undefined, gateway);
    return clusterStatus.parse(JSON.parse(text));
  }

  /** The shard table, as a live gateway knows it. */
  async shards(): Promise<readonly (ShardList["shards"][number] & ShardMembers)[]> {
    return until("the shard table", 10_000, async () => {
      for (const { id } of this.ports.gateways) {
        try {
          const { text } = await this.admin("GET", "/admin/v1/shards", undefined, id);
          return shardList.parse(JSON.parse(text)).shards.map((config) => ({
            ...config,
            nodes: [config.primary, ...config.secondaries].map(({ node }) => node),
            whole: [config.primary, ...config.secondaries.filter(({ full }) => full)].map(
              ({ node }) => node,
            ),
          }));
        } catch {
          // The next gateway may answer.
        }
      }
      return undefined;
    });
  }

  /** One request to the admin API of a gateway; bytes are sent as they are, other values as JSON. */
  async admin(
    method: string,
    path: string,
    body?: unknown,
    gateway = "g1",
  ): Promise<{ readonly status: number; readonly text: string }> {
    const { token } = this.ports.admin;
    const isBytes = body instanceof Uint8Array;
    const response = await fetch(`http://127.0.0.1:${this.gateway(gateway).http}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined || isBytes ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined
        ? {}
        : { body: isBytes ? Uint8Array.from(body) : JSON.stringify(body) }),
      signal: AbortSignal.timeout(30_000),
    });
    return { status: response.status, text: await response.text() };
  }

  /** Runs `pabal <args>` against this cluster; `input` goes to its standard input. */
  async cli(args: readonly string[], input = ""): Promise<CommandResult> {
    return runCommand(args, { input, env: this.#environment() });
  }

  /** Sends SIGTERM (or another) to `pabal dev` and waits for its end. @returns ms from the signal on. */
  async stop(signal: NodeJS.Signals = "SIGTERM", withinMs = 15_000): Promise<Ended> {
    const asked = performance.now();
    signalPid(this.pid("dev"), signal);
    const { status } = await this.ended(withinMs);
    return { status, ms: performance.now() - asked };
  }

  /** Resolves when `pabal dev` has ended by itself or by a signal. */
  async ended(withinMs = 15_000): Promise<Ended> {
    const late = wait(withinMs, undefined, { ref: false }).then(() => {
      throw new Error(`pabal dev still runs after ${withinMs} ms`);
    });
    return Promise.race([this.#ended, late]);
  }

  /** Stops what still runs and removes the folder. For `afterAll` and `finally`. */
  async destroy(): Promise<void> {
    try {
      if (this.#child.exitCode === null && this.#child.signalCode === null) await this.stop();
    } finally {
      this.#release();
      rmSync(this.folder, { recursive: true, force: true });
      if (!this.#keepData) rmSync(this.data, { recursive: true, force: true });
    }
  }

  // The command line finds the cluster by a file in the temporary folder: each cluster has its own.
  #environment(): NodeJS.ProcessEnv {
    return { ...process.env, TMPDIR: this.folder };
  }
}

async function isReady(http: number): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${http}/readyz`, {
      signal: AbortSignal.timeout(1000),
    });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}

function found<T>(value: T | undefined, id: string): T {
  if (value === undefined) throw new Error(`the ports file has no ${id}`);
  return value;
}
