// Bytes of entry heads: what entry-kind.ts describes, written and read. Registrations and claims are
// rare and go as msgpack-free records of registration-codec.ts.

import { unreachable } from "../lib/assert.ts";
import { MailError } from "../mail/errors.ts";
import { accountId, deliveryId, mailboxId } from "../mail/ids.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import {
  decodeDeliveryKind,
  readDeliverExtras,
  readPart,
  writeDeliverExtras,
  writePart,
} from "./delivery-codec.ts";
import { readClaim, writeClaim } from "./claim-codec.ts";
import { entryKind } from "./entry-kind.ts";
import type {
  ChangePayload,
  ClaimPayload,
  Counters,
  DeliverPayload,
  DeliverTo,
  FlagGroup,
  MessageRow,
  Op,
  Payload,
  RemovedRow,
} from "./entry-kind.ts";
import {
  hasGroupPart,
  readGroupPart,
  readReadStateOp,
  writeGroupPart,
  writeReadStateOp,
} from "./group-codec.ts";
import { readRegistration, writeRegistration } from "./registration-codec.ts";

const writer = new ByteWriter(64 * 1024);
const formatVersion = 1;

const opCode: Readonly<Record<Op["kind"], number>> = {
  mailbox: 1,
  gone: 2,
  counters: 3,
  keywords: 4,
  add: 5,
  flags: 6,
  remove: 7,
  quota: 8,
  subscribe: 9,
  account: 10,
  registration: 11,
  annotation: 20,
  readState: 30,
};
/** A registration with what groups need behind it. */
const groupRegistrationCode = 31;
const opByCode = new Map(Object.entries(opCode).map(([kind, code]) => [code, kind]));
const noBytes = new Uint8Array(0);

export function encodeDeliver(payload: DeliverPayload): Buffer {
  writer.reset();
  writer.u8(formatVersion);
  writer.f64(payload.timeMs);
  writer.text(payload.deliveryId);
  writePart(writer, payload.part);
  writer.bytes(payload.static);
  writer.varint(payload.size);
  writer.varint(payload.recipients.length);
  for (const to of payload.recipients) {
    writer.varint(to.account);
    writer.varint(to.mailbox);
    writer.varint(to.uidValidity);
    writer.varint(to.uid);
    writeCounters(writer, to.counters);
    writer.varint(to.quota.bytes);
    writer.varint(to.quota.messages);
  }
  writeDeliverExtras(writer, payload);
  return writer.take();
}

export function encodeChange(payload: ChangePayload): Buffer {
  writer.reset();
  writer.u8(formatVersion);
  writer.varint(payload.account);
  writer.f64(payload.timeMs);
  writer.varint(payload.parts.length);
  for (const part of payload.parts) writePart(writer, part);
  writer.varint(payload.statics.length);
  for (const bytes of payload.statics) writer.bytes(bytes);
  writer.varint(payload.ops.length);
  for (const op of payload.ops) writeOp(writer, op);
  writer.bytes(payload.outcome);
  return writer.take();
}

export function encodeClaims(payload: ClaimPayload): Buffer {
  writer.reset();
  writer.u8(formatVersion);
  writer.varint(payload.accountCounter);
  writer.varint(payload.claims.length);
  for (const claim of payload.claims) writeClaim(writer, claim);
  return writer.take();
}

/** The payload of an engine entry; undefined for kinds that are not the engine's. */
export function decodePayload(kind: number, head: Uint8Array): Payload | undefined {
  if (kind >= 64) return undefined;
  const reader = new ByteReader(head);
  if (reader.u8() !== formatVersion) throw unknownEntry(kind);
  switch (kind) {
    case entryKind.deliver:
      return { kind: "deliver", deliver: readDeliver(reader) };
    case entryKind.change:
      return { kind: "change", change: readChange(reader) };
    case entryKind.claim:
      return { kind: "claim", claim: readClaims(reader) };
    default: {
      const payload = decodeDeliveryKind(kind, reader);
      if (payload === undefined) throw unknownEntry(kind);
      return payload;
    }
  }
}

/** Never passed over: a copy that ignored it would go another way than the others. */
function unknownEntry(kind: number): MailError {
  const why = `an entry of kind ${kind} was written by a newer Pabal: upgrade this node to that version`;
  return new MailError({ code: "INVALID", why });
}

function readDeliver(reader: ByteReader): DeliverPayload {
  const timeMs = reader.f64();
  const id = deliveryId(reader.text());
  const part = readPart(reader);
  const bytes = reader.bytes();
  const size = reader.varint();
  const recipients: DeliverTo[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    recipients.push({
      account: accountId(reader.varint()),
      mailbox: mailboxId(reader.varint()),
      uidValidity: reader.varint(),
      uid: reader.varint(),
      counters: readCounters(reader),
      quota: { bytes: reader.varint(), messages: reader.varint() },
    });
  }
  const extras = readDeliverExtras(reader);
  return { timeMs, deliveryId: id, part, static: bytes, size, recipients, ...extras };
}

function readChange(reader: ByteReader): ChangePayload {
  const account = accountId(reader.varint());
  const timeMs = reader.f64();
  const parts = readList(reader, readPart);
  const statics = readList(reader, (each) => each.bytes());
  const ops = readList(reader, readOp);
  return { account, timeMs, parts, statics, ops, outcome: reader.bytes() };
}

function readClaims(reader: ByteReader): ClaimPayload {
  const accountCounter = reader.varint();
  return { accountCounter, claims: readList(reader, readClaim) };
}

function readList<T>(reader: ByteReader, read: (reader: ByteReader) => T): T[] {
  const list: T[] = [];
  for (let left = reader.varint(); left > 0; left--) list.push(read(reader));
  return list;
}

export function writeCounters(out: ByteWriter, counters: Counters): void {
  out.varint(counters.uidNext);
  out.varint(counters.modSeq);
  out.varint(counters.messages);
  out.varint(counters.unseen);
  out.varint(counters.deleted);
  out.varint(counters.sizeBytes);
  out.varint(counters.recentFrom);
  out.varint(counters.recent);
}

export function readCounters(reader: ByteReader): Counters {
  return {
    uidNext: reader.varint(),
    modSeq: reader.varint(),
    messages: reader.varint(),
    unseen: reader.varint(),
    deleted: reader.varint(),
    sizeBytes: reader.varint(),
    recentFrom: reader.varint(),
    recent: reader.varint(),
  };
}

/** One summary row, as entries, change rows and blocks hold it. */
export function writeMessageRow(out: ByteWriter, row: MessageRow): void {
  out.varint(row.uid);
  out.varint(row.modSeq);
  out.u32(row.flags);
  out.varint(row.size);
  out.u32(row.date);
  out.u16(row.zone & 0xffff);
  out.u32(row.saved);
  out.u32(row.bodyTag);
  out.varint(row.bodyLsn);
}

export function readMessageRow(reader: ByteReader): MessageRow {
  return {
    uid: reader.varint(),
    modSeq: reader.varint(),
    flags: reader.u32(),
    size: reader.varint(),
    date: reader.u32(),
    zone: (reader.u16() << 16) >> 16,
    saved: reader.u32(),
    bodyTag: reader.u32(),
    bodyLsn: reader.varint(),
  };
}

export function writeFlagGroups(out: ByteWriter, groups: readonly FlagGroup[]): void {
  out.varint(groups.length);
  for (const group of groups) {
    out.u32(group.flags);
    out.varints(group.uids);
  }
}

export function readFlagGroups(reader: ByteReader): FlagGroup[] {
  return readList(reader, (each) => ({ flags: each.u32(), uids: each.varints() }));
}

function writeRemoved(out: ByteWriter, rows: readonly RemovedRow[]): void {
  out.varint(rows.length);
  for (const row of rows) {
    out.varint(row.uid);
    out.u32(row.bodyTag);
    out.varint(row.bodyLsn);
  }
}

function readRemoved(reader: ByteReader): RemovedRow {
  return { uid: reader.varint(), bodyTag: reader.u32(), bodyLsn: reader.varint() };
}

function writeOp(out: ByteWriter, op: Op): void {
  const grouped = op.kind === "registration" && hasGroupPart(op.registration);
  out.u8(grouped ? groupRegistrationCode : opCode[op.kind]);
  if (op.kind === "readState") return writeReadStateOp(out, op);
  switch (op.kind) {
    case "mailbox":
      out.varint(op.row.id);
      out.text(op.row.name);
      out.varint(op.row.uidValidity);
      out.text(op.row.specialUse);
      return;
    case "gone":
      out.varint(op.mailbox);
      return;
    case "counters":
      out.varint(op.mailbox);
      writeCounters(out, op.counters);
      return;
    case "keywords":
      out.varint(op.mailbox);
      out.varint(op.set.id);
      out.varint(op.set.keywords.length);
      for (const keyword of op.set.keywords) out.text(keyword);
      return;
    case "add":
      out.varint(op.mailbox);
      out.varint(op.modSeq);
      out.varint(op.messages.length);
      for (const row of op.messages) writeMessageRow(out, row);
      return;
    case "flags":
      out.varint(op.mailbox);
      out.varint(op.modSeq);
      writeFlagGroups(out, op.groups);
      return;
    case "remove":
      out.varint(op.mailbox);
      out.varint(op.modSeq);
      writeRemoved(out, op.messages);
      out.u8(op.moved ? 1 : 0);
      return;
    case "quota":
      out.varint(op.use.bytes);
      out.varint(op.use.messages);
      return;
    case "subscribe":
      out.text(op.name);
      out.u8(op.on ? 1 : 0);
      return;
    case "account":
      out.varint(op.nextMailboxId);
      out.varint(op.lastUidValidity);
      return;
    case "registration":
      writeRegistration(out, op.registration);
      if (grouped) writeGroupPart(out, op.registration);
      return;
    case "annotation":
      out.varint(op.mailbox);
      out.text(op.entry);
      out.u8(op.value === undefined ? 0 : 1);
      out.bytes(op.value ?? noBytes);
      return;
    default:
      unreachable(op);
  }
}

function readOp(reader: ByteReader): Op {
  const code = reader.u8();
  if (code === groupRegistrationCode) return readGroupRegistration(reader);
  const kind = opByCode.get(code);
  if (kind === "readState") return readReadStateOp(reader);
  switch (kind) {
    case "mailbox":
      return {
        kind: "mailbox",
        row: {
          id: mailboxId(reader.varint()),
          name: reader.text(),
          uidValidity: reader.varint(),
          specialUse: reader.text(),
        },
      };
    case "gone":
      return { kind: "gone", mailbox: mailboxId(reader.varint()) };
    case "counters":
      return {
        kind: "counters",
        mailbox: mailboxId(reader.varint()),
        counters: readCounters(reader),
      };
    case "keywords":
      return {
        kind: "keywords",
        mailbox: mailboxId(reader.varint()),
        set: { id: reader.varint(), keywords: readList(reader, (each) => each.text()) },
      };
    case "add":
      return { kind: "add", ...readTarget(reader), messages: readList(reader, readMessageRow) };
    case "flags":
      return { kind: "flags", ...readTarget(reader), groups: readFlagGroups(reader) };
    case "remove":
      return {
        kind: "remove",
        ...readTarget(reader),
        messages: readList(reader, readRemoved),
        moved: reader.u8() === 1,
      };
    case "quota":
      return { kind: "quota", use: { bytes: reader.varint(), messages: reader.varint() } };
    case "subscribe":
      return { kind: "subscribe", name: reader.text(), on: reader.u8() === 1 };
    case "account":
      return {
        kind: "account",
        nextMailboxId: reader.varint(),
        lastUidValidity: reader.varint(),
      };
    case "registration":
      return { kind: "registration", registration: readRegistration(reader) };
    case "annotation": {
      const mailbox = mailboxId(reader.varint());
      const entry = reader.text();
      const isSet = reader.u8() === 1;
      const value = Uint8Array.from(reader.bytes());
      return { kind: "annotation", mailbox, entry, value: isSet ? value : undefined };
    }
    default:
      throw unknownEntry(entryKind.change);
  }
}

function readGroupRegistration(reader: ByteReader): Op {
  return { kind: "registration", registration: readGroupPart(reader, readRegistration(reader)) };
}

function readTarget(reader: ByteReader): {
  readonly mailbox: ReturnType<typeof mailboxId>;
  readonly modSeq: number;
} {
  return { mailbox: mailboxId(reader.varint()), modSeq: reader.varint() };
}
