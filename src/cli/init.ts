// Makes a cluster out of nodes that have registered: `pabal cluster init`, and `pabal dev` at its first start.

import { randomBytes } from "node:crypto";
import { setTimeout as wait } from "node:timers/promises";
import { pino } from "pino";
import { initCluster, readCluster, registeredNodes } from "../cluster/node/init-cluster.ts";
import { isMailError } from "../mail/errors.ts";
import { loadConfig } from "./config/load.ts";
import { CommandFailure, exitStatus } from "./failure.ts";
import { reachCoordinator } from "./members/coordinator-way.ts";
import { selfDescription } from "./members/member-base.ts";

export interface InitOutcome {
  readonly shards: number;
  readonly nodes: number;
  /** The cluster was there already. */
  readonly existed: boolean;
}

/**
 * Waits until `nodes` mail nodes have registered, then writes the shard table. `configFile` is any
 * member's: its certificate and the coordinator's address are used. Does nothing to a cluster that
 * is initialised already. @throws CommandFailure
 */
export async function initFromConfig(
  configFile: string,
  nodes: number,
  signal: AbortSignal,
): Promise<InitOutcome> {
  const config = loadConfig(configFile);
  const log = pino({ level: "silent" });
  const self = selfDescription(config, "tool", () => 0);
  const way = reachCoordinator(config, self, log);
  const { coordinator } = way;
  try {
    for (;;) {
      signal.throwIfAborted();
      try {
        const present = await before(signal, readCluster(coordinator));
        if (present !== undefined) return { shards: present.shards, nodes, existed: true };
        const registered = await before(signal, registeredNodes(coordinator));
        if (registered.length >= nodes) {
          const made = await initCluster(coordinator, {
            clusterId: config.cluster.id,
            nodes: registered,
            shardsPerNode: config.cluster.shardsPerNode,
            minCopies: config.cluster.minCopies,
            sameDomainAllowed: config.cluster.allowSameMachine,
            nonce: randomBytes(16).toString("hex"),
          });
          return { shards: made.shards, nodes: registered.length, existed: false };
        }
      } catch (error) {
        // The coordinator is still starting, or another init won: look again.
        if (!isMailError(error, "UNAVAILABLE") && !isMailError(error, "CONFLICT")) throw error;
      }
      await wait(50, undefined, { signal });
    }
  } catch (error) {
    if (isMailError(error))
      throw new CommandFailure(error.message, exitStatus.failed, { cause: error });
    throw error;
  } finally {
    way.close();
  }
}

/** What `promise` gives, unless `signal` aborts first: then its reason is thrown. */
async function before<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  const stop = new AbortController();
  // A timer of its own: the links' don't keep the process alive while the coordinator is away.
  const aborted = async (): Promise<never> => {
    for (;;) {
      signal.throwIfAborted();
      await wait(50, undefined, { signal: stop.signal });
    }
  };
  const watching = aborted();
  watching.catch(() => undefined);
  promise.catch(() => undefined);
  try {
    return await Promise.race([promise, watching]);
  } finally {
    stop.abort();
  }
}
