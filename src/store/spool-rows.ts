// Rows of mail that waits: one for each recipient of a spool entry, and which body they own. The
// same on every member, without reading anything; delivering it is spool-drain.ts.

import { accountId, deliveryId, opId, shardId } from "../mail/ids.ts";
import type { DeliveryId, OpId, ShardId } from "../mail/ids.ts";
import type { SpoolRecipient } from "../mail/spool.ts";
import { bodyTag } from "./apply-rows.ts";
import { readBounce, readRecipient, writeBounce, writeRecipient } from "./delivery-codec.ts";
import type { SpoolPayload, UnspoolPayload } from "./entry-kind.ts";
import type { Entry } from "./journal.ts";
import { ownerKey, spoolKey } from "./keyspace.ts";
import { beginRow, emptyRow, endRow, openRow } from "./row.ts";
import { placeOf, putPlace } from "./rows.ts";
import type { WriteQueue } from "./write-queue.ts";

/** Mail that waits for one recipient. */
export interface SpoolRow {
  /** The spool entry, and the recipient's place in it. */
  readonly lsn: number;
  readonly at: number;
  readonly timeMs: number;
  readonly deliveryId: DeliveryId;
  /** Where it goes. */
  readonly shard: ShardId;
  readonly opId: OpId;
  readonly recipient: SpoolRecipient;
  readonly sender: string;
  readonly bounceTo?: NonNullable<SpoolPayload["bounceTo"]>;
  readonly bytes: number;
}

/** No account has this id. */
const nobody = accountId(0);

export function spoolRows(queue: WriteQueue, entry: Entry, payload: SpoolPayload): void {
  putPlace(queue, bodyTag(entry.shard, 0), entry.lsn, placeOf(payload.part, entry.location));
  let at = 0;
  for (const part of payload.parts) {
    for (const recipient of part.recipients) {
      const key = spoolKey(entry.shard, entry.lsn, at);
      const out = beginRow();
      out.f64(payload.timeMs);
      out.text(payload.deliveryId);
      out.varint(part.shard);
      out.hex(part.opId);
      writeRecipient(out, recipient);
      out.text(payload.sender);
      writeBounce(out, payload.bounceTo);
      out.varint(payload.part.length);
      queue.put(key, endRow(key));
      const owner = ownerOf(entry.shard, entry.lsn, at);
      queue.put(owner, emptyRow(owner));
      at += 1;
    }
  }
}

export function unspoolRows(queue: WriteQueue, entry: Entry, payload: UnspoolPayload): void {
  for (const { lsn, at } of payload.rows) {
    queue.del(spoolKey(entry.shard, lsn, at));
    queue.del(ownerOf(entry.shard, lsn, at));
  }
}

export function readSpoolRow(key: Buffer, value: Buffer): SpoolRow {
  const reader = openRow(key, value);
  return {
    lsn: key.readUInt16BE(3) * 2 ** 32 + key.readUInt32BE(5),
    at: key.readUInt32BE(9),
    timeMs: reader.f64(),
    deliveryId: deliveryId(reader.text()),
    shard: shardId(reader.varint()),
    opId: opId(reader.raw(16).toString("hex")),
    recipient: readRecipient(reader),
    sender: reader.text(),
    ...readBounce(reader),
    bytes: reader.varint(),
  };
}

/** Keeps a spooled body from being swept: mailbox 1, as 0 would own nothing. */
function ownerOf(shard: ShardId, lsn: number, at: number): Buffer {
  return ownerKey(bodyTag(shard, 0), lsn, nobody, 1, at);
}
