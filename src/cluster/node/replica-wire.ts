// Replica messages as frames between two nodes: all that one node has for another at the end of a
// tick goes into one frame, heads as arrays of numbers, records as they lie in the log. Frames have
// no reply. Leaves checking of records to the log.

import { epoch, lsn, shardId, shardMax } from "../../mail/ids.ts";
import type { Epoch, Lsn, ShardId } from "../../mail/ids.ts";
import { unreachable } from "../../lib/assert.ts";
import type { ChainHash } from "../protocol/hash-tail.ts";
import type { MessageBase, ReplicaMessage } from "../protocol/replica-types.ts";
import { asArray, asCount, asListOf, asText, malformed } from "./decode.ts";

/** Method of the one-way frames. */
export const replicaMethod = "replica";

/** Records of one frame; with head and one record of the longest kind it stays below the link's limit. */
export const shipBytesMax = 900_000;

/** An `append` before its records are decoded. */
export interface WireAppend extends MessageBase {
  readonly kind: "append";
  readonly prevLsn: Lsn;
  readonly prevHash: ChainHash;
  readonly mark: Lsn;
  readonly records: readonly Uint8Array[];
}

/** A `pulled` before its records are decoded. */
export interface WirePulled extends Omit<WireAppend, "kind" | "mark"> {
  readonly kind: "pulled";
}

/** Messages that carry no records. */
export type PlainMessage = Exclude<ReplicaMessage<never>, { kind: "append" | "pulled" }>;
export type WireMessage = PlainMessage | WireAppend | WirePulled;

export interface Addressed {
  readonly shard: ShardId;
  readonly message: WireMessage;
}

const code = {
  probe: 1,
  status: 2,
  append: 3,
  ack: 4,
  needBlob: 5,
  refused: 6,
  copyNeeded: 7,
  pull: 8,
  pulled: 9,
} as const;
/** Added to the code of a message about a tail-first log. */
const tailBit = 32;
const reasons = ["probe", "gap", "conflict", "damaged"] as const;

/** The head of one message; the record bytes of an append follow in the frame's body, in order. */
export function encodeMessage(shard: ShardId, message: PlainMessage): readonly unknown[] {
  const head = headOf(code[message.kind], shard, message);
  switch (message.kind) {
    case "probe":
    case "refused":
    case "copyNeeded":
      return head;
    case "pull":
      return [...head, message.lsn];
    case "status":
      return [...head, reasons.indexOf(message.reason), message.lsn, message.hash];
    case "ack":
      return [...head, message.lsn, message.hash, message.mark];
    case "needBlob":
      return [...head, message.lsn, message.blobs];
    default:
      return unreachable(message);
  }
}

/** As `encodeMessage`, for entries whose records are `lengths` bytes long. */
export function encodeAppend(
  kind: "append" | "pulled",
  shard: ShardId,
  base: MessageBase,
  at: { readonly prevLsn: Lsn; readonly prevHash: ChainHash; readonly mark: Lsn },
  lengths: readonly number[],
): readonly unknown[] {
  return [...headOf(code[kind], shard, base), at.prevLsn, at.prevHash, at.mark, lengths];
}

function headOf(kind: number, shard: ShardId, base: MessageBase): readonly number[] {
  const { epoch: of, fromInc, toInc, tail } = base;
  return [tail ? kind + tailBit : kind, shard, of, fromInc, toInc];
}

/** @throws {MailError} INVALID when the frame has not the form above. */
export function decodeFrame(head: unknown, body: Uint8Array | undefined): readonly Addressed[] {
  const reader = { body: body ?? noBytes, at: 0 };
  const messages = asArray(head, "replica frame").map((item) => decodeMessage(item, reader));
  if (reader.at !== reader.body.byteLength) throw malformed("replica frame");
  return messages;
}

const noBytes = new Uint8Array(0);

function decodeMessage(item: unknown, reader: { readonly body: Uint8Array; at: number }) {
  const fields = asArray(item, "replica message");
  const shard = shardId(asCount(fields[1], "shard", shardMax));
  return { shard, message: decodeFields(fields, reader) };
}

function decodeFields(
  fields: readonly unknown[],
  reader: { readonly body: Uint8Array; at: number },
): WireMessage {
  const kind = asCount(fields[0], "replica message");
  const base = {
    epoch: asEpoch(fields[2]),
    fromInc: asCount(fields[3], "incarnation"),
    toInc: asCount(fields[4], "incarnation"),
    tail: kind >= tailBit,
  };
  switch (kind % tailBit) {
    case code.probe:
      return { kind: "probe", ...base };
    case code.refused:
      return { kind: "refused", ...base };
    case code.copyNeeded:
      return { kind: "copyNeeded", ...base };
    case code.pull:
      return { kind: "pull", ...base, lsn: asLsn(fields[5]) };
    case code.pulled: {
      const prev = { prevLsn: asLsn(fields[5]), prevHash: asHash(fields[6]) };
      const records = asArray(fields[8], "records").map((length) => take(reader, length));
      return { kind: "pulled", ...base, ...prev, records };
    }
    case code.status: {
      const reason = reasons[asCount(fields[5], "reason")];
      if (reason === undefined) throw malformed("reason");
      return { kind: "status", ...base, reason, lsn: asLsn(fields[6]), hash: asHash(fields[7]) };
    }
    case code.append: {
      const prev = { prevLsn: asLsn(fields[5]), prevHash: asHash(fields[6]) };
      const records = asArray(fields[8], "records").map((length) => take(reader, length));
      return { kind: "append", ...base, ...prev, mark: asLsn(fields[7]), records };
    }
    case code.ack: {
      const at = { lsn: asLsn(fields[5]), hash: asHash(fields[6]) };
      return { kind: "ack", ...base, ...at, mark: asLsn(fields[7]) };
    }
    case code.needBlob: {
      const blobs = asListOf(fields[6], "blobs", (value) => asText(value, "blob", 128));
      return { kind: "needBlob", ...base, lsn: asLsn(fields[5]), blobs };
    }
    default:
      throw malformed("replica message");
  }
}

function take(reader: { readonly body: Uint8Array; at: number }, length: unknown): Uint8Array {
  const end = reader.at + asCount(length, "record length");
  if (end > reader.body.byteLength) throw malformed("record length");
  const record = reader.body.subarray(reader.at, end);
  reader.at = end;
  return record;
}

function asEpoch(value: unknown): Epoch {
  return epoch(asCount(value, "epoch"));
}

function asLsn(value: unknown): Lsn {
  return lsn(asCount(value, "lsn"));
}

function asHash(value: unknown): ChainHash {
  return asCount(value, "hash");
}
