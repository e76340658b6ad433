// Values of the small rows: one writer and one reader per table. Keys are in keyspace.ts, the frame
// in row.ts, the large ones in blocks.ts and static-row.ts.

import type { Registration } from "../mail/account.ts";
import { mailboxId, shardId } from "../mail/ids.ts";
import type { AccountId, DeliveryId, MailboxId, OpId, ShardId } from "../mail/ids.ts";
import type { UidSet } from "../mail/uid-set.ts";
import type { ByteReader } from "./byte-reader.ts";
import {
  readFlagGroups,
  readMessageRow,
  writeCounters,
  writeFlagGroups,
  writeMessageRow,
} from "./entry-codec.ts";
import type {
  BodyPart,
  Counters,
  DeliverTo,
  FlagGroup,
  MailboxRow,
  MessageRow,
  QuotaUse,
} from "./entry-kind.ts";
import type { KeywordSet } from "./flags.ts";
import type { Location } from "./journal.ts";
import {
  accountKey,
  annotationKey,
  blobKey,
  bodyKey,
  deliveryKey,
  mailboxItemKey,
  mailboxKey,
  modSeqKey,
  outcomeKey,
  staticKey,
  table,
} from "./keyspace.ts";
import { hasGroupPart, readGroupPart, writeGroupPart } from "./group-codec.ts";
import { readRegistration, writeRegistration } from "./registration-codec.ts";
import { beginRow, emptyRow, endRow } from "./row.ts";
import type { WriteQueue } from "./write-queue.ts";

/** A registration as it lies in its row. */
export interface RegistrationRow {
  readonly shard: ShardId;
  readonly lsn: number;
  readonly registration: Registration;
}

export function putRegistration(queue: WriteQueue, row: RegistrationRow): void {
  const key = accountKey(row.registration.account, table.registration);
  const out = beginRow();
  out.varint(row.shard);
  out.varint(row.lsn);
  writeRegistration(out, row.registration);
  if (hasGroupPart(row.registration)) writeGroupPart(out, row.registration);
  queue.put(key, endRow(key));
}

export function readRegistrationRow(reader: ByteReader): RegistrationRow {
  const shard = shardId(reader.varint());
  const lsn = reader.varint();
  const registration = readRegistration(reader);
  return {
    shard,
    lsn,
    registration: reader.done ? registration : readGroupPart(reader, registration),
  };
}

export function putAccountCounters(
  queue: WriteQueue,
  account: AccountId,
  nextMailboxId: number,
  lastUidValidity: number,
): void {
  const key = accountKey(account, table.account);
  const out = beginRow();
  out.varint(nextMailboxId);
  out.varint(lastUidValidity);
  queue.put(key, endRow(key));
}

export function putQuota(queue: WriteQueue, account: AccountId, use: QuotaUse): void {
  const key = accountKey(account, table.quota);
  const out = beginRow();
  out.varint(use.bytes);
  out.varint(use.messages);
  queue.put(key, endRow(key));
}

export function readQuota(reader: ByteReader): QuotaUse {
  return { bytes: reader.varint(), messages: reader.varint() };
}

export function putMailbox(queue: WriteQueue, account: AccountId, row: MailboxRow): void {
  const key = mailboxKey(account, table.mailbox, row.id);
  const out = beginRow();
  out.text(row.name);
  out.varint(row.uidValidity);
  out.text(row.specialUse);
  queue.put(key, endRow(key));
}

export function readMailbox(key: Buffer, reader: ByteReader): MailboxRow {
  return {
    id: mailboxId(key.readUInt32BE(10)),
    name: reader.text(),
    uidValidity: reader.varint(),
    specialUse: reader.text(),
  };
}

export function putCounters(
  queue: WriteQueue,
  account: AccountId,
  mailbox: MailboxId,
  counters: Counters,
): void {
  const key = mailboxKey(account, table.counters, mailbox);
  writeCounters(beginRow(), counters);
  queue.put(key, endRow(key));
}

export function putKeywords(
  queue: WriteQueue,
  account: AccountId,
  mailbox: MailboxId,
  set: KeywordSet,
): void {
  const key = mailboxItemKey(account, table.keywords, mailbox, set.id);
  const out = beginRow();
  out.varint(set.keywords.length);
  for (const keyword of set.keywords) out.text(keyword);
  queue.put(key, endRow(key));
}

export function readKeywords(key: Buffer, reader: ByteReader): KeywordSet {
  const keywords: string[] = [];
  for (let left = reader.varint(); left > 0; left--) keywords.push(reader.text());
  return { id: key.readUInt32BE(14), keywords };
}

export function putStatic(
  queue: WriteQueue,
  account: AccountId,
  tag: number,
  lsn: number,
  bytes: Uint8Array,
): void {
  const key = staticKey(account, tag, lsn);
  beginRow().raw(bytes);
  queue.add(key, endRow(key));
}

/** @param value Undefined removes the row. */
export function putAnnotation(
  queue: WriteQueue,
  account: AccountId,
  mailbox: MailboxId,
  entry: string,
  value: Uint8Array | undefined,
): void {
  const key = annotationKey(account, mailbox, entry);
  if (value === undefined) return queue.del(key);
  beginRow().bytes(value);
  queue.put(key, endRow(key));
}

/** What happened at one MODSEQ. There is one for each that the blocks may not hold yet. */
export type ChangeRow =
  | { readonly kind: "add"; readonly messages: readonly MessageRow[] }
  | { readonly kind: "flags"; readonly groups: readonly FlagGroup[] }
  /** Which, says the vanished row of the same MODSEQ, which stays when this one goes. */
  | { readonly kind: "remove" };

export function putAdded(
  queue: WriteQueue,
  account: AccountId,
  mailbox: MailboxId,
  modSeq: number,
  messages: readonly MessageRow[],
): void {
  const key = modSeqKey(account, table.change, mailbox, modSeq);
  const out = beginRow();
  out.u8(0);
  out.varint(messages.length);
  for (const row of messages) writeMessageRow(out, row);
  queue.add(key, endRow(key));
}

export function putFlagChange(
  queue: WriteQueue,
  account: AccountId,
  mailbox: MailboxId,
  modSeq: number,
  groups: readonly FlagGroup[],
): void {
  const key = modSeqKey(account, table.change, mailbox, modSeq);
  const out = beginRow();
  out.u8(1);
  writeFlagGroups(out, groups);
  queue.put(key, endRow(key));
}

export function readChange(reader: ByteReader): ChangeRow {
  const kind = reader.u8();
  if (kind === 1) return { kind: "flags", groups: readFlagGroups(reader) };
  if (kind === 2) return { kind: "remove" };
  const messages: MessageRow[] = [];
  for (let left = reader.varint(); left > 0; left--) messages.push(readMessageRow(reader));
  return { kind: "add", messages };
}

export function putVanished(
  queue: WriteQueue,
  account: AccountId,
  mailbox: MailboxId,
  modSeq: number,
  uids: UidSet,
): void {
  const key = modSeqKey(account, table.vanished, mailbox, modSeq);
  beginRow().varints(uids);
  queue.put(key, endRow(key));
  const change = modSeqKey(account, table.change, mailbox, modSeq);
  beginRow().u8(2);
  queue.put(change, endRow(change));
}

export function putFold(
  queue: WriteQueue,
  account: AccountId,
  mailbox: MailboxId,
  modSeq: number,
): void {
  const key = mailboxKey(account, table.fold, mailbox);
  beginRow().varint(modSeq);
  queue.put(key, endRow(key));
}

/** Where the bytes of a body lie on this node. */
export type BodyPlace =
  | {
      readonly kind: "segment";
      /** Of the entry's whole body. */
      readonly location: Location;
      readonly offset: number;
      readonly length: number;
    }
  | {
      readonly kind: "blob";
      readonly id: string;
      readonly length: number;
      readonly sha256: string;
    }
  /** No copy had the bytes unharmed: the message stays visible, with a notice in their place. */
  | { readonly kind: "lost"; readonly length: number };

export function placeOf(part: BodyPart, location: Location): BodyPlace {
  return part.kind === "blob"
    ? part
    : { kind: "segment", location, offset: part.offset, length: part.length };
}

export function putPlace(queue: WriteQueue, tag: number, lsn: number, place: BodyPlace): void {
  const key = bodyKey(tag, lsn);
  const out = beginRow();
  if (place.kind === "segment") {
    out.u8(0);
    out.varint(place.location.segment);
    out.varint(place.location.offset);
    out.varint(place.location.bodyOffset);
    out.varint(place.location.bodyBytes);
    out.varint(place.offset);
    out.varint(place.length);
  } else if (place.kind === "blob") {
    out.u8(1);
    out.text(place.id);
    out.varint(place.length);
    out.text(place.sha256);
  } else {
    out.u8(2);
    out.varint(place.length);
  }
  queue.put(key, endRow(key));
  if (place.kind !== "blob") return;
  // Says that the body refers to the blob, so that the blob's file stays.
  const reference = blobKey(place.id, tag, lsn);
  queue.put(reference, emptyRow(reference));
}

export function readPlace(reader: ByteReader): BodyPlace {
  const kind = reader.u8();
  if (kind === 2) return { kind: "lost", length: reader.varint() };
  if (kind === 1) {
    return { kind: "blob", id: reader.text(), length: reader.varint(), sha256: reader.text() };
  }
  return {
    kind: "segment",
    location: {
      segment: reader.varint(),
      offset: reader.varint(),
      bodyOffset: reader.varint(),
      bodyBytes: reader.varint(),
    },
    offset: reader.varint(),
    length: reader.varint(),
  };
}

/** What became of a delivery for one account, kept for retries. */
export interface DeliveredRow {
  readonly timeMs: number;
  readonly mailbox: MailboxId;
  readonly uidValidity: number;
  readonly uid: number;
}

export function putDelivered(
  queue: WriteQueue,
  deliveryId: DeliveryId,
  to: DeliverTo,
  timeMs: number,
): void {
  const key = deliveryKey(to.account, deliveryId);
  const out = beginRow();
  out.f64(timeMs);
  out.varint(to.mailbox);
  out.varint(to.uidValidity);
  out.varint(to.uid);
  queue.add(key, endRow(key));
}

export function readDelivered(reader: ByteReader): DeliveredRow {
  return {
    timeMs: reader.f64(),
    mailbox: mailboxId(reader.varint()),
    uidValidity: reader.varint(),
    uid: reader.varint(),
  };
}

export function putOutcome(
  queue: WriteQueue,
  account: AccountId,
  opId: OpId,
  timeMs: number,
  outcome: Uint8Array,
): void {
  const key = outcomeKey(account, opId);
  const out = beginRow();
  out.f64(timeMs);
  out.raw(outcome);
  queue.put(key, endRow(key));
}
