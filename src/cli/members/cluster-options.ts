// What nodes and gateways need of the configuration to join the cluster.

import type { Logger } from "pino";
import type { ClusterClient, ClusterOptions } from "../../cluster/node/cluster-client.ts";
import { readCluster } from "../../cluster/node/init-cluster.ts";
import { systemClock } from "../../lib/clock.ts";
import { systemRandom } from "../../lib/random.ts";
import { startPulse } from "../../cluster/pulse/start-pulse.ts";
import { isMailError } from "../../mail/errors.ts";
import { memberId } from "../../mail/ids.ts";
import type { Config } from "../config/schema.ts";
import { coordinatorAddress, etcdCoordinator } from "./coordinator-way.ts";
import type { ListenerConfig } from "./listeners.ts";
import { failureDomain, linkSecurity, ownRoutes, splitHostPort } from "./member-base.ts";

/** `fatal` ends the process: another one took this member's name. */
export function clusterOptions(
  config: Config,
  link: ListenerConfig,
  log: Logger,
  fatal: (error: Error) => void,
): ClusterOptions {
  const { advertise } = link;
  const { pulse } = config.listen;
  return {
    clusterId: config.cluster.id,
    member: memberId(config.member.id),
    failureDomain: failureDomain(config),
    ...wireAs(process.env.PABAL_WIRE_VERSION, config.member.id),
    listen: { host: link.address, port: link.port },
    ...(advertise === undefined ? {} : { advertise: splitHostPort(advertise) }),
    routes: ownRoutes(config),
    security: linkSecurity(config),
    coordinator: coordinatorOf(config),
    clock: systemClock,
    random: systemRandom,
    logger: log,
    onReplaced: () =>
      fatal(new Error(`another process runs as ${config.member.id}; this one stops`)),
    pulse: {
      start: startPulse,
      ...(pulse === undefined ? {} : { listen: { host: pulse.address, port: pulse.port } }),
      ...(pulse?.advertise === undefined
        ? {}
        : { advertisedPort: splitHostPort(pulse.advertise).port }),
      onFailed: fatal,
    },
  };
}

/** PABAL_WIRE_VERSION, for tests alone: `n1=1;g1=1`, members that are to speak as an older program does. */
function wireAs(text: string | undefined, member: string): Pick<ClusterOptions, "wire"> {
  const found = text?.split(";").find((part) => part.startsWith(`${member}=`));
  const version = Number(found?.slice(member.length + 1));
  return Number.isSafeInteger(version) ? { wire: { version, oldest: 1 } } : {};
}

function coordinatorOf(config: Config): ClusterOptions["coordinator"] {
  const { kind, member } = config.cluster.coordinator;
  if (kind === "etcd") {
    const coordinator = etcdCoordinator(config);
    return { kind: "given", coordinator, close: () => coordinator.close() };
  }
  return { kind: "remote", member: memberId(member), address: coordinatorAddress(config) };
}

const lookEveryMs = 100;

/** Waits until the cluster is initialised and this member's table is whole; says how many shards there are. */
export async function shardCountOf(cluster: ClusterClient, signal: AbortSignal): Promise<number> {
  for (;;) {
    signal.throwIfAborted();
    try {
      const record = await readCluster(cluster.coordinator);
      if (record !== undefined) {
        await cluster.shards.refresh();
        if (cluster.shards.count === record.shards) return record.shards;
      }
    } catch (error) {
      if (!isMailError(error, "UNAVAILABLE") && !isMailError(error, "BUSY")) throw error;
    }
    await new Promise<void>((resolve) => {
      systemClock.after(lookEveryMs, resolve);
    });
  }
}
