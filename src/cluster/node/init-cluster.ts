// Makes a cluster out of registered nodes: writes the shard table once. Spreads primaries evenly over
// nodes and secondaries evenly over ordered pairs, never two copies on one machine unless allowed.

import { MailError } from "../../mail/errors.ts";
import { epoch, shardId, shardMax } from "../../mail/ids.ts";
import type { MemberId, StoreId } from "../../mail/ids.ts";
import { changesMax } from "../coordinator/coordinator.ts";
import type { Coordinator, KeyCondition } from "../coordinator/coordinator.ts";
import type { Copy, ShardConfig } from "../protocol/shard-config.ts";
import {
  clusterKey,
  decodeCluster,
  decodeMember,
  encodeCluster,
  encodeMember,
  encodeShardConfig,
  memberKey,
  memberPrefix,
  shardKey,
} from "./shard-codec.ts";
import type { ClusterRecord, MemberRecord } from "./shard-codec.ts";

export interface InitNode {
  readonly node: MemberId;
  readonly store: StoreId;
  /** Copies of a shard lie in different ones: the machine's name, unless the operator says more. */
  readonly failureDomain: string;
}

export interface InitOptions {
  readonly clusterId: string;
  readonly nodes: readonly InitNode[];
  /** 16 by default; fixed from then on. */
  readonly shardsPerNode?: number;
  /** 2 by default. */
  readonly minCopies?: number;
  /** Both copies may lie in one failure domain: `pabal dev`, where all nodes share a machine. */
  readonly sameDomainAllowed?: boolean;
  /** Random text, to recognise our own writes. */
  readonly nonce: string;
}

/**
 * Writes the shard table and the cluster record.
 * @throws {MailError} CONFLICT (a cluster is there already), INVALID (too few nodes for `minCopies`).
 */
export async function initCluster(
  coordinator: Coordinator,
  options: InitOptions,
): Promise<ClusterRecord> {
  const present = await coordinator.get(clusterKey);
  if (present !== undefined) {
    throw new MailError({ code: "CONFLICT", why: "the cluster is initialised already" });
  }
  const configs = planShards(options);
  for (let at = 0; at < configs.length; at += changesMax) {
    await writeShards(coordinator, configs.slice(at, at + changesMax));
  }
  const minCopies = options.minCopies ?? 2;
  const cluster = { clusterId: options.clusterId, shards: configs.length, minCopies };
  // Last: whoever finds this key finds a whole table.
  const written = await coordinator.compareAndSet([
    { key: clusterKey, ifRevision: 0, value: encodeCluster(cluster) },
  ]);
  if (!written.ok) throw new MailError({ code: "CONFLICT", why: "two cluster inits at once" });
  return cluster;
}

/** The cluster record, or undefined before `initCluster`. */
export async function readCluster(coordinator: Coordinator): Promise<ClusterRecord | undefined> {
  const state = await coordinator.get(clusterKey);
  return state === undefined ? undefined : decodeCluster(state.value);
}

/** Nodes that have registered, as `initCluster` takes them. */
export async function registeredNodes(coordinator: Coordinator): Promise<readonly InitNode[]> {
  const { entries } = await coordinator.list(memberPrefix);
  return entries.flatMap(({ value }) => {
    const { role, member, store, failureDomain } = decodeMember(value);
    return role === "node" && store !== undefined ? [{ node: member, store, failureDomain }] : [];
  });
}

/**
 * Writes `members/<id>`, over whatever an earlier start wrote; an operator's mark stays.
 * @throws {MailError} CONFLICT, UNAVAILABLE
 */
export function writeMember(coordinator: Coordinator, record: MemberRecord): Promise<void> {
  return changeMember(coordinator, record.member, (present) => {
    if (present !== undefined && present.incarnation > record.incarnation) {
      const why = `${record.member} runs elsewhere, started later`;
      throw new MailError({ code: "CONFLICT", why });
    }
    const draining = present?.draining === true ? { draining: true } : {};
    const isSameStart = present?.incarnation === record.incarnation;
    const presence = Math.max(record.presence ?? 0, isSameStart ? (present.presence ?? 0) : 0);
    return { ...record, ...draining, ...(presence === 0 ? {} : { presence }) };
  });
}

/** Marks a node to be emptied, or takes the mark away. @throws {MailError} INVALID, CONFLICT, UNAVAILABLE */
export function setDraining(
  coordinator: Coordinator,
  node: MemberId,
  draining: boolean,
): Promise<void> {
  return changeMember(coordinator, node, (present) => {
    if (present?.role !== "node") {
      throw new MailError({ code: "INVALID", why: `there is no mail node ${node}` });
    }
    const { draining: _old, ...record } = present;
    return draining ? { ...record, draining } : record;
  });
}

async function changeMember(
  coordinator: Coordinator,
  member: MemberId,
  change: (present: MemberRecord | undefined) => MemberRecord,
): Promise<void> {
  const key = memberKey(member);
  for (let tries = 0; tries < 5; tries += 1) {
    const present = await coordinator.get(key);
    const value = encodeMember(change(present && decodeMember(present.value)));
    const ifRevision = present?.revision ?? 0;
    if ((await coordinator.compareAndSet([{ key, ifRevision, value }])).ok) return;
  }
  throw new MailError({ code: "CONFLICT", why: `${key} keeps changing` });
}

/** The first table: shard i's primary is node i mod n. @throws {MailError} INVALID */
export function planShards(options: InitOptions): readonly ShardConfig[] {
  const { nodes, shardsPerNode = 16, minCopies = 2, nonce } = options;
  const total = nodes.length * shardsPerNode;
  if (nodes.length === 0 || total > shardMax + 1 || minCopies < 1 || minCopies > 2) {
    const why = `1 to ${shardMax + 1} shards on at least one node, minCopies 1 or 2`;
    throw new MailError({ code: "INVALID", why });
  }
  const spread = new PairSpread(nodes);
  return Array.from({ length: total }, (_, shard) => {
    const primary = nodes[shard % nodes.length];
    if (primary === undefined) throw new MailError({ code: "INVALID", why: "no nodes" });
    const secondary = spread.secondaryOf(primary, options.sameDomainAllowed === true);
    if (secondary === undefined && minCopies > 1) {
      const why = `no node in another failure domain than ${primary.node}'s`;
      throw new MailError({ code: "INVALID", why });
    }
    return {
      shard: shardId(shard),
      epoch: epoch(1),
      primary: copyOf(primary),
      secondaries: secondary === undefined ? [] : [{ ...copyOf(secondary), full: true }],
      minCopies,
      nonce,
    };
  });
}

/** Chooses secondaries in another failure domain where there is one, so that ordered pairs, then nodes, have the same number. */
class PairSpread {
  readonly #nodes: readonly InitNode[];
  readonly #pairs = new Map<string, number>();
  readonly #held = new Map<MemberId, number>();

  constructor(nodes: readonly InitNode[]) {
    this.#nodes = nodes;
  }

  secondaryOf(primary: InitNode, sameDomain: boolean): InitNode | undefined {
    const [best] = this.#nodes
      .filter((node) => node.node !== primary.node)
      .filter((node) => sameDomain || node.failureDomain !== primary.failureDomain)
      .toSorted((a, b) => this.#cost(primary, a) - this.#cost(primary, b));
    if (best === undefined) return undefined;
    const pair = `${primary.node} ${best.node}`;
    this.#pairs.set(pair, (this.#pairs.get(pair) ?? 0) + 1);
    this.#held.set(best.node, (this.#held.get(best.node) ?? 0) + 1);
    return best;
  }

  #cost(primary: InitNode, node: InitNode): number {
    const pairs = this.#pairs.get(`${primary.node} ${node.node}`) ?? 0;
    const shared = node.failureDomain === primary.failureDomain ? 1 : 0;
    return (shared * (shardMax + 1) + pairs) * (shardMax + 1) + (this.#held.get(node.node) ?? 0);
  }
}

function copyOf({ node, store }: InitNode): Copy {
  return { node, store };
}

/** Writes shards that are not there; what an interrupted init wrote before stays. */
async function writeShards(
  coordinator: Coordinator,
  configs: readonly ShardConfig[],
): Promise<void> {
  const changes: KeyCondition[] = [];
  for (const config of configs) {
    const key = shardKey(config.shard);
    if ((await coordinator.get(key)) !== undefined) continue;
    changes.push({ key, ifRevision: 0, value: encodeShardConfig(config) });
  }
  if (changes.length === 0) return;
  const { ok } = await coordinator.compareAndSet(changes);
  if (!ok) throw new MailError({ code: "CONFLICT", why: "two cluster inits at once" });
}
