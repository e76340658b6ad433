// The shard table made anew from what the nodes hold on their disks, after the coordinator's data were
// lost, or an older state of them was put back. The way to the nodes is the caller's.

import { MailError } from "../../mail/errors.ts";
import { epoch, shardId } from "../../mail/ids.ts";
import type { MemberId, ShardId } from "../../mail/ids.ts";
import { changesMax } from "../coordinator/coordinator.ts";
import type { Coordinator, KeyCondition } from "../coordinator/coordinator.ts";
import type { ShardConfig } from "../protocol/shard-config.ts";
import {
  clusterKey,
  decodeCluster,
  decodeShardConfig,
  encodeCluster,
  encodeShardConfig,
  shardKey,
  shardPrefix,
} from "./shard-codec.ts";
import type { ClusterRecord } from "./shard-codec.ts";
import type { CopyFacts } from "./shard-inspect.ts";

/** Above whatever the lost table may have said since. */
const epochsAhead = 1000;

export interface Recovery {
  readonly cluster: ClusterRecord;
  /** What is written; shards whose present value is newer than all that nodes hold are left alone. */
  readonly changed: readonly ShardConfig[];
  readonly kept: number;
}

export interface RecoveryInput {
  readonly clusterId: string;
  /** Of all nodes that answer. */
  readonly copies: readonly CopyFacts[];
  /** The table as it is, which may be empty. */
  readonly table: ReadonlyMap<ShardId, ShardConfig>;
  readonly cluster: ClusterRecord | undefined;
  /** Nodes that are known to be lost, whose word is done without. */
  readonly without: readonly MemberId[];
  readonly nonce: string;
}

/**
 * What to write. The newest configuration on any disk is the one that was acted on last, if all that it
 * names are heard: who took over from it was one of them, and had the next one on its disk first.
 * @throws {MailError} INVALID: nodes that must be asked don't answer, or shards are missing
 */
export function planRecovery(input: RecoveryInput): Recovery {
  const { copies, table, clusterId, without, nonce } = input;
  const newest = new Map<ShardId, ShardConfig>();
  const heard = new Set<string>();
  for (const { copy, shard, config } of copies) {
    heard.add(copyName(copy.node, copy.store));
    if (config === undefined) continue;
    if (config.epoch > (newest.get(shard)?.epoch ?? 0)) newest.set(shard, config);
  }
  const missing = new Set<MemberId>();
  for (const { primary, secondaries, former = [] } of newest.values()) {
    for (const { node, store } of [primary, ...secondaries, ...former]) {
      if (!heard.has(copyName(node, store)) && !without.includes(node)) missing.add(node);
    }
  }
  if (missing.size > 0) {
    const names = [...missing].toSorted().join(", ");
    const why = `${names} must be asked, as they may know of a newer table: start them, or say --without for those that are lost for good`;
    throw new MailError({ code: "INVALID", why });
  }
  const all = new Set([...newest.keys(), ...table.keys()]);
  const [some] = [...newest.values(), ...table.values()];
  if (some === undefined) throw new MailError({ code: "INVALID", why: "no node has any shard" });
  const shards = input.cluster?.shards ?? Math.max(...all) + 1;
  const absent = Array.from({ length: shards }, (_, at) => shardId(at)).filter((s) => !all.has(s));
  if (absent.length > 0) {
    const why = `of ${shards} shards nobody knows of ${absent.slice(0, 20).join(", ")}`;
    throw new MailError({ code: "INVALID", why });
  }
  const changed: ShardConfig[] = [];
  for (const [shard, config] of newest) {
    if ((table.get(shard)?.epoch ?? 0) >= config.epoch) continue;
    const { endedEpoch: _ended, ...rest } = config;
    changed.push({ ...rest, epoch: epoch(config.epoch + epochsAhead), nonce });
  }
  const cluster = input.cluster ?? { clusterId, shards, minCopies: some.minCopies };
  return { cluster, changed, kept: shards - changed.length };
}

/** Reads the table, plans and writes. @throws {MailError} INVALID, CONFLICT (it changes), UNAVAILABLE */
export async function recoverTable(
  coordinator: Coordinator,
  options: Omit<RecoveryInput, "table" | "cluster">,
): Promise<Recovery> {
  await coordinator.readBarrier();
  const { entries } = await coordinator.list(shardPrefix);
  const revisions = new Map(entries.map(({ key, revision }) => [key, revision]));
  const configs = entries.map(({ value }) => decodeShardConfig(value));
  const table = new Map(configs.map((config) => [config.shard, config]));
  const record = await coordinator.get(clusterKey);
  const present = record === undefined ? undefined : decodeCluster(record.value);
  const recovery = planRecovery({ ...options, table, cluster: present });
  const changes: KeyCondition[] = recovery.changed.map((config) => {
    const key = shardKey(config.shard);
    return { key, ifRevision: revisions.get(key) ?? 0, value: encodeShardConfig(config) };
  });
  // Last: whoever finds this key finds a whole table.
  if (present === undefined) {
    changes.push({ key: clusterKey, ifRevision: 0, value: encodeCluster(recovery.cluster) });
  }
  for (let at = 0; at < changes.length; at += changesMax) {
    const { ok } = await coordinator.compareAndSet(changes.slice(at, at + changesMax));
    if (!ok) throw new MailError({ code: "CONFLICT", why: "the table changes: try again" });
  }
  return recovery;
}

function copyName(node: string, store: string): string {
  return `${node} ${store}`;
}
