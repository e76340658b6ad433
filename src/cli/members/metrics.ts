// Which figures each role shows at /metrics. They are read when asked for; nothing runs in between.

import { collectDefaultMetrics, Registry } from "prom-client";
import type { LinkManager } from "../../cluster/link/link-manager.ts";
import type { GatewayDirectory } from "../../cluster/directory/gateway-directory.ts";
import type { GatewayCluster } from "../../cluster/node/gateway-cluster.ts";
import type { Pulse } from "../../cluster/pulse/pulse.ts";
import type { MailNode } from "../../cluster/node/mail-node.ts";
import type { FrontEndCounters } from "../../gateway/front-end-counters.ts";
import {
  registerClusterMetrics,
  registerPulseMetrics,
} from "../../gateway/http/cluster-metrics.ts";
import {
  registerDirectoryMetrics,
  registerFrontEndMetrics,
  registerLinkMetrics,
  registerMemberMetrics,
  registerNodeMetrics,
} from "../../gateway/http/metrics.ts";
import { registerSearchMetrics } from "../../gateway/http/search-metrics.ts";
import { registerSpoolMetrics } from "../../gateway/http/spool-metrics.ts";
import { registerStorageMetrics } from "../../gateway/http/storage-metrics.ts";
import type { StorageFigures } from "../../gateway/http/storage-metrics.ts";
import type { Config } from "../config/schema.ts";
import { programVersion } from "../version.ts";
import { shardStates } from "./gateway-status.ts";

/** What every member shows: the process, version, readiness. */
export function memberMetrics(config: Config, ready: () => boolean): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ member: config.member.id });
  collectDefaultMetrics({ register: registry });
  registerMemberMetrics(registry, () => ({
    version: programVersion(),
    role: config.member.role,
    ready: ready(),
  }));
  return registry;
}

/** Adds a gateway's listeners, directory and links. `nodes`: how many links there should be. */
export function addGatewayMetrics(
  registry: Registry,
  counters: FrontEndCounters,
  directory: GatewayDirectory,
  links: LinkManager,
  nodes: () => number,
): void {
  registerFrontEndMetrics(registry, counters);
  registerDirectoryMetrics(registry, () => ({
    shardsMissing: directory.missing().length,
    shardsStale: directory.stale().length,
    cacheHits: directory.cacheFigures.hits,
    cacheMisses: directory.cacheFigures.misses,
  }));
  // One more link than there are nodes: the coordinator's.
  registerLinkMetrics(registry, () => [dialled(links, nodes() + 1)]);
}

/** Adds what a gateway knows of the whole cluster: ring, shards, failovers, alarms. */
export function addClusterMetrics(
  registry: Registry,
  { cluster, manager, copies }: GatewayCluster,
  directory: GatewayDirectory,
): void {
  const { clock } = cluster.options;
  registerClusterMetrics(
    registry,
    () => {
      const { shards } = shardStates(cluster);
      const { toSafeMs } = copies;
      const states = ["FULL", "SYNC", "SOLO"].map(
        (name) => [name, shards.filter(({ state }) => state === name).length] as const,
      );
      return {
        shards: { ...Object.fromEntries(states), down: shards.filter(({ up }) => up === 0).length },
        epoch: Math.max(0, ...cluster.shards.all().map(({ epoch }) => epoch)),
        ring: cluster.pulse?.ring(),
        acting: cluster.pulse?.acting() ?? false,
        toSafeSeconds: toSafeMs === undefined ? undefined : toSafeMs / 1000,
        changes: manager?.news.counts,
        alarms: manager?.alarms.counts ?? new Map(),
        raised: manager?.alarms.raised(clock.monotonicMs()) ?? [],
      };
    },
    () => directory.accountsIn(shardStates(cluster).unsafe),
  );
  addPulse(registry, cluster.pulse);
}

function addPulse(registry: Registry, pulse: Pulse | undefined): void {
  if (pulse !== undefined) registerPulseMetrics(registry, () => pulse.counters());
}

/** Adds a mail node's log, shards, caches and links. */
export function addNodeMetrics(registry: Registry, node: MailNode): void {
  const { journal, opened, cluster, member } = node;
  let commitGroups = 0;
  opened.log.onDurable(() => {
    commitGroups++;
  });
  registerNodeMetrics(registry, () => {
    const configs = cluster.shards.all();
    return {
      shardsPrimary: configs.filter(({ primary }) => primary.node === member).length,
      shardsSecondary: configs.filter(({ secondaries }) =>
        secondaries.some((copy) => copy.node === member),
      ).length,
      shardsServing: configs.filter(({ shard }) => journal.serves(shard)).length,
      committedEntries: journal.committedEntries,
      commitGroups,
      uncommittedBytes: journal.uncommittedBytes,
      fsyncP99Seconds: journal.syncP99Ms / 1000,
      indexQueueBytes: opened.engine.rows.queuedBytes,
      summaryCacheBytes: opened.engine.accounts.summaryBytes,
      accountsLoaded: opened.engine.accounts.loadedAccounts,
      alarms: journal.alarms,
    };
  });
  registerStorageMetrics(registry, () => storageFigures(node));
  registerSearchMetrics(registry, () => opened.searchIndex?.figures);
  registerSpoolMetrics(registry, () => ({
    ...node.spool,
    unconfirmed: opened.engine.unconfirmed.size,
  }));
  registerLinkMetrics(registry, () => [dialled(cluster.links, undefined)]);
  addPulse(registry, cluster.pulse);
}

function storageFigures({ opened, copies, cuts, compared }: MailNode): StorageFigures {
  const { level, freeBytes, totalBytes, ballastBytes } = opened.room.figures;
  const damage = opened.repairs.figures;
  const scrub = opened.scrubber.figures;
  return {
    diskFreeBytes: freeBytes,
    diskTotalBytes: totalBytes,
    ballastBytes,
    roomLevel: level,
    damageFound: { ...damage.found },
    damageRepaired: damage.repaired,
    damageLost: damage.lost,
    scrubBytes: scrub.bytes,
    scrubPasses: scrub.passes,
    scrubFinishedMs: scrub.finishedMs,
    compared,
    copies: copies.running,
    copiesWaiting: copies.waiting,
    copiesFinished: copies.finished,
    copiesFailed: copies.failed,
    cutEntries: cuts.entries,
    cutFiles: cuts.files,
  };
}

function dialled(links: LinkManager, expected: number | undefined) {
  const { up, opened, framesIn, framesOut, bytesIn, bytesOut, malformed } = links.counters;
  const figures = { up, opened, framesIn, framesOut, bytesIn, bytesOut, malformed };
  const direction = "dialled" as const;
  return expected === undefined ? { direction, ...figures } : { direction, ...figures, expected };
}
