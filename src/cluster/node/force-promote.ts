// An operator makes a copy of a shard primary although acknowledged changes may be missing from it: the
// node that had them is lost for good. What is missing is shown first; nothing of it happens by itself.

import { MailError, isMailError } from "../../mail/errors.ts";
import type { Lsn, MemberId, ShardId } from "../../mail/ids.ts";
import { presenceKey } from "../coordinator/coordinator.ts";
import { forcePromote } from "../protocol/manager-plan.ts";
import { sameCopy } from "../protocol/shard-config.ts";
import type { ShardConfig } from "../protocol/shard-config.ts";
import { bannedKey, encodeBanned } from "./banned-stores.ts";
import type { ClusterClient } from "./cluster-client.ts";
import { encodeTable, failoverMethods } from "./failover-wire.ts";
import { decodeShardConfig, encodeShardConfig, shardKey } from "./shard-codec.ts";
import { inspectCopy } from "./shard-inspect.ts";
import type { CopyFacts } from "./shard-inspect.ts";

/** What is given up by promoting this copy. */
export interface ForceFacts {
  readonly shard: ShardId;
  readonly node: MemberId;
  /** The primary that is lost. */
  readonly lost: MemberId;
  readonly lastLsn: Lsn;
  /** Changes that others are known to have had, and this copy has not; there may be more. */
  readonly lacking: number;
  /** Unix milliseconds of its newest change, where known. */
  readonly newestMs: number | undefined;
}

/**
 * What `node`'s copy has. @throws {MailError} INVALID: no such shard, no copy there that can be used, or the
 * lost primary is registered; UNAVAILABLE
 */
export async function inspectForced(
  cluster: ClusterClient,
  shard: ShardId,
  node: MemberId,
  signal: AbortSignal,
): Promise<ForceFacts> {
  return (await look(cluster, shard, node, signal)).facts;
}

/**
 * Promotes it: one compare-and-set that also bans the lost primary's data folder.
 * @throws {MailError} as `inspectForced`, CONFLICT: the table has changed meanwhile
 */
export async function promoteByForce(
  cluster: ClusterClient,
  shard: ShardId,
  node: MemberId,
  signal: AbortSignal,
): Promise<ForceFacts> {
  const { coordinator, links, shards, options } = cluster;
  const { facts, chosen, config, revision } = await look(cluster, shard, node, signal);
  const plan = forcePromote(config, chosen.copy);
  const next: ShardConfig = { ...plan, nonce: options.random.hex(8) };
  const changes = [{ key: shardKey(shard), ifRevision: revision, value: encodeShardConfig(next) }];
  const lostStore = config.primary.store;
  const key = bannedKey(lostStore);
  if ((await coordinator.get(key)) === undefined) {
    const atMs = options.clock.nowMs();
    const value = encodeBanned({ node: config.primary.node, shard, atMs });
    changes.push({ key, ifRevision: 0, value });
  }
  const written = await coordinator.compareAndSet(changes);
  if (!written.ok) {
    throw new MailError({ code: "CONFLICT", why: `shard ${shard} has just changed: look again` });
  }
  options.logger.warn({ ...facts, epoch: next.epoch }, "a copy was promoted by force");
  shards.learn(next, written.revision);
  links.peer(node).send(failoverMethods.table, encodeTable([next]));
  return facts;
}

interface Looked {
  readonly facts: ForceFacts;
  readonly chosen: CopyFacts;
  readonly config: ShardConfig;
  readonly revision: number;
}

async function look(
  cluster: ClusterClient,
  shard: ShardId,
  node: MemberId,
  signal: AbortSignal,
): Promise<Looked> {
  const { coordinator, members } = cluster;
  await coordinator.readBarrier();
  const state = await coordinator.get(shardKey(shard));
  if (state === undefined) throw refused(`there is no shard ${shard}`);
  const config = decodeShardConfig(state.value);
  const { primary } = config;
  const present = await coordinator.get(presenceKey(primary.node));
  // With another data folder it has nothing to serve.
  const isWiped = (members.get(primary.node)?.store ?? primary.store) !== primary.store;
  if (present !== undefined && !isWiped) {
    throw refused(
      `${primary.node}, the primary of shard ${shard}, is registered: it may serve still. Stop it, and wait some seconds`,
    );
  }
  const chosen = await inspectCopy(cluster.links, node, shard, signal);
  if (chosen === undefined) throw refused(`${node} has no copy of shard ${shard}`);
  if (!chosen.usable || sameCopy(chosen.copy, primary)) {
    throw refused(`the copy of shard ${shard} at ${node} can't be promoted: it is not whole`);
  }
  const facts = {
    shard,
    node,
    lost: primary.node,
    lastLsn: chosen.lastLsn,
    lacking: Math.max(0, (await highestKnown(cluster, config, chosen, signal)) - chosen.lastLsn),
    newestMs: chosen.newestMs,
  };
  return { facts, chosen, config, revision: state.revision };
}

/** How far the shard's log is known to go: by what others have of it, and by where tails begin. */
async function highestKnown(
  { links, members }: ClusterClient,
  config: ShardConfig,
  chosen: CopyFacts,
  signal: AbortSignal,
): Promise<number> {
  let highest = Math.max(chosen.lastLsn, chosen.tailLsn ?? 0);
  for (const { fromLsn } of config.secondaries) highest = Math.max(highest, (fromLsn ?? 1) - 1);
  for (const { member, role } of members.all()) {
    if (role !== "node" || member === chosen.copy.node || !links.peer(member).up) continue;
    try {
      const other = await inspectCopy(links, member, config.shard, signal);
      highest = Math.max(highest, other?.lastLsn ?? 0, other?.tailLsn ?? 0);
    } catch (error) {
      // One that does not answer adds nothing.
      if (!isMailError(error)) throw error;
    }
  }
  return highest;
}

function refused(why: string): MailError {
  return new MailError({ code: "INVALID", why });
}
