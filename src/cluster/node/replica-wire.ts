// Replica messages as frames between two nodes: all that one node has for another at the end of a
// tick goes into one frame, heads as packed numbers, records as they lie in the log. Frames have no
// reply. With a hundred shards between two nodes there is about one message per entry and one per
// acknowledgement, so a message makes nothing but itself. Leaves checking of records to the log.

import { epoch as makeEpoch, lsn as makeLsn, shardId, shardMax } from "../../mail/ids.ts";
import type { Lsn, ShardId } from "../../mail/ids.ts";
import { unreachable } from "../../lib/assert.ts";
import type { ChainHash } from "../protocol/hash-tail.ts";
import type { MessageBase, ReplicaMessage } from "../protocol/replica-types.ts";
import type { ByteWriter } from "../../store/byte-writer.ts";
import { asBytes, malformed } from "./decode.ts";
import { WireReader } from "./wire-reader.ts";

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

/** Writes the head of one message; the record bytes of an append follow in the frame's body, in order. */
export function encodeMessage(out: ByteWriter, shard: ShardId, message: PlainMessage): void {
  writeBase(out, code[message.kind], shard, message);
  switch (message.kind) {
    case "probe":
    case "refused":
    case "copyNeeded":
      return;
    case "pull":
      out.varint(message.lsn);
      return;
    case "status":
      out.varint(reasons.indexOf(message.reason));
      out.varint(message.lsn);
      out.varint(message.hash);
      return;
    case "ack":
      out.varint(message.lsn);
      out.varint(message.hash);
      out.varint(message.mark);
      return;
    case "needBlob":
      out.varint(message.lsn);
      out.varint(message.blobs.length);
      for (const blob of message.blobs) out.text(blob);
      return;
    default:
      unreachable(message);
  }
}

/** As `encodeMessage`, for entries whose records are `lengths` bytes long. */
export function encodeAppend(
  out: ByteWriter,
  kind: "append" | "pulled",
  shard: ShardId,
  base: MessageBase,
  at: { readonly prevLsn: Lsn; readonly prevHash: ChainHash; readonly mark: Lsn },
  lengths: readonly number[],
): void {
  writeBase(out, code[kind], shard, base);
  out.varint(at.prevLsn);
  out.varint(at.prevHash);
  out.varint(at.mark);
  out.varints(lengths);
}

function writeBase(out: ByteWriter, kind: number, shard: ShardId, base: MessageBase): void {
  out.varint(base.tail ? kind + tailBit : kind);
  out.varint(shard);
  out.varint(base.epoch);
  out.varint(base.fromInc);
  out.varint(base.toInc);
}

/** @throws {MailError} INVALID when the frame has not the form above. */
export function decodeFrame(head: unknown, body: Uint8Array | undefined): readonly Addressed[] {
  const reader = new WireReader(asBytes(head, "replica frame"));
  const records = { body: body ?? noBytes, at: 0 };
  const messages: Addressed[] = [];
  while (reader.left > 0) {
    const kind = reader.varint();
    const shard = reader.varint();
    if (shard > shardMax) throw malformed("shard");
    messages.push({ shard: shardId(shard), message: readMessage(kind, reader, records) });
  }
  if (records.at !== records.body.byteLength) throw malformed("replica frame");
  return messages;
}

const noBytes = new Uint8Array(0);

/** What is left of a frame's body. */
interface Records {
  readonly body: Uint8Array;
  at: number;
}

function readMessage(codeAndTail: number, reader: WireReader, records: Records): WireMessage {
  const tail = codeAndTail >= tailBit;
  const epoch = makeEpoch(reader.varint());
  const fromInc = reader.varint();
  const toInc = reader.varint();
  switch (codeAndTail % tailBit) {
    case code.probe:
      return { kind: "probe", epoch, fromInc, toInc, tail };
    case code.refused:
      return { kind: "refused", epoch, fromInc, toInc, tail };
    case code.copyNeeded:
      return { kind: "copyNeeded", epoch, fromInc, toInc, tail };
    case code.pull:
      return { kind: "pull", epoch, fromInc, toInc, tail, lsn: readLsn(reader) };
    case code.append:
    case code.pulled: {
      const prevLsn = readLsn(reader);
      const prevHash = reader.varint();
      const mark = readLsn(reader);
      const at = { epoch, fromInc, toInc, tail, prevLsn, prevHash };
      const taken = takeAll(reader, records);
      return codeAndTail % tailBit === code.pulled
        ? { kind: "pulled", ...at, records: taken }
        : { kind: "append", epoch, fromInc, toInc, tail, prevLsn, prevHash, mark, records: taken };
    }
    case code.status: {
      const reason = reasons[reader.varint()];
      if (reason === undefined) throw malformed("reason");
      const [lsn, hash] = [readLsn(reader), reader.varint()];
      return { kind: "status", epoch, fromInc, toInc, tail, reason, lsn, hash };
    }
    case code.ack: {
      const lsn = readLsn(reader);
      const hash = reader.varint();
      return { kind: "ack", epoch, fromInc, toInc, tail, lsn, hash, mark: readLsn(reader) };
    }
    case code.needBlob: {
      const lsn = readLsn(reader);
      const blobs = Array.from({ length: reader.count() }, () => readName(reader));
      return { kind: "needBlob", epoch, fromInc, toInc, tail, lsn, blobs };
    }
    default:
      throw malformed("replica message");
  }
}

function takeAll(reader: WireReader, records: Records): readonly Uint8Array[] {
  const taken: Uint8Array[] = [];
  for (let left = reader.count(); left > 0; left--) {
    const end = records.at + reader.varint();
    if (end > records.body.byteLength) throw malformed("record length");
    taken.push(records.body.subarray(records.at, end));
    records.at = end;
  }
  return taken;
}

function readLsn(reader: WireReader): Lsn {
  return makeLsn(reader.varint());
}

function readName(reader: WireReader): string {
  const name = reader.text();
  if (name.length > 128) throw malformed("blob");
  return name;
}
