// What managers and members say to each other over links: method names and the form of their heads.
// What is meant by it is in protocol/manager-types.ts.

import { unreachable } from "../../lib/assert.ts";
import { epoch, lsn, memberId, shardId, shardMax, storeId } from "../../mail/ids.ts";
import type { Epoch, Lsn, MemberId, ShardId } from "../../mail/ids.ts";
import { memberPattern } from "../link/hello.ts";
import type { ChainHash } from "../protocol/hash-tail.ts";
import type { Position, SealAnswer, SealedTail, ShardReport } from "../protocol/manager-types.ts";
import type { Copy, ShardConfig } from "../protocol/shard-config.ts";
import {
  asArray,
  asBoolean,
  asCount,
  asHex32,
  asListOf,
  asOptional,
  asText,
  malformed,
} from "./decode.ts";
import { decodeShardConfig, encodeShardConfig } from "./shard-codec.ts";

export const failoverMethods = {
  /** Call, manager to member. SealRequest → Linked<SealAnswer> */
  seal: "failover.seal",
  /** Call, manager to primary. ShardAt → Position or nothing */
  handOver: "failover.handOver",
  /** Call, manager to primary: where do you stand? ShardAt → Linked<Position or nothing> */
  ask: "failover.ask",
  /** Call, manager to a sealed member. GraftRequest → Position or nothing */
  graft: "failover.graft",
  /** Send, manager to everyone: committed values of the shard table. */
  table: "failover.table",
  /** Send, member to a primary whose secondary it is: I stop in a moment. */
  leaving: "failover.leaving",
  /** Send, member to every gateway: what it wishes. */
  report: "failover.report",
  /** Call, gateway to primary: answered once it serves the shard, or never will in this epoch. */
  serving: "failover.serving",
} as const;

/** What a member answers, with the nodes to which its link is up. */
export interface Linked<T> {
  readonly linked: readonly MemberId[];
  readonly answer: T;
}

/** A shard in an epoch at one copy: the same node with another data folder must not answer. */
export interface ShardAt {
  readonly shard: ShardId;
  readonly epoch: Epoch;
  readonly at: Copy;
}

export interface SealRequest extends ShardAt {
  readonly evenIfHeard: boolean;
}

export interface GraftRequest extends ShardAt {
  readonly from: Copy;
  readonly throughLsn: Lsn;
  readonly throughHash: ChainHash;
}

export interface ReportFrame {
  readonly from: Copy;
  /** Nodes to which the member's link is up. */
  readonly linked: readonly MemberId[];
  readonly reports: readonly ShardReport[];
  /** The member asks to be relieved: slow disk, stalled loop, SIGTERM. */
  readonly degraded: boolean;
  /** What it was degraded by is over, or: it is about to end. Absent from members that don't tell. */
  readonly recovering: boolean;
  readonly stopping: boolean;
}

export function encodeShardAt({ shard, epoch: of, at }: ShardAt): unknown {
  return [shard, of, at.node, at.store];
}

/** @throws {MailError} INVALID */
export function decodeShardAt(head: unknown): ShardAt {
  const fields = asArray(head, "shard");
  return { shard: asShard(fields[0]), epoch: asEpoch(fields[1]), at: asCopy(fields, 2) };
}

export function encodeSealRequest(request: SealRequest): unknown {
  const { shard, epoch: of, at, evenIfHeard } = request;
  return [shard, of, at.node, at.store, evenIfHeard];
}

/** @throws {MailError} INVALID */
export function decodeSealRequest(head: unknown): SealRequest {
  const fields = asArray(head, "seal");
  return { ...decodeShardAt(fields), evenIfHeard: asBoolean(fields[4], "seal") };
}

export function encodeGraftRequest(request: GraftRequest): unknown {
  const { shard, epoch: of, at, from, throughLsn, throughHash } = request;
  return [shard, of, at.node, at.store, from.node, from.store, throughLsn, throughHash];
}

/** @throws {MailError} INVALID */
export function decodeGraftRequest(head: unknown): GraftRequest {
  const fields = asArray(head, "graft");
  return {
    ...decodeShardAt(fields),
    from: asCopy(fields, 4),
    throughLsn: asLsn(fields[6]),
    throughHash: asCount(fields[7], "hash"),
  };
}

export function encodePosition(position: Position | undefined): unknown {
  if (position === undefined) return null;
  const { lastLsn, lastHash, commitMark, markHash } = position;
  return [lastLsn, lastHash, commitMark, markHash];
}

/** @throws {MailError} INVALID */
export function decodePosition(head: unknown): Position | undefined {
  return asOptional(head, "position", (value) => asPosition(asArray(value, "position"), 0));
}

export function encodeSealAnswer(answer: SealAnswer): unknown {
  switch (answer.kind) {
    case "sealed":
      return [
        "sealed",
        answer.epoch,
        answer.full,
        encodePosition(answer),
        answer.logEpoch ?? null,
        ...(answer.tail === undefined ? [] : [encodeTail(answer.tail)]),
      ];
    case "newer":
      return ["newer", encodeShardConfig(answer.config)];
    default:
      return [answer.kind];
  }
}

/** @throws {MailError} INVALID */
export function decodeSealAnswer(head: unknown): SealAnswer {
  const fields = asArray(head, "seal answer");
  const kind = asText(fields[0], "seal answer", 20);
  if (kind === "heard" || kind === "unusable") return { kind };
  if (kind === "newer") return { kind, config: asConfig(fields[1]) };
  if (kind !== "sealed") throw malformed("seal answer");
  const full = asBoolean(fields[2], "seal answer");
  const position = asPosition(asArray(fields[3], "position"), 0);
  const logEpoch = fields[4] === undefined ? undefined : asOptional(fields[4], "epoch", asEpoch);
  const tail = fields[5] === undefined ? {} : { tail: asTail(fields[5]) };
  const at = { kind, epoch: asEpoch(fields[1]), full, ...tail, ...position } as const;
  return logEpoch === undefined ? at : { ...at, logEpoch };
}

function encodeTail(tail: SealedTail | null): unknown {
  return tail === null ? null : [tail.fromLsn, tail.anchorHash, tail.lastLsn, tail.lastHash];
}

function asTail(value: unknown): SealedTail | null {
  if (value === null) return null;
  const fields = asArray(value, "tail");
  return {
    fromLsn: asLsn(fields[0]),
    anchorHash: asCount(fields[1], "hash"),
    lastLsn: asLsn(fields[2]),
    lastHash: asCount(fields[3], "hash"),
  };
}

export function encodeLinked({ linked, answer }: Linked<unknown>): unknown {
  return [linked, answer];
}

/** @throws {MailError} INVALID */
export function decodeLinked<T>(head: unknown, decode: (answer: unknown) => T): Linked<T> {
  const fields = asArray(head, "answer");
  return { linked: asListOf(fields[0], "linked", asMember), answer: decode(fields[1]) };
}

export function encodeTable(configs: readonly ShardConfig[]): unknown {
  return configs.map(encodeShardConfig);
}

/** @throws {MailError} INVALID */
export function decodeTable(head: unknown): readonly ShardConfig[] {
  return asListOf(head, "table", asConfig);
}

export function encodeReports(frame: ReportFrame): unknown {
  const { from, linked, reports, degraded, recovering, stopping } = frame;
  const state = [recovering, stopping];
  return [from.node, from.store, degraded, reports.map(encodeReport), linked, ...state];
}

/** @throws {MailError} INVALID */
export function decodeReports(head: unknown): ReportFrame {
  const fields = asArray(head, "reports");
  return {
    from: asCopy(fields, 0),
    degraded: asBoolean(fields[2], "reports"),
    reports: asListOf(fields[3], "reports", asReport),
    linked: asListOf(fields[4], "linked", asMember),
    recovering: fields[5] === undefined ? false : asBoolean(fields[5], "reports"),
    stopping: fields[6] === undefined ? false : asBoolean(fields[6], "reports"),
  };
}

function encodeReport(report: ShardReport): unknown {
  const { kind, shard, epoch: of } = report;
  switch (kind) {
    case "removeSecondary": {
      const { secondary, commitMark, markHash, settled } = report;
      const { node, store } = secondary;
      return [kind, shard, of, node, store, commitMark, markHash, settled === true];
    }
    case "synced":
      return [kind, shard, of, report.secondary.node, report.secondary.store];
    case "sealed":
    case "handedOver":
      return [kind, shard, of, encodePosition(report)];
    case "primarySilent":
    case "unusable":
      return [kind, shard, of];
    default:
      return unreachable(report);
  }
}

function asReport(value: unknown): ShardReport {
  const fields = asArray(value, "report");
  const kind = asText(fields[0], "report", 20);
  const base = { shard: asShard(fields[1]), epoch: asEpoch(fields[2]) };
  switch (kind) {
    case "primarySilent":
    case "unusable":
      return { kind, ...base };
    case "synced":
      return { kind, ...base, secondary: asCopy(fields, 3) };
    case "sealed":
    case "handedOver":
      return { kind, ...base, ...asPosition(asArray(fields[3], "position"), 0) };
    case "removeSecondary":
      return {
        kind,
        ...base,
        secondary: asCopy(fields, 3),
        commitMark: asLsn(fields[5]),
        markHash: asCount(fields[6], "hash"),
        settled: fields[7] === true,
      };
    default:
      throw malformed("report");
  }
}

function asPosition(fields: readonly unknown[], at: number): Position {
  return {
    lastLsn: asLsn(fields[at]),
    lastHash: asCount(fields[at + 1], "hash"),
    commitMark: asLsn(fields[at + 2]),
    markHash: asCount(fields[at + 3], "hash"),
  };
}

function asConfig(value: unknown): ShardConfig {
  try {
    return decodeShardConfig(asText(value, "shard config"));
  } catch (cause) {
    throw cause instanceof TypeError ? cause : malformed("shard config");
  }
}

function asShard(value: unknown): ShardId {
  return shardId(asCount(value, "shard", shardMax));
}

function asEpoch(value: unknown): Epoch {
  return epoch(asCount(value, "epoch", 2 ** 32 - 1));
}

function asLsn(value: unknown): Lsn {
  return lsn(asCount(value, "lsn"));
}

/** A node and its data folder, in two fields from `at` on. */
function asCopy(fields: readonly unknown[], at: number): Copy {
  return { node: asMember(fields[at]), store: storeId(asHex32(fields[at + 1], "store")) };
}

function asMember(value: unknown): MemberId {
  const text = asText(value, "member", 32);
  if (!memberPattern.test(text)) throw malformed("member");
  return memberId(text);
}
