// A real etcd of Debian's package, for tests: one server on loopback with quick elections, its data
// in a temporary folder, restarted on the same ports.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const readyMs = 10_000;

export class EtcdServer {
  readonly port: number;
  readonly #peerPort: number;
  readonly #folder: string;
  #process: ChildProcess | undefined;

  private constructor(port: number, peerPort: number, folder: string) {
    this.port = port;
    this.#peerPort = peerPort;
    this.#folder = folder;
  }

  static async start(): Promise<EtcdServer> {
    const folder = await mkdtemp(join(tmpdir(), "pabal-etcd-"));
    const [port, peerPort] = await freePorts();
    const server = new EtcdServer(port, peerPort, folder);
    await server.#run();
    return server;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** kill -9, then a new process on the same data. */
  async restart(): Promise<void> {
    await this.kill();
    await this.#run();
  }

  async kill(): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    if (running === undefined || running.exitCode !== null) return;
    const gone = once(running, "exit");
    running.kill("SIGKILL");
    await gone;
  }

  async close(): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Forgets the history before `revision`, as an operator's auto-compaction does. */
  async compact(revision: number): Promise<void> {
    const answer = await fetch(`http://127.0.0.1:${this.port}/v3/kv/compaction`, {
      method: "POST",
      body: JSON.stringify({ revision, physical: true }),
      signal: AbortSignal.timeout(readyMs),
    });
    if (!answer.ok) throw new Error(`compaction: ${answer.status} ${await answer.text()}`);
  }

  async #run(): Promise<void> {
    const client = `http://127.0.0.1:${this.port}`;
    const peer = `http://127.0.0.1:${this.#peerPort}`;
    const running = spawn(
      "etcd",
      [
        "--name=e1",
        `--data-dir=${this.#folder}`,
        `--listen-client-urls=${client}`,
        `--advertise-client-urls=${client}`,
        `--listen-peer-urls=${peer}`,
        `--initial-advertise-peer-urls=${peer}`,
        `--initial-cluster=e1=${peer}`,
        "--heartbeat-interval=10",
        "--election-timeout=100",
        "--log-level=error",
        "--logger=zap",
      ],
      { stdio: ["ignore", "ignore", "inherit"] },
    );
    this.#process = running;
    const giveUpMs = performance.now() + readyMs;
    while (!(await healthy(client))) {
      if (running.exitCode !== null) throw new Error(`etcd ended with ${running.exitCode}`);
      if (performance.now() > giveUpMs) throw new Error("etcd does not become healthy");
      await new Promise((resolve) => {
        setTimeout(resolve, 20);
      });
    }
  }
}

async function healthy(client: string): Promise<boolean> {
  try {
    const answer = await fetch(`${client}/health`, { signal: AbortSignal.timeout(1000) });
    return answer.ok && (await answer.text()).includes('"true"');
  } catch {
    return false;
  }
}

/** Two ports that were free a moment ago, held at once so that they differ. */
async function freePorts(): Promise<readonly [number, number]> {
  const servers = [createServer(), createServer()];
  const ports: number[] = [];
  for (const server of servers) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    ports.push((server.address() as AddressInfo).port);
  }
  for (const server of servers) server.close();
  const [a, b] = ports;
  if (a === undefined || b === undefined) throw new Error("two ports");
  return [a, b];
}
