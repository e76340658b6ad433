// From a committed entry to LevelDB rows: the same on primaries, secondaries and in replay, without
// reading anything. Rows are absolute, so writing them twice is the same as once.

import { unreachable } from "../lib/assert.ts";
import type { AccountId } from "../mail/ids.ts";
import { uidSetFromSorted } from "../mail/uid-set.ts";
import type { ChangePayload, ClaimPayload, DeliverPayload, MessageRow, Op } from "./entry-kind.ts";
import { writeClaim } from "./claim-codec.ts";
import type { Entry } from "./journal.ts";
import {
  claimKey,
  goneKey,
  groupKey,
  mailboxKey,
  ownerKey,
  readStateKey,
  readerKey,
  shardAccountKey,
  shardKey,
  shardTable,
  subscriptionKey,
  table,
} from "./keyspace.ts";
import { beginRow, emptyRow, endRow } from "./row.ts";
import {
  placeOf,
  putAccountCounters,
  putAdded,
  putAnnotation,
  putCounters,
  putDelivered,
  putFlagChange,
  putKeywords,
  putMailbox,
  putOutcome,
  putPlace,
  putQuota,
  putRegistration,
  putStatic,
  putVanished,
} from "./rows.ts";
import type { WriteQueue } from "./write-queue.ts";

/** Body tag of part `part` of an entry in its shard. */
export function bodyTag(shard: number, part: number): number {
  return shard * 2 ** 16 + part;
}

/** The summary row of a delivered message for one of its recipients. */
export function deliveredRow(
  entry: Entry,
  payload: DeliverPayload,
  uid: number,
  modSeq: number,
): MessageRow {
  const seconds = Math.floor(payload.timeMs / 1000);
  return {
    uid,
    modSeq,
    flags: 0,
    size: payload.size,
    date: seconds,
    zone: 0,
    saved: seconds,
    bodyTag: bodyTag(entry.shard, 0),
    bodyLsn: entry.lsn,
  };
}

export function deliverRows(queue: WriteQueue, entry: Entry, payload: DeliverPayload): void {
  const tag = bodyTag(entry.shard, 0);
  putPlace(queue, tag, entry.lsn, placeOf(payload.part, entry.location));
  for (const to of payload.recipients) {
    const row = deliveredRow(entry, payload, to.uid, to.counters.modSeq);
    putAdded(queue, to.account, to.mailbox, row.modSeq, [row]);
    putStatic(queue, to.account, tag, entry.lsn, payload.static);
    putCounters(queue, to.account, to.mailbox, to.counters);
    putQuota(queue, to.account, to.quota);
    const owner = ownerKey(tag, entry.lsn, to.account, to.mailbox, to.uid);
    queue.add(owner, emptyRow(owner));
    putDelivered(queue, payload.deliveryId, to, payload.timeMs);
  }
}

export function changeRows(queue: WriteQueue, entry: Entry, payload: ChangePayload): void {
  const { account } = payload;
  payload.parts.forEach((part, at) => {
    putPlace(queue, bodyTag(entry.shard, at), entry.lsn, placeOf(part, entry.location));
  });
  payload.statics.forEach((bytes, at) => {
    putStatic(queue, account, bodyTag(entry.shard, at), entry.lsn, bytes);
  });
  for (const op of payload.ops) opRows(queue, entry, account, op);
  if (payload.outcome.length > 0) {
    putOutcome(queue, account, entry.opId, payload.timeMs, payload.outcome);
  }
}

export function claimRows(queue: WriteQueue, entry: Entry, payload: ClaimPayload): void {
  const counterKey = shardKey(entry.shard, shardTable.accountCounter);
  beginRow().varint(payload.accountCounter);
  queue.put(counterKey, endRow(counterKey));
  for (const claim of payload.claims) {
    const key = claimKey(entry.shard, claim.name);
    const out = beginRow();
    out.varint(entry.lsn);
    writeClaim(out, claim);
    queue.put(key, endRow(key));
  }
}

/** Messages as an entry brings them, with the lsn of their bodies filled in. */
export function addedRows(entry: Entry, messages: readonly MessageRow[]): readonly MessageRow[] {
  return messages.some(({ bodyLsn }) => bodyLsn === 0)
    ? messages.map((row) => (row.bodyLsn === 0 ? { ...row, bodyLsn: entry.lsn } : row))
    : messages;
}

function opRows(queue: WriteQueue, entry: Entry, account: AccountId, op: Op): void {
  switch (op.kind) {
    case "mailbox":
      return putMailbox(queue, account, op.row);
    case "gone":
      queue.del(mailboxKey(account, table.mailbox, op.mailbox));
      queue.del(mailboxKey(account, table.counters, op.mailbox));
      return putEmpty(queue, goneKey(account, op.mailbox));
    case "counters":
      return putCounters(queue, account, op.mailbox, op.counters);
    case "keywords":
      return putKeywords(queue, account, op.mailbox, op.set);
    case "add": {
      const messages = addedRows(entry, op.messages);
      putAdded(queue, account, op.mailbox, op.modSeq, messages);
      for (const row of messages) {
        putEmpty(queue, ownerKey(row.bodyTag, row.bodyLsn, account, op.mailbox, row.uid));
      }
      return;
    }
    case "flags":
      return putFlagChange(queue, account, op.mailbox, op.modSeq, op.groups);
    case "remove":
      return removeRows(queue, account, op);
    case "quota":
      return putQuota(queue, account, op.use);
    case "subscribe": {
      const key = subscriptionKey(account, op.name);
      if (op.on) putEmpty(queue, key);
      else queue.del(key);
      return;
    }
    case "account":
      return putAccountCounters(queue, account, op.nextMailboxId, op.lastUidValidity);
    case "registration": {
      const { shard, lsn } = entry;
      putRegistration(queue, { shard, lsn, registration: op.registration });
      const key = shardAccountKey(shard, account);
      beginRow().varint(lsn);
      queue.put(key, endRow(key));
      if (op.registration.group !== undefined) putEmpty(queue, groupKey(shard, account));
      return;
    }
    case "readState": {
      const key = readStateKey(account, op.group);
      beginRow().raw(op.state);
      queue.put(key, endRow(key));
      return putEmpty(queue, readerKey(entry.shard, op.group, account));
    }
    case "annotation":
      return putAnnotation(queue, account, op.mailbox, op.entry, op.value);
    default:
      unreachable(op);
  }
}

function removeRows(
  queue: WriteQueue,
  account: AccountId,
  op: Extract<Op, { kind: "remove" }>,
): void {
  const uids = uidSetFromSorted(op.messages.map(({ uid }) => uid));
  putVanished(queue, account, op.mailbox, op.modSeq, uids);
  for (const { uid, bodyTag: tag, bodyLsn } of op.messages) {
    queue.del(ownerKey(tag, bodyLsn, account, op.mailbox, uid));
    // The static row may serve a copy in another mailbox: it goes when the body goes.
    if (!op.moved) putEmpty(queue, ownerKey(tag, bodyLsn, account, 0, 0));
  }
}

function putEmpty(queue: WriteQueue, key: Buffer): void {
  queue.put(key, emptyRow(key));
}
