// A coordinator under test, however it is implemented: what the conformance suite may do to it.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import type { Coordinator } from "../../../src/cluster/coordinator/coordinator.ts";
import { serveCoordinator } from "../../../src/cluster/coordinator/coordinator-service.ts";
import { EmbeddedCoordinator } from "../../../src/cluster/coordinator/embedded.ts";
import type { LeaseHome } from "../../../src/cluster/coordinator/lease.ts";
import { EtcdCoordinator } from "../../../src/cluster/coordinator/etcd.ts";
import { RemoteCoordinator } from "../../../src/cluster/coordinator/remote.ts";
import { MemoryAddressBook } from "../../../src/cluster/link/address-book.ts";
import { LinkManager } from "../../../src/cluster/link/link-manager.ts";
import { LinkServer } from "../../../src/cluster/link/link-server.ts";
import { MethodRegistry } from "../../../src/cluster/link/registry.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { systemRandom } from "../../../src/lib/random.ts";
import { realDisk } from "../../../src/lib/real-disk.ts";
import { memberId } from "../../../src/mail/ids.ts";
import { EtcdServer } from "./etcd-server.ts";
import { startRelay } from "../relay.ts";
import type { Relay } from "../relay.ts";

export interface CoordinatorHarness {
  /** Two clients; the same object where there is only one. Ask anew after `restart`. */
  readonly first: Coordinator & LeaseHome;
  readonly second: Coordinator & LeaseHome;
  /** Stops the coordinator and starts it with the data it has; clients find it again by themselves. */
  restart(): Promise<void>;
  /** Faults between the first client and the coordinator, where there is a network. */
  readonly network?: Relay;
  /** Forgets the history before a revision, where that can be asked for. */
  readonly compact?: (revision: number) => Promise<void>;
  close(): Promise<void>;
}

export interface CoordinatorRow {
  readonly name: string;
  /** History and remembered deletions are small, so that tests reach their ends. */
  readonly start: () => Promise<CoordinatorHarness>;
}

export const historyMax = 16;
const log = pino({ level: "silent" });

export const coordinatorRows: readonly CoordinatorRow[] = [
  { name: "embedded", start: startEmbedded },
  { name: "remote", start: startRemote },
  { name: "etcd", start: startEtcd },
];

async function startEmbedded(): Promise<CoordinatorHarness> {
  const folder = await mkdtemp(join(tmpdir(), "pabal-coordinator-"));
  let coordinator = await open(folder);
  return {
    get first() {
      return coordinator;
    },
    get second() {
      return coordinator;
    },
    restart: async () => {
      await coordinator.close();
      coordinator = await open(folder);
    },
    close: async () => {
      await coordinator.close();
      await rm(folder, { recursive: true });
    },
  };
}

async function startRemote(): Promise<CoordinatorHarness> {
  const folder = await mkdtemp(join(tmpdir(), "pabal-coordinator-"));
  let coordinator = await open(folder);
  let server = await serve(coordinator, 0);
  const { port } = server;
  const relay = await startRelay(port);
  const first = client("g1", relay.port);
  const second = client("g2", port);
  return {
    first: first.coordinator,
    second: second.coordinator,
    network: relay,
    restart: async () => {
      await server.close();
      await coordinator.close();
      coordinator = await open(folder);
      server = await serve(coordinator, port);
    },
    close: async () => {
      first.close();
      second.close();
      await relay.close();
      await server.close();
      await coordinator.close();
      await rm(folder, { recursive: true });
    },
  };
}

async function startEtcd(): Promise<CoordinatorHarness> {
  const server = await EtcdServer.start();
  const relay = await startRelay(server.port);
  const first = etcdClient(relay.port);
  const second = etcdClient(server.port);
  return {
    first,
    second,
    network: relay,
    restart: () => server.restart(),
    compact: (revision) => server.compact(revision),
    close: async () => {
      first.close();
      second.close();
      await relay.close();
      await server.close();
    },
  };
}

function etcdClient(port: number): EtcdCoordinator {
  return new EtcdCoordinator({
    hosts: [`127.0.0.1:${port}`],
    namespace: "pabal/test/",
    clock: systemClock,
    nonce: () => systemRandom.hex(12),
  });
}

function open(folder: string): Promise<EmbeddedCoordinator> {
  return EmbeddedCoordinator.open({
    disk: realDisk(folder),
    path: "coordinator.log",
    clock: systemClock,
    log,
    fatal: (error) => {
      throw error;
    },
    historyMax,
    deletedMax: 64,
    compactBytes: 4096,
  });
}

const coordinatorMember = memberId("coordinator");

async function serve(coordinator: EmbeddedCoordinator, port: number): Promise<LinkServer> {
  const registry = new MethodRegistry();
  serveCoordinator(registry, coordinator);
  const server = new LinkServer({
    self: { cluster: "test", member: coordinatorMember, role: "coordinator", incarnation: () => 0 },
    registry,
    security: { kind: "plaintext" },
    clock: systemClock,
    log,
  });
  await server.listen({ host: "127.0.0.1", port });
  return server;
}

function client(
  name: string,
  port: number,
): { readonly coordinator: RemoteCoordinator; readonly close: () => void } {
  const addresses = new MemoryAddressBook();
  addresses.set(coordinatorMember, { host: "127.0.0.1", port });
  const links = new LinkManager({
    self: { cluster: "test", member: memberId(name), role: "gateway", incarnation: () => 0 },
    addresses,
    security: { kind: "plaintext" },
    clock: systemClock,
    log,
    random: systemRandom,
  });
  const coordinator = new RemoteCoordinator({
    peer: links.peer(coordinatorMember),
    clock: systemClock,
    timeoutMs: 5000,
  });
  return {
    coordinator,
    close: () => {
      coordinator.close();
      links.close();
    },
  };
}
