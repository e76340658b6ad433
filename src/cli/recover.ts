// `pabal cluster recover`: asks all nodes that run for the configurations on their disks, and writes the
// shard table anew from them. What is right is decided in cluster/node/recover-table.ts.

import { randomBytes } from "node:crypto";
import { setTimeout as wait } from "node:timers/promises";
import { ClusterClient } from "../cluster/node/cluster-client.ts";
import { recoverTable } from "../cluster/node/recover-table.ts";
import type { Recovery } from "../cluster/node/recover-table.ts";
import { inspectAll } from "../cluster/node/shard-inspect.ts";
import type { CopyFacts } from "../cluster/node/shard-inspect.ts";
import { isMailError } from "../mail/errors.ts";
import { memberId } from "../mail/ids.ts";
import type { MemberId } from "../mail/ids.ts";
import { loadConfig } from "./config/load.ts";
import { CommandFailure, exitStatus } from "./failure.ts";
import { clusterOptions } from "./members/cluster-options.ts";
import { makeLog } from "./members/member-base.ts";

const reachMs = 30_000;
const linksMs = 5000;
const lookEveryMs = 50;

export interface RecoverOutcome extends Recovery {
  readonly nodes: readonly MemberId[];
}

/** `configFile` is that of a member that is stopped. @throws CommandFailure */
export async function recoverCluster(
  configFile: string,
  without: readonly string[],
): Promise<RecoverOutcome> {
  const config = loadConfig(configFile);
  const log = makeLog({ ...config, log: { ...config.log, level: "error" } });
  const link = config.listen.link ?? { address: "127.0.0.1", port: 0 };
  const { pulse: _, ...options } = clusterOptions(config, link, log, (error) => {
    throw error;
  });
  const cluster = new ClusterClient(options, "tool");
  const alive = setInterval(() => undefined, 1000);
  try {
    await cluster.look(AbortSignal.timeout(reachMs));
    const lost = without.map((node) => memberId(node));
    const nodes = await linkedNodes(cluster, lost);
    const copies: CopyFacts[] = [];
    const { signal } = new AbortController();
    for (const node of nodes) copies.push(...(await inspectAll(cluster.links, node, signal)));
    const nonce = randomBytes(8).toString("hex");
    const { clusterId } = options;
    const { coordinator } = cluster;
    const done = await recoverTable(coordinator, { clusterId, copies, without: lost, nonce });
    return { ...done, nodes };
  } catch (error) {
    if (!isMailError(error)) throw error;
    const { failure } = error;
    const why = failure.code === "INVALID" || failure.code === "CONFLICT" ? failure.why : undefined;
    throw new CommandFailure(why ?? error.message, exitStatus.failed, { cause: error });
  } finally {
    clearInterval(alive);
    await cluster.close();
  }
}

/** Those that are up within a while; who is missed is found out from what the others know. */
async function linkedNodes(
  cluster: ClusterClient,
  without: readonly MemberId[],
): Promise<readonly MemberId[]> {
  const untilMs = performance.now() + linksMs;
  for (;;) {
    const nodes = cluster.members
      .all()
      .flatMap(({ role, member }) => (role === "node" ? [member] : []))
      .filter((node) => !without.includes(node));
    const up = nodes.filter((node) => cluster.links.peer(node).up);
    if (performance.now() > untilMs || (nodes.length > 0 && up.length === nodes.length)) return up;
    await wait(lookEveryMs);
  }
}
