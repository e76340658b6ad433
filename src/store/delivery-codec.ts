// Bytes of the entries around deliveries: spool, unspool, confirm, and what follows the recipients in
// a delivery's head. Called by entry-codec.ts, which knows the frame and the other kinds.

import { assert } from "../lib/assert.ts";
import { accountId, deliveryId, opId, shardId } from "../mail/ids.ts";
import type { SpoolPart, SpoolRecipient } from "../mail/spool.ts";
import type { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { entryKind } from "./entry-kind.ts";
import type {
  BodyPart,
  ConfirmPayload,
  DeliverPayload,
  Payload,
  SpoolPayload,
  UnspoolPayload,
} from "./entry-kind.ts";

const formatVersion = 1;
const writer = new ByteWriter(16 * 1024);
const idBytes = 16;
const noIds: readonly string[] = [];

/** Entries without these end before them: heads of earlier versions stay readable. */
export function writeDeliverExtras(out: ByteWriter, payload: DeliverPayload): void {
  const { fingerprints, confirmed } = payload;
  if (fingerprints === undefined && confirmed === undefined) return;
  writeIds(out, fingerprints ?? noIds);
  writeIds(out, confirmed ?? noIds);
}

export function readDeliverExtras(
  reader: ByteReader,
): Pick<DeliverPayload, "fingerprints" | "confirmed"> {
  if (reader.done) return {};
  const fingerprints = readIds(reader);
  const confirmed = readIds(reader);
  return {
    ...(fingerprints.length === 0 ? {} : { fingerprints }),
    ...(confirmed.length === 0 ? {} : { confirmed }),
  };
}

export function encodeSpool(payload: SpoolPayload): Buffer {
  writer.reset();
  writer.u8(formatVersion);
  writer.f64(payload.timeMs);
  writer.text(payload.deliveryId);
  writePart(writer, payload.part);
  writer.text(payload.sender);
  writeBounce(writer, payload.bounceTo);
  writer.varint(payload.parts.length);
  for (const part of payload.parts) {
    writer.varint(part.shard);
    writer.hex(part.opId);
    writer.varint(part.recipients.length);
    for (const recipient of part.recipients) writeRecipient(writer, recipient);
  }
  return writer.take();
}

export function encodeUnspool(payload: UnspoolPayload): Buffer {
  writer.reset();
  writer.u8(formatVersion);
  writer.varint(payload.rows.length);
  for (const { lsn, at } of payload.rows) {
    writer.varint(lsn);
    writer.varint(at);
  }
  return writer.take();
}

export function encodeConfirm(payload: ConfirmPayload): Buffer {
  writer.reset();
  writer.u8(formatVersion);
  writer.f64(payload.timeMs);
  writeIds(writer, payload.fingerprints);
  return writer.take();
}

/** The payload behind the version byte; undefined for kinds that are not of this file. */
export function decodeDeliveryKind(kind: number, reader: ByteReader): Payload | undefined {
  switch (kind) {
    case entryKind.spool:
      return { kind: "spool", spool: readSpool(reader) };
    case entryKind.unspool:
      return { kind: "unspool", unspool: readUnspool(reader) };
    case entryKind.confirm:
      return {
        kind: "confirm",
        confirm: { timeMs: reader.f64(), fingerprints: readIds(reader) },
      };
    default:
      return undefined;
  }
}

export function writeBounce(out: ByteWriter, to: SpoolPayload["bounceTo"]): void {
  out.varint(to?.account ?? 0);
  if (to !== undefined) out.varint(to.shard);
}

export function readBounce(reader: ByteReader): Pick<SpoolPayload, "bounceTo"> {
  const account = reader.varint();
  if (account === 0) return {};
  return { bounceTo: { account: accountId(account), shard: shardId(reader.varint()) } };
}

export function writeRecipient(out: ByteWriter, recipient: SpoolRecipient): void {
  out.varint(recipient.account);
  out.text(recipient.mailbox ?? "");
  out.text(recipient.address);
  writeId(out, recipient.fingerprint ?? "");
}

export function readRecipient(reader: ByteReader): SpoolRecipient {
  const account = accountId(reader.varint());
  const mailbox = reader.text();
  const address = reader.text();
  const fingerprint = readId(reader);
  return {
    account,
    address,
    ...(mailbox === "" ? {} : { mailbox }),
    ...(fingerprint === "" ? {} : { fingerprint }),
  };
}

function readSpool(reader: ByteReader): SpoolPayload {
  const timeMs = reader.f64();
  const id = deliveryId(reader.text());
  const part = readPart(reader);
  const sender = reader.text();
  const bounce = readBounce(reader);
  const parts: SpoolPart[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    const shard = shardId(reader.varint());
    const op = opId(reader.raw(idBytes).toString("hex"));
    const recipients: SpoolRecipient[] = [];
    for (let count = reader.varint(); count > 0; count--) recipients.push(readRecipient(reader));
    parts.push({ shard, opId: op, recipients });
  }
  return { timeMs, deliveryId: id, part, sender, ...bounce, parts };
}

function readUnspool(reader: ByteReader): UnspoolPayload {
  const rows: { lsn: number; at: number }[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    rows.push({ lsn: reader.varint(), at: reader.varint() });
  }
  return { rows };
}

export function writePart(out: ByteWriter, part: BodyPart): void {
  if (part.kind === "inline") {
    out.u8(0);
    out.varint(part.offset);
    out.varint(part.length);
  } else {
    out.u8(1);
    out.text(part.id);
    out.varint(part.length);
    out.text(part.sha256);
  }
}

export function readPart(reader: ByteReader): BodyPart {
  return reader.u8() === 0
    ? { kind: "inline", offset: reader.varint(), length: reader.varint() }
    : { kind: "blob", id: reader.text(), length: reader.varint(), sha256: reader.text() };
}

/** Ids of 32 hex digits, each of which may be empty. */
function writeIds(out: ByteWriter, ids: readonly string[]): void {
  out.varint(ids.length);
  for (const id of ids) writeId(out, id);
}

function readIds(reader: ByteReader): string[] {
  const ids: string[] = [];
  for (let left = reader.varint(); left > 0; left--) ids.push(readId(reader));
  return ids;
}

function writeId(out: ByteWriter, id: string): void {
  assert(id.length === 0 || id.length === 2 * idBytes, "an id has 32 hex digits");
  out.u8(id.length === 0 ? 0 : 1);
  if (id.length > 0) out.hex(id);
}

function readId(reader: ByteReader): string {
  return reader.u8() === 0 ? "" : reader.raw(idBytes).toString("hex");
}
