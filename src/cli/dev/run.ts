// `pabal dev`: a whole cluster on this machine, ready to use. Writes the files, starts the members,
// makes the users, says how to try it, and stops everything in order.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { hashPassword } from "../../cluster/directory/password.ts";
import { AdminClient } from "../admin-client.ts";
import { CommandFailure, exitStatus } from "../failure.ts";
import { initFromConfig } from "../init.ts";
import { banner } from "./banner.ts";
import { writeCertificates } from "./certificate-files.ts";
import { createUsers, DevCluster } from "./cluster.ts";
import { logPrinter } from "./log-lines.ts";
import { type MemberFile, writeMemberFiles } from "./member-files.ts";
import type { DevOptions } from "./options.ts";
import { choosePorts, type DevPorts } from "./ports.ts";
import { devStateFile, type PortsFile, removeDevState, writeJsonAtomically } from "./ports-file.ts";
import { NotReady, waitUntilReady } from "./readiness.ts";

const domain = "pabal.test";
const password = "secret";
const readyWithinMs = 60_000;
const stopWithinMs = 8_000;

/** Runs until SIGTERM or SIGINT; resolves after everything has stopped. @throws CommandFailure */
export async function runDev(options: DevOptions): Promise<void> {
  const folder =
    options.data === undefined ? mkdtempSync(join(tmpdir(), "pabal-dev-")) : resolve(options.data);
  mkdirSync(folder, { recursive: true });
  const ports = await choosePorts(options.portBase, options.gateways, options.nodes);
  const token = keptToken(folder);
  const members = writeMemberFiles({
    folder,
    clusterId: "pabal-dev",
    domain,
    ports,
    set: options.set,
  });
  await writeCertificates(
    folder,
    "pabal-dev",
    members.map(({ id }) => id),
  );
  const urls = ports.gateways.map(({ http }) => `http://127.0.0.1:${http}`);
  const users = Array.from({ length: options.users }, (_, index) => `u${index + 1}@${domain}`);
  const describe = (cluster: DevCluster): PortsFile =>
    portsFile({ cluster, members, ports, folder, users, url: urls[0] ?? "", token });

  let published = false;
  const print = logPrinter(process.stdout.isTTY);
  const cluster: DevCluster = new DevCluster({
    members,
    restartAfterMs: options.restartAfterMs,
    onLine: print,
    onPids: () => {
      if (published && options.portsJson !== undefined)
        writeJsonAtomically(options.portsJson, describe(cluster));
    },
  });
  const stopAsked = untilSignal();
  try {
    await Promise.race([start(), stopAsked]);
    await stopAsked;
  } finally {
    await stop(cluster);
    if (options.portsJson !== undefined) rmSync(options.portsJson, { force: true });
    removeDevState(process.pid);
    if (options.data === undefined) rmSync(folder, { recursive: true, force: true });
  }

  async function start(): Promise<void> {
    const listening = [
      { id: "c1", http: ports.coordinator.http },
      ...ports.nodes.map(({ http }, index) => ({ id: `n${index + 1}`, http })),
      ...ports.gateways.map(({ http }, index) => ({ id: `g${index + 1}`, http })),
    ];
    const initFile = members[0]?.file ?? "";
    const initLimit = AbortSignal.timeout(readyWithinMs);
    const initDone = new AbortController();
    try {
      await Promise.race([
        initFromConfig(initFile, options.nodes, initLimit),
        untilFailure(() => cluster.failure, initDone.signal),
      ]);
      initDone.abort();
      await waitUntilReady(listening, readyWithinMs, () => cluster.failure);
    } catch (error) {
      if (error instanceof NotReady)
        throw new CommandFailure(error.message, exitStatus.unavailable, { cause: error });
      throw error;
    }
    cluster.markServing();
    const client = new AdminClient({ admin: urls[0] ?? "", adminToken: token });
    await createUsers(client, users, await hashPassword(password));
    published = true;
    writeJsonAtomically(devStateFile(), { pid: process.pid, urls, token });
    if (options.portsJson !== undefined) writeJsonAtomically(options.portsJson, describe(cluster));
    process.stdout.write(`${banner(describe(cluster), folder).join("\n")}\n`);
  }
}

async function stop(cluster: DevCluster): Promise<void> {
  let hurried = false;
  const kill = (): void => {
    hurried = true;
    cluster.stop("SIGKILL").catch(() => process.exit(1));
  };
  process.once("SIGTERM", kill);
  process.once("SIGINT", kill);
  const deadline = setTimeout(kill, stopWithinMs - 500);
  await cluster.stop("SIGTERM");
  clearTimeout(deadline);
  process.off("SIGTERM", kill);
  process.off("SIGINT", kill);
  if (hurried) process.stderr.write("pabal dev: some members had to be killed\n");
}

async function untilSignal(): Promise<void> {
  await new Promise<void>((done) => {
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const)
      process.once(signal, () => done());
  });
}

/** Rejects once a member has ended at the start. */
async function untilFailure(failure: () => string | undefined, limit: AbortSignal): Promise<never> {
  for (;;) {
    const why = failure();
    if (why !== undefined) throw new NotReady(why);
    await wait(50, undefined, { signal: limit });
  }
}

/** The admin token of the data folder; made when there is none. */
function keptToken(folder: string): string {
  const file = join(folder, "admin-token");
  if (!existsSync(file))
    writeFileSync(file, `${randomBytes(24).toString("base64url")}\n`, { mode: 0o600 });
  return readFileSync(file, "utf8").trim();
}

interface PortsFileParts {
  readonly cluster: DevCluster;
  readonly members: readonly MemberFile[];
  readonly ports: DevPorts;
  readonly folder: string;
  readonly users: readonly string[];
  readonly url: string;
  readonly token: string;
}

function portsFile({
  cluster,
  members,
  ports,
  folder,
  users,
  url,
  token,
}: PortsFileParts): PortsFile {
  const dataOf = (id: string): string => members.find((member) => member.id === id)?.dataDir ?? "";
  return {
    version: 1,
    domain,
    password,
    users,
    tls: { ca: join(folder, "tls", "ca.pem") },
    gateways: ports.gateways.map(({ ring: _ring, ...listeners }, index) => ({
      id: `g${index + 1}`,
      pid: cluster.pid(`g${index + 1}`),
      ...listeners,
    })),
    nodes: ports.nodes.map(({ http }, index) => ({
      id: `n${index + 1}`,
      pid: cluster.pid(`n${index + 1}`),
      http,
      data: dataOf(`n${index + 1}`),
    })),
    coordinator: { kind: "embedded", pid: cluster.pid("c1") },
    admin: { url, token },
  };
}
