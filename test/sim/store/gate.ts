// What a simulated gateway's process has with the real store: links, the routed store, and in some seeds
// its directory with what operators may order there.

import { AccountAdminClient } from "../../../src/cluster/directory/account-admin-client.ts";
import { nodesOf, primariesOf } from "../../../src/cluster/directory/cluster-view.ts";
import { GatewayDirectory } from "../../../src/cluster/directory/gateway-directory.ts";
import { Placement } from "../../../src/cluster/directory/placement.ts";
import { decodeReports, failoverMethods } from "../../../src/cluster/node/failover-wire.ts";
import { RoutedMailStore } from "../../../src/cluster/node/routed-mail-store.ts";
import type { KnownShards } from "../../../src/cluster/node/shard-table.ts";
import type { ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import { opIdMaker } from "../../../src/lib/id-maker.ts";
import { SeededRandom } from "../../../src/lib/random.ts";
import { opId } from "../../../src/mail/ids.ts";
import type { GatewayProcess } from "../world/gateway.ts";
import { clockOf } from "./clock.ts";
import { gatewayFreshnessMs } from "./directory-lies.ts";
import type { GatewayDisk } from "./gateway-disk.ts";
import { SimLinks } from "./links.ts";
import type { StoreCluster } from "./world.ts";

export const domain = "sim.test";

const retryMs = 2500;
/** An operator's patience. */
const orderMs = 8000;
const hash = { memoryBytes: 8 * 1024, passes: 1, scramIterations: 0 };

/** A gateway's directory, open. */
export interface Identity {
  readonly directory: GatewayDirectory;
  readonly admin: AccountAdminClient;
}

export class Gate {
  readonly world: StoreCluster;
  readonly gateway: GatewayProcess;
  readonly links: SimLinks;
  readonly store: RoutedMailStore;
  /** Once it is open. */
  identity: Identity | undefined;
  readonly #listeners = new Set<(config: ShardConfig) => void>();

  constructor(world: StoreCluster, gateway: GatewayProcess) {
    this.world = world;
    this.gateway = gateway;
    const { machine, life } = gateway;
    this.links = new SimLinks(world, machine, life);
    gateway.onLink = (node, up) => this.links.changed(node, up);
    this.links.registry.onSend(failoverMethods.report, ({ head }) => {
      const { from, linked, reports } = decodeReports(head);
      if (reports.length > 0) gateway.report(from, { linked, reports });
    });
    gateway.onTable = (config) => {
      world.busy = true;
      for (const listener of new Set(this.#listeners)) listener(config);
    };
    const clock = clockOf(world, life);
    this.store = new RoutedMailStore({ table: this.#table(), links: this.links, clock, retryMs });
  }

  /** Opens the directory, and follows the nodes. */
  async open(files: GatewayDisk): Promise<void> {
    const { world, gateway, links } = this;
    const { life, machine } = gateway;
    const clock = clockOf(world, life);
    const shardCount = world.plan.shards;
    const log = world.loggerOf(machine.name, () => life.alive);
    const freshnessMs = gatewayFreshnessMs(world.broken);
    const at = { files, clusterId: "simulated", shardCount, links, clock, log };
    const directory = await GatewayDirectory.open({ ...at, freshnessMs, cacheMax: 20 });
    if (!life.alive) return;
    directory.onRows((rows) => {
      if (life.alive) world.names?.seen(machine, rows);
    });
    const table = this.#table();
    const follow = () => directory.follow(nodesOf(table));
    this.#listeners.add(follow);
    follow();
    const primaries = primariesOf(table);
    const random = new SeededRandom(world.draws.below(2 ** 31));
    const nextOpId = opIdMaker(random);
    const placement = new Placement({ shardCount, primaries, loadOf: () => 0, random });
    const admin = new AccountAdminClient({
      directory,
      links,
      primaries,
      placement,
      shardCount,
      domains: [domain],
      clock,
      nextOpId: () => opId(nextOpId()),
      hash,
      retryMs: orderMs,
    });
    this.identity = { directory, admin };
  }

  /** The table as this gateway knows it; in some seeds it sends requests to the wrong member. */
  #table(): KnownShards {
    const { world, gateway } = this;
    return {
      get: (shard) => {
        const config = gateway.configOf(shard);
        const wrong = world.draws.chance(world.plan.wrongMember)
          ? world.draws.pick(world.nodes)
          : undefined;
        return config === undefined || wrong === undefined || world.quiet
          ? config
          : { ...config, primary: wrong.copy };
      },
      all: () => gateway.configs,
      onChange: (listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
      refresh: () => {
        gateway.readTable();
        return Promise.resolve();
      },
    };
  }
}
