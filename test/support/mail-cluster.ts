// A small cluster inside this process for tests: embedded coordinator, mail nodes with real disks in
// a temporary folder, one gateway or more, plaintext links on loopback. Members stop, restart and come back.

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { EmbeddedCoordinator } from "../../src/cluster/coordinator/embedded.ts";
import { GatewayCluster } from "../../src/cluster/node/gateway-cluster.ts";
import { initCluster, registeredNodes } from "../../src/cluster/node/init-cluster.ts";
import { MailNode } from "../../src/cluster/node/mail-node.ts";
import type { Limits } from "../../src/cluster/protocol/replica-state.ts";
import type { ShardConfig } from "../../src/cluster/protocol/shard-config.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { realDisk } from "../../src/lib/real-disk.ts";
import { makeAccountId, memberId, opId, shardId } from "../../src/mail/ids.ts";
import type { Principal } from "../../src/mail/mail-store.ts";
import { createAccount, firstMailboxes } from "../../src/store/accounts.ts";
import { openIndex } from "../../src/store/open-store.ts";

export interface MailClusterOptions {
  readonly nodes: readonly string[];
  readonly shardsPerNode?: number;
  readonly retryMs?: number;
  readonly replicaLimits?: Partial<Limits>;
}

const logger = pino({ level: process.env["PABAL_TEST_LOG"] ?? "silent" });
const never = new AbortController().signal;
const loopback = { host: "127.0.0.1", port: 0 };

export class MailCluster {
  readonly folder: string;
  readonly coordinator: EmbeddedCoordinator;
  readonly nodes = new Map<string, MailNode>();
  readonly #options: MailClusterOptions;
  readonly #gateways: GatewayCluster[] = [];
  #accounts = 0;

  private constructor(
    options: MailClusterOptions,
    folder: string,
    coordinator: EmbeddedCoordinator,
  ) {
    this.#options = options;
    this.folder = folder;
    this.coordinator = coordinator;
  }

  /** Started, initialised, and every shard served. */
  static async start(options: MailClusterOptions): Promise<MailCluster> {
    const folder = await mkdtemp(join(tmpdir(), "pabal-cluster-"));
    const coordinator = await EmbeddedCoordinator.open({
      disk: realDisk(folder),
      path: "coordinator.log",
      clock: systemClock,
      log: logger,
      fatal: (error) => {
        throw error;
      },
    });
    const cluster = new MailCluster(options, folder, coordinator);
    await Promise.all(options.nodes.map((name) => cluster.startNode(name)));
    await initCluster(coordinator, {
      clusterId: "test",
      nodes: await registeredNodes(coordinator),
      shardsPerNode: options.shardsPerNode ?? 1,
      minCopies: Math.min(2, options.nodes.length),
      nonce: "test",
    });
    await cluster.startGateway();
    const shards = options.nodes.length * (options.shardsPerNode ?? 1);
    await cluster.#knowsTable(cluster.gateway, shards);
    for (const config of cluster.gateway.cluster.shards.all()) await cluster.served(config);
    return cluster;
  }

  /** The first one. */
  get gateway(): GatewayCluster {
    const [gateway] = this.#gateways;
    if (gateway === undefined) throw new Error("no gateway");
    return gateway;
  }

  get gateways(): readonly GatewayCluster[] {
    return this.#gateways;
  }

  node(name: string): MailNode {
    const node = this.nodes.get(name);
    if (node === undefined) throw new Error(`${name} does not run`);
    return node;
  }

  config(shard: number): ShardConfig {
    const config = this.gateway.cluster.shards.get(shardId(shard));
    if (config === undefined) throw new Error(`no shard ${shard}`);
    return config;
  }

  primaryOf(shard: number): string {
    return this.config(shard).primary.node;
  }

  secondaryOf(shard: number): string {
    return this.config(shard).secondaries[0]?.node ?? "none";
  }

  async startNode(name: string, port = 0): Promise<MailNode> {
    const folder = join(this.folder, name);
    await mkdir(folder, { recursive: true });
    const index = await openIndex(join(folder, "index"));
    const { replicaLimits } = this.#options;
    const node = await MailNode.start(
      {
        ...this.#member(name),
        listen: { ...loopback, port },
        disk: realDisk(folder),
        index,
        onFatal: (error) => {
          throw error;
        },
        ...(replicaLimits === undefined ? {} : { replicaLimits }),
      },
      AbortSignal.timeout(10_000),
    );
    this.nodes.set(name, node);
    return node;
  }

  async stopNode(name: string): Promise<void> {
    const node = this.node(name);
    this.nodes.delete(name);
    await node.stop();
  }

  /** As `stopNode`, without waiting for what is under way. */
  async killNode(name: string): Promise<void> {
    const node = this.node(name);
    this.nodes.delete(name);
    await node.abandon();
  }

  /** One gateway more; it knows the shard table if the cluster has been initialised. */
  async startGateway(): Promise<GatewayCluster> {
    const { retryMs } = this.#options;
    const name = `g${this.#gateways.length + 1}`;
    const gateway = await GatewayCluster.start(
      { ...this.#member(name), ...(retryMs === undefined ? {} : { retryMs }) },
      AbortSignal.timeout(10_000),
    );
    this.#gateways.push(gateway);
    if (this.#gateways.length > 1) {
      await this.#knowsTable(gateway, this.gateway.cluster.shards.count);
    }
    return gateway;
  }

  #knowsTable({ cluster }: GatewayCluster, shards: number): Promise<void> {
    return until(() => cluster.shards.count === shards, "the whole table");
  }

  /** Resolves once the shard's primary serves it. */
  async served(config: ShardConfig): Promise<void> {
    const primary = this.node(config.primary.node);
    await until(() => primary.journal.serves(config.shard), `shard ${config.shard} is served`);
  }

  async addAccount(shard: number, quota: { quotaBytes?: number; quotaMessages?: number } = {}) {
    this.#accounts += 1;
    const account = makeAccountId(shardId(shard), this.#accounts);
    const { engine } = this.node(this.primaryOf(shard)).opened;
    await createAccount(
      engine,
      {
        opId: opId(systemRandom.hex(16)),
        retry: false,
        shard: shardId(shard),
        account,
        name: `u${this.#accounts}@test`,
        aliases: [],
        credentials: { hash: "none" },
        quotaBytes: quota.quotaBytes ?? 0,
        quotaMessages: quota.quotaMessages ?? 0,
        profile: {},
        mailboxes: firstMailboxes,
        uidValidityFloor: 0,
      },
      never,
    );
    return { account, shard: shardId(shard), credVersion: 1 } satisfies Principal;
  }

  async close(): Promise<void> {
    for (const gateway of this.#gateways) await gateway.close();
    for (const name of this.nodes.keys()) await this.killNode(name);
    await this.coordinator.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  #member(name: string) {
    return {
      clusterId: "test",
      member: memberId(name),
      failureDomain: name,
      listen: loopback,
      security: { kind: "plaintext" } as const,
      coordinator: { kind: "given", coordinator: this.coordinator } as const,
      clock: systemClock,
      random: systemRandom,
      logger: logger.child({ member: name }),
      onReplaced: () => {
        throw new Error(`${name} was replaced`);
      },
    };
  }
}

/** Waits for a condition, at most ten seconds. */
export async function until(holds: () => boolean, what: string): Promise<void> {
  const giveUpMs = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > giveUpMs) throw new Error(`never: ${what}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 2);
    });
  }
}
