// `pabal dev`: a whole cluster on this machine, ready to use. Writes the files, starts the members,
// makes the users, says how to try it, and stops everything in order.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { makeCredentials } from "../../cluster/directory/make-credentials.ts";
import { defaultHashParameters } from "../../cluster/directory/password.ts";
import { AdminClient } from "../admin-client.ts";
import { CommandFailure, exitStatus } from "../failure.ts";
import { initFromConfig } from "../init.ts";
import { banner } from "./banner.ts";
import { writeCertificates } from "./certificate-files.ts";
import { createUsers, DevCluster } from "./cluster.ts";
import { logPrinter } from "./log-lines.ts";
import { type MemberFile, writeMemberFiles } from "./member-files.ts";
import { writeMbsyncFile } from "./mbsync-file.ts";
import type { DevOptions } from "./options.ts";
import { choosePorts, type DevPorts } from "./ports.ts";
import { devStateFile, type PortsFile, removeDevState, writeJsonAtomically } from "./ports-file.ts";
import { NotReady, waitUntilReady } from "./readiness.ts";

const clusterId = "pabal-dev";
const domain = "pabal.test";
const password = "secret";
const readyWithinMs = 60_000;
const stopWithinMs = 8_000;

/** What a start needs, settled before the first process runs. */
interface Plan {
  readonly folder: string;
  readonly ports: DevPorts;
  readonly token: string;
  readonly members: readonly MemberFile[];
  readonly coordinator: "embedded" | "etcd";
  /** Admin API of each gateway. */
  readonly urls: readonly string[];
  readonly users: readonly string[];
}

/** Runs until SIGTERM or SIGINT; resolves after everything has stopped. @throws CommandFailure */
export async function runDev(options: DevOptions): Promise<void> {
  const plan = await prepare(options);
  const { portsJson } = options;
  let published = false;
  const publish = (): void => {
    if (published && portsJson !== undefined)
      writeJsonAtomically(portsJson, portsFile(plan, cluster));
  };
  const cluster: DevCluster = new DevCluster({
    members: plan.members,
    restartAfterMs: options.restartAfterMs,
    onLine: logPrinter(process.stdout.isTTY),
    onPids: publish,
  });
  const starting = new AbortController();
  const stopAsked = untilSignal();
  try {
    const started = bringUp(plan, cluster, starting.signal).then(() => {
      published = true;
      writeJsonAtomically(devStateFile(), { pid: process.pid, urls: plan.urls, token: plan.token });
      writeMbsyncFile(portsFile(plan, cluster), plan.folder);
      publish();
      process.stdout.write(`${banner(portsFile(plan, cluster), plan.folder).join("\n")}\n`);
    });
    await Promise.race([started, stopAsked]);
    await stopAsked;
  } finally {
    starting.abort();
    await stop(cluster);
    if (portsJson !== undefined) rmSync(portsJson, { force: true });
    removeDevState(process.pid);
    if (options.data === undefined) rmSync(plan.folder, { recursive: true, force: true });
  }
}

/** Writes what the members read: configuration, certificates, the admin token. */
async function prepare(options: DevOptions): Promise<Plan> {
  const folder =
    options.data === undefined ? mkdtempSync(join(tmpdir(), "pabal-dev-")) : resolve(options.data);
  mkdirSync(folder, { recursive: true });
  const ports = await choosePorts(options.portBase, options.gateways, options.nodes);
  const token = keptToken(folder);
  const { coordinator, set } = options;
  const members = writeMemberFiles({ folder, clusterId, domain, ports, coordinator, set });
  const names = members.map(({ id }) => id);
  await writeCertificates(folder, clusterId, names);
  const urls = ports.gateways.map(({ http }) => `http://127.0.0.1:${http}`);
  const users = Array.from({ length: options.users }, (_, index) => `u${index + 1}@${domain}`);
  return { folder, ports, token, members, coordinator, urls, users };
}

/** Resolves once every member serves and the users are there. @throws CommandFailure when one can't. */
async function bringUp(plan: Plan, cluster: DevCluster, signal: AbortSignal): Promise<void> {
  const { ports } = plan;
  const listening = [
    ...(plan.coordinator === "embedded" ? [{ id: "c1", http: ports.coordinator.http }] : []),
    ...ports.nodes.map(({ http }, index) => ({ id: `n${index + 1}`, http })),
    ...ports.gateways.map(({ http }, index) => ({ id: `g${index + 1}`, http })),
  ];
  const initDone = new AbortController();
  const initLimit = AbortSignal.any([signal, AbortSignal.timeout(readyWithinMs)]);
  try {
    await Promise.race([
      initFromConfig(toolFile(plan.members), ports.nodes.length, initLimit),
      untilFailure(() => cluster.failure, AbortSignal.any([signal, initDone.signal])),
    ]);
    initDone.abort();
    await waitUntilReady(listening, readyWithinMs, () => cluster.failure, signal);
  } catch (error) {
    if (!(error instanceof NotReady)) throw error;
    throw new CommandFailure(error.message, exitStatus.unavailable, { cause: error });
  }
  cluster.markServing();
  const client = new AdminClient({ admin: plan.urls[0] ?? "", adminToken: plan.token });
  await createUsers(client, plan.users, await credentialsOf(password));
}

/** All users have one password: it is hashed once. RFC 7677 §4: 4096 iterations at least. */
function credentialsOf(password: string): Promise<string> {
  return makeCredentials(password, { ...defaultHashParameters, scramIterations: 10_000 });
}

/**
 * The configuration by which `init` reaches the coordinator: its own, where it is a member. Another
 * member's name on two links at once would end one of them.
 */
function toolFile(members: readonly MemberFile[]): string {
  const served = members.filter(({ file }) => file !== "");
  return (served.find(({ role }) => role === "coordinator") ?? served[0])?.file ?? "";
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

function portsFile(plan: Plan, cluster: DevCluster): PortsFile {
  const { ports, members, folder, users, urls, token } = plan;
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
    coordinator: { kind: plan.coordinator, pid: cluster.pid("c1") },
    admin: { url: urls[0] ?? "", token },
  };
}
