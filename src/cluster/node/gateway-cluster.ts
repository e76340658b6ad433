// A gateway's side of the cluster, put together: links, tables, presence and the routed store.
// Front-ends get the store; the directory's methods are registered by the caller.

import type { RpcRegistry } from "../link/rpc.ts";
import { ClusterClient } from "./cluster-client.ts";
import type { ClusterOptions } from "./cluster-client.ts";
import { CopyWatch } from "./copy-watch.ts";
import { ManagerShell } from "./manager-shell.ts";
import { RoutedMailStore } from "./routed-mail-store.ts";

export interface GatewayClusterOptions extends ClusterOptions {
  /** How long a call is tried again while its primary is away, 30 s by default. */
  readonly retryMs?: number;
  /** Registers methods that nodes and other gateways may ask of this one. */
  readonly register?: (registry: RpcRegistry, cluster: ClusterClient) => void;
  /** This gateway's load, as it goes out with replies; see load-figures.ts. */
  readonly loadFigures?: () => unknown;
}

export class GatewayCluster {
  readonly cluster: ClusterClient;
  readonly store: RoutedMailStore;
  /** Only with a pulse. */
  readonly manager: ManagerShell | undefined;
  readonly copies: CopyWatch;

  private constructor(
    cluster: ClusterClient,
    store: RoutedMailStore,
    manager: ManagerShell | undefined,
  ) {
    this.cluster = cluster;
    this.store = store;
    this.manager = manager;
    const { links, members, shards, options } = cluster;
    this.copies = new CopyWatch({
      links,
      clock: options.clock,
      nodes: () => members.all().flatMap(({ member, role }) => (role === "node" ? [member] : [])),
      table: () => shards.all(),
    });
    this.copies.start();
  }

  /** Joins the cluster and reads its tables. Waits for the coordinator until `signal` aborts. */
  static async start(options: GatewayClusterOptions, signal: AbortSignal): Promise<GatewayCluster> {
    const cluster = new ClusterClient(options, "gateway");
    let manager: ManagerShell | undefined;
    try {
      await cluster.join(signal);
      options.register?.(cluster.registry, cluster);
      ManagerShell.register(cluster.registry, cluster, () => manager);
      const loadFigures = options.loadFigures ?? ((): undefined => undefined);
      await cluster.listen(loadFigures);
      await cluster.announce({}, signal);
      if (cluster.pulse !== undefined) {
        manager = new ManagerShell(cluster, loadFigures);
        await manager.start();
      }
    } catch (error) {
      manager?.close();
      await cluster.close();
      throw error;
    }
    const { clock, retryMs } = options;
    const { shards: table, links } = cluster;
    for (const { primary } of table.all()) links.peer(primary.node);
    const store = new RoutedMailStore({
      table,
      links,
      clock,
      ...(retryMs === undefined ? {} : { retryMs }),
    });
    return new GatewayCluster(cluster, store, manager);
  }

  /** Sessions have ended by now. */
  close(): Promise<void> {
    this.copies.close();
    this.store.close();
    this.manager?.close();
    return this.cluster.close();
  }
}
