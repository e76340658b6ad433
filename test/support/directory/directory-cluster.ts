// Nodes with directory services and gateways with directories over in-memory shards and links, under
// a simulated clock that runs much faster than the wall's. For tests of the directory as a whole.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AccountAdminClient } from "../../../src/cluster/directory/account-admin-client.ts";
import { directoryFolder } from "../../../src/cluster/directory/directory-files.ts";
import { DirectoryService } from "../../../src/cluster/directory/directory-service.ts";
import { GatewayDirectory } from "../../../src/cluster/directory/gateway-directory.ts";
import type { DirectoryLog } from "../../../src/cluster/directory/log.ts";
import { Placement } from "../../../src/cluster/directory/placement.ts";
import { opIdMaker } from "../../../src/lib/id-maker.ts";
import { SeededRandom, systemRandom } from "../../../src/lib/random.ts";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";
import { memberId, opId } from "../../../src/mail/ids.ts";
import type { MemberId } from "../../../src/mail/ids.ts";
import { MemoryNet } from "./memory-net.ts";
import { MemoryShards } from "./memory-shards.ts";

export const freshnessMs = 1000;
/** Cheap, for tests only. */
export const weakHash = { memoryBytes: 8 * 1024, passes: 1, scramIterations: 0 };
export const knownHash =
  "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

const noLog: DirectoryLog = {
  error: () => undefined,
  warn: () => undefined,
  info: () => undefined,
  debug: () => undefined,
};

export interface TestGateway {
  readonly id: MemberId;
  readonly folder: string;
  readonly directory: GatewayDirectory;
  readonly admin: AccountAdminClient;
}

export class DirectoryCluster {
  readonly clock = new SimulatedClock();
  readonly net = new MemoryNet();
  readonly shards: MemoryShards;
  readonly shardCount: number;
  readonly nodes: readonly MemberId[];
  readonly nextOpId: () => ReturnType<typeof opId>;
  readonly #services = new Map<MemberId, DirectoryService>();
  readonly #gateways = new Set<TestGateway>();
  readonly #folders: string[] = [];
  readonly #pump: NodeJS.Timeout;

  constructor(shardCount = 4, nodeCount = 2) {
    this.shardCount = shardCount;
    this.nodes = Array.from({ length: nodeCount }, (_, index) => memberId(`n${index + 1}`));
    const make = opIdMaker(systemRandom);
    this.nextOpId = () => opId(make());
    this.shards = new MemoryShards(
      Array.from(
        { length: shardCount },
        (_, index) => this.nodes[index % nodeCount] ?? memberId("n1"),
      ),
    );
    for (const node of this.nodes) this.startNode(node);
    this.clock.advance(2 * freshnessMs); // Marks of former primaries have run out.
    this.#pump = setInterval(() => this.clock.advance(10), 1);
  }

  startNode(node: MemberId): DirectoryService {
    const service = new DirectoryService({
      store: this.shards.store(node),
      registry: this.net.registry(node),
      links: this.net.links(node),
      primaries: this.shards,
      shardCount: this.shardCount,
      clock: this.clock,
      nextOpId: this.nextOpId,
      log: noLog,
      freshnessMs,
    });
    this.net.heal(node);
    this.#services.set(node, service);
    service.start();
    return service;
  }

  /** The process is gone: its links break, its memory is lost, another node takes its shards. */
  kill(node: MemberId, heir: MemberId): void {
    this.net.cut(node);
    this.#services.get(node)?.close();
    for (let shard = 0; shard < this.shardCount; shard++) {
      const config = this.shards.all()[shard];
      if (config !== undefined && this.shards.primary(config) === node) {
        this.shards.promote(config, heir);
      }
    }
  }

  async gateway(id: string, folder?: string): Promise<TestGateway> {
    const me = memberId(id);
    const path = folder ?? (await mkdtemp(join(tmpdir(), "pabal-directory-")));
    this.#folders.push(path);
    const links = this.net.links(me);
    this.net.heal(me);
    const { clock, shardCount, shards: primaries, nextOpId } = this;
    const directory = await GatewayDirectory.open({
      files: directoryFolder(path),
      clusterId: "test",
      shardCount,
      links,
      clock,
      log: noLog,
      freshnessMs,
      cacheMax: 100,
    });
    directory.follow(this.nodes);
    const placement = new Placement({
      shardCount,
      primaries,
      loadOf: () => 0,
      random: new SeededRandom(7),
    });
    const admin = new AccountAdminClient({
      directory,
      links,
      primaries,
      placement,
      shardCount,
      domains: ["example.test", "other.test"],
      clock,
      nextOpId,
      hash: weakHash,
    });
    const gateway = { id: me, folder: path, directory, admin };
    this.#gateways.add(gateway);
    return gateway;
  }

  async stop(gateway: TestGateway): Promise<void> {
    this.#gateways.delete(gateway);
    await gateway.directory.close();
  }

  async close(): Promise<void> {
    for (const gateway of this.#gateways) await gateway.directory.close();
    for (const service of this.#services.values()) service.close();
    clearInterval(this.#pump);
    for (const folder of this.#folders) await rm(folder, { recursive: true, force: true });
  }
}

/** Waits for the condition; the test's own time limit ends it. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise((resolve) => {
      setTimeout(resolve, 1);
    });
  }
}

export const soon = (): AbortSignal => AbortSignal.timeout(8000);
