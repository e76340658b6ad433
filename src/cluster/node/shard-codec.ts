// Shard configs and members as text in the coordinator (and, for configs, in the segment log): JSON,
// because operators read it there. Unknown fields are ignored, missing or wrong ones refused.

import {
  asArray,
  asBoolean,
  asNumber,
  asOptional,
  asRecord,
  asString,
  DecodeError,
} from "../../lib/decode.ts";
import { epoch, lsn, memberId, shardId, shardMax, storeId } from "../../mail/ids.ts";
import type { MemberId, ShardId, StoreId } from "../../mail/ids.ts";
import type { Copy, SecondaryCopy, ShardConfig } from "../protocol/shard-config.ts";

export const shardPrefix = "shards/";
export const memberPrefix = "members/";
export const clusterKey = "cluster";

export function shardKey(shard: ShardId): string {
  return `${shardPrefix}${shard}`;
}

export function memberKey(member: MemberId): string {
  return `${memberPrefix}${member}`;
}

/** A member as the coordinator keeps it under `members/<id>`: written at each start of it. */
export interface MemberRecord {
  readonly member: MemberId;
  readonly role: "gateway" | "node" | "coordinator" | "tool";
  /** Where its link listener is reached. */
  readonly host: string;
  readonly port: number;
  readonly failureDomain: string;
  readonly incarnation: number;
  /** The registration that it is present by, when that of its start was lost: see `isPresent`. */
  readonly presence?: number;
  /** Of a node: its data folder. */
  readonly store?: StoreId;
  /** The newest version of the wire format that it speaks; absent: 1. */
  readonly wire?: number;
  /** UDP port of its pulse, on the same host. */
  readonly pulse?: number;
  /** Of a node: an operator wants it empty. Outlives restarts. */
  readonly draining?: boolean;
}

/** What `initCluster` wrote once. */
export interface ClusterRecord {
  readonly clusterId: string;
  readonly shards: number;
  readonly minCopies: number;
}

export function encodeShardConfig(config: ShardConfig): string {
  return JSON.stringify(config);
}

/** @throws {DecodeError} */
export function decodeShardConfig(text: string): ShardConfig {
  const value = parse(text, "shard config");
  const shard = asNumber(value["shard"], "shard");
  if (shard > shardMax) throw new DecodeError("shard should be 0..4095");
  const former = asOptional(value["former"], "former", asArray);
  const forced = asOptional(value["forced"], "forced", asBoolean);
  const endedEpoch = asOptional(value["endedEpoch"], "endedEpoch", asNumber);
  return {
    shard: shardId(shard),
    epoch: epoch(asNumber(value["epoch"], "epoch")),
    primary: decodeCopy(value["primary"]),
    secondaries: asArray(value["secondaries"], "secondaries").map(decodeSecondary),
    minCopies: asNumber(value["minCopies"], "minCopies"),
    nonce: asString(value["nonce"], "nonce"),
    ...(former === undefined ? {} : { former: former.map(decodeCopy) }),
    ...(endedEpoch === undefined ? {} : { endedEpoch: epoch(endedEpoch) }),
    ...(forced === true ? { forced } : {}),
  };
}

export function encodeMember(member: MemberRecord): string {
  return JSON.stringify(member);
}

/** @throws {DecodeError} */
export function decodeMember(text: string): MemberRecord {
  const value = parse(text, "member");
  const role = asString(value["role"], "role");
  if (role !== "gateway" && role !== "node" && role !== "coordinator" && role !== "tool") {
    throw new DecodeError("role should be gateway, node, coordinator or tool");
  }
  const store = asOptional(value["store"], "store", asString);
  const pulse = asOptional(value["pulse"], "pulse", asNumber);
  const draining = asOptional(value["draining"], "draining", asBoolean);
  const wire = asOptional(value["wire"], "wire", asNumber);
  const presence = asOptional(value["presence"], "presence", asNumber);
  return {
    member: decodeMemberId(value["member"]),
    role,
    host: asString(value["host"], "host"),
    port: asNumber(value["port"], "port"),
    failureDomain: asString(value["failureDomain"], "failureDomain"),
    incarnation: asNumber(value["incarnation"], "incarnation"),
    ...(presence === undefined ? {} : { presence }),
    ...(store === undefined ? {} : { store: storeId(store) }),
    ...(wire === undefined ? {} : { wire }),
    ...(pulse === undefined ? {} : { pulse }),
    ...(draining === true ? { draining } : {}),
  };
}

export function encodeCluster(cluster: ClusterRecord): string {
  return JSON.stringify(cluster);
}

/** @throws {DecodeError} */
export function decodeCluster(text: string): ClusterRecord {
  const value = parse(text, "cluster");
  return {
    clusterId: asString(value["clusterId"], "clusterId"),
    shards: asNumber(value["shards"], "shards"),
    minCopies: asNumber(value["minCopies"], "minCopies"),
  };
}

function decodeCopy(value: unknown): Copy {
  const copy = asRecord(value, "copy");
  return { node: decodeMemberId(copy["node"]), store: storeId(asString(copy["store"], "store")) };
}

function decodeSecondary(value: unknown): SecondaryCopy {
  const copy = asRecord(value, "secondary");
  const fromLsn = asOptional(copy["fromLsn"], "fromLsn", asNumber);
  const anchorHash = asOptional(copy["anchorHash"], "anchorHash", asNumber);
  const full = asBoolean(copy["full"], "full");
  const late = asOptional(copy["late"], "late", asBoolean);
  if (!full && (fromLsn === undefined || fromLsn < 1)) {
    throw new DecodeError("a copy that is not full should have a fromLsn");
  }
  return {
    ...decodeCopy(value),
    full,
    ...(fromLsn === undefined ? {} : { fromLsn: lsn(fromLsn) }),
    ...(anchorHash === undefined ? {} : { anchorHash }),
    ...(late === true ? { late } : {}),
  };
}

function decodeMemberId(value: unknown): MemberId {
  const text = asString(value, "member");
  if (!/^[a-z][a-z0-9-]{0,31}$/.test(text)) throw new DecodeError("member should be a member id");
  return memberId(text);
}

function parse(text: string, what: string): Readonly<Record<string, unknown>> {
  try {
    return asRecord(JSON.parse(text), what);
  } catch (cause) {
    if (cause instanceof DecodeError) throw cause;
    throw new DecodeError(`${what} should be JSON`, { cause });
  }
}
