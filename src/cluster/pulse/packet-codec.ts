// Bodies of datagrams: heartbeats and the ring's messages. Widths of the token's parts are known to
// protocol/ring-figures.ts, which fills a token up to what fits. Header and tag are packet-seal.ts's.

import { unreachable } from "../../lib/assert.ts";
import { DecodeError } from "../../lib/decode.ts";
import { epoch, shardId, shardMax } from "../../mail/ids.ts";
import type { MemberId, ShardId } from "../../mail/ids.ts";
import { pairsMax } from "../protocol/heartbeat-types.ts";
import type { HeartbeatMessage, Vitals } from "../protocol/heartbeat-types.ts";
import { unreachableMax } from "../protocol/ring-figures.ts";
import { loadsPerTokenMax, ringMembersMax } from "../protocol/ring-types.ts";
import type {
  CarriedLoad,
  ReachReport,
  RingId,
  RingLoad,
  RingMessage,
} from "../protocol/ring-types.ts";
import type { PacketReader, PacketWriter } from "./packet-bytes.ts";

export type PulseMessage = HeartbeatMessage | RingMessage;

/** The type byte of the header is the place in this list, from 1. */
const kinds = [
  "beat",
  "beatAck",
  "token",
  "hopAck",
  "pinned",
  "join",
  "form",
  "merge",
  "reach",
] as const satisfies readonly PulseMessage["kind"][];

export function typeOf(message: PulseMessage): number {
  return kinds.indexOf(message.kind) + 1;
}

export function writeBody(out: PacketWriter, message: PulseMessage): void {
  switch (message.kind) {
    case "beat":
      writeBeatHead(out, message.seq, message.vitals, message.pairs.length);
      for (const { shard, epoch: number } of message.pairs) {
        out.u16(shard);
        out.u32(number);
      }
      return;
    case "beatAck":
      writeBeatHead(out, message.seq, message.vitals, message.refused.length);
      for (const shard of message.refused) out.u16(shard);
      return;
    case "token":
      return writeToken(out, message);
    case "hopAck":
    case "pinned":
      writeRing(out, message.ring);
      out.u48(message.seq);
      return;
    case "join":
      writeRing(out, message.ring);
      return out.u8(message.hearsYou ? 1 : 0);
    case "form":
      writeRing(out, message.ring);
      return writeNames(out, message.order);
    case "merge":
      writeRing(out, message.ring);
      writeNames(out, message.order);
      return out.u8(message.hearsYou ? 1 : 0);
    case "reach":
      return writeReach(out, message.report);
    default:
      return unreachable(message);
  }
}

/** @throws {DecodeError} */
export function readBody(type: number, from: PacketReader): PulseMessage {
  const message = readMessage(type, from);
  from.end();
  return message;
}

function readMessage(type: number, from: PacketReader): PulseMessage {
  const kind = kinds[type - 1];
  switch (kind) {
    case "beat": {
      const { count, ...head } = readBeatHead(from);
      const pair = () => ({ shard: readShard(from), epoch: epoch(from.u32()) });
      return { kind, ...head, pairs: from.list(count, pairsMax, pair) };
    }
    case "beatAck": {
      const { count, ...head } = readBeatHead(from);
      return { kind, ...head, refused: from.list(count, pairsMax, () => readShard(from)) };
    }
    case "token":
      return readToken(from);
    case "hopAck":
    case "pinned":
      return { kind, ring: readRing(from), seq: from.u48() };
    case "join":
      return { kind, ring: readRing(from), hearsYou: from.u8() === 1 };
    case "form":
      return { kind, ring: readRing(from), order: readNames(from) };
    case "merge":
      return { kind, ring: readRing(from), order: readNames(from), hearsYou: from.u8() === 1 };
    case "reach":
      return { kind, report: readReach(from) };
    case undefined:
      throw new DecodeError("a packet should have a known type");
    default:
      return unreachable(kind);
  }
}

function writeBeatHead(out: PacketWriter, seq: number, vitals: Vitals, count: number): void {
  out.u48(seq);
  out.u16(vitals.loopLagMs);
  out.u16(vitals.fsyncP99Ms);
  out.u16(vitals.diskFreePerMille);
  out.u16(vitals.damaged);
  out.u16(count);
}

function readBeatHead(from: PacketReader): { seq: number; vitals: Vitals; count: number } {
  const seq = from.u48();
  const loopLagMs = from.u16();
  const fsyncP99Ms = from.u16();
  const diskFreePerMille = from.u16();
  const damaged = from.u16();
  const vitals = { loopLagMs, fsyncP99Ms, diskFreePerMille, damaged };
  return { seq, vitals, count: from.u16() };
}

function readShard(from: PacketReader): ShardId {
  const shard = from.u16();
  if (shard > shardMax) throw new DecodeError(`a shard should be 0..${shardMax}`);
  return shardId(shard);
}

function writeToken(out: PacketWriter, token: Extract<RingMessage, { kind: "token" }>): void {
  writeRing(out, token.ring);
  out.u48(token.seq);
  writeNames(out, token.order);
  out.u48(token.tableRevision);
  out.u8(token.reach.length);
  for (const report of token.reach) writeReach(out, report);
  out.u8(token.loads.length);
  for (const { load, ageMs } of token.loads) writeLoad(out, load, ageMs);
}

function readToken(from: PacketReader): RingMessage {
  const ring = readRing(from);
  const seq = from.u48();
  const order = readNames(from);
  const tableRevision = from.u48();
  const reach = from.list(from.u8(), ringMembersMax, () => readReach(from));
  const loads = from.list(from.u8(), loadsPerTokenMax, () => readLoad(from));
  return { kind: "token", ring, seq, order, tableRevision, reach, loads };
}

function writeReach(
  out: PacketWriter,
  { gateway, boot, seq, unreachable: nodes }: ReachReport,
): void {
  out.name(gateway);
  out.u48(boot);
  out.u48(seq);
  writeNames(out, nodes);
}

function readReach(from: PacketReader): ReachReport {
  const gateway = from.name();
  const boot = from.u48();
  const seq = from.u48();
  return { gateway, boot, seq, unreachable: readNames(from, unreachableMax) };
}

function writeLoad(out: PacketWriter, load: RingLoad, ageMs: number): void {
  out.name(load.member);
  out.u48(load.boot);
  out.u48(load.seq);
  out.u16(load.cpuPerMille);
  out.u48(load.queueBytes);
  out.u32(load.fsyncP99Micros);
  out.u16(load.diskFreePerMille);
  out.u32(load.users);
  out.u32(load.sessions);
  out.u32(load.ioPerSecond);
  out.u32(ageMs);
}

function readLoad(from: PacketReader): CarriedLoad {
  const load: RingLoad = {
    member: from.name(),
    boot: from.u48(),
    seq: from.u48(),
    cpuPerMille: from.u16(),
    queueBytes: from.u48(),
    fsyncP99Micros: from.u32(),
    diskFreePerMille: from.u16(),
    users: from.u32(),
    sessions: from.u32(),
    ioPerSecond: from.u32(),
  };
  return { load, ageMs: from.u32() };
}

function writeRing(out: PacketWriter, ring: RingId): void {
  out.u32(ring.term);
  out.name(ring.maker);
}

function readRing(from: PacketReader): RingId {
  return { term: from.u32(), maker: from.name() };
}

function writeNames(out: PacketWriter, names: readonly MemberId[]): void {
  out.u8(names.length);
  for (const name of names) out.name(name);
}

function readNames(from: PacketReader, most = ringMembersMax): readonly MemberId[] {
  return from.list(from.u8(), most, () => from.name());
}
