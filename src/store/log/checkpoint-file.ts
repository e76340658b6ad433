// The CHECKPOINT file: from where replay starts, and what every shard looked like at a later,
// synced place. Written beside and renamed, so a crash leaves the old or the new one whole.

import { Packr } from "msgpackr";
import { asBuffer } from "../../lib/bytes.ts";
import { crc32c } from "../../lib/crc32c.ts";
import { asArray, asBoolean, asBytes, asNumber, asRecord } from "../../lib/decode.ts";
import type { Disk } from "../../lib/disk.ts";
import { MailError } from "../../mail/errors.ts";
import { epoch, lsn, shardId } from "../../mail/ids.ts";
import { formatVersion, refuseNewer } from "./segment-file.ts";
import type { ShardState } from "./shard-table.ts";
import type { Position } from "./types.ts";

export interface Checkpoint {
  /** Everything before is applied and flushed: replay starts here. */
  readonly from: Position;
  /** `shards` is as of here; synced, and not before `from`. */
  readonly asOf: Position;
  readonly shards: readonly ShardState[];
}

const magic = Buffer.from("PABALCKP", "latin1");
const headBytes = 16;
const bytesMax = 256 * 1024 * 1024;
const nowhere = { segment: 0, offset: 0 };
const packr = new Packr({ useRecords: false });

/** Undefined when there is no CHECKPOINT. @throws {MailError} DAMAGED, or INVALID for a newer format. */
export async function readCheckpoint(disk: Disk, folder: string): Promise<Checkpoint | undefined> {
  const path = `${folder}/CHECKPOINT`;
  if (!(await disk.exists(path))) return undefined;
  const file = await disk.open(path, "read");
  try {
    return decodeCheckpoint(await file.read(0, Math.min(await file.size(), bytesMax)));
  } finally {
    await file.close();
  }
}

/** Write, fsync, rename, fsync of the folder. */
export async function writeCheckpoint(
  disk: Disk,
  folder: string,
  checkpoint: Checkpoint,
): Promise<void> {
  const path = `${folder}/CHECKPOINT`;
  const bytes = encodeCheckpoint(checkpoint);
  const file = await disk.open(`${path}.new`, "write");
  try {
    await file.truncate(0);
    await file.writev([bytes], 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(`${path}.new`, path);
  await disk.syncFolder(folder);
}

export function encodeCheckpoint({ from, asOf, shards }: Checkpoint): Uint8Array {
  const payload = packr.pack({ from, asOf, shards });
  const head = Buffer.alloc(headBytes);
  magic.copy(head, 0);
  head.writeUInt32BE(formatVersion, 8);
  head.writeUInt32BE(crc32c(payload, crc32c(head.subarray(0, 12))), 12);
  return Buffer.concat([head, payload]);
}

/** @throws {MailError} DAMAGED, or INVALID for a newer format. */
export function decodeCheckpoint(bytes: Uint8Array): Checkpoint {
  const buffer = asBuffer(bytes);
  const payload = buffer.subarray(headBytes);
  const intact =
    buffer.byteLength > headBytes &&
    buffer.subarray(0, 8).equals(magic) &&
    buffer.readUInt32BE(12) === crc32c(payload, crc32c(buffer.subarray(0, 12)));
  if (!intact) throw new MailError({ code: "DAMAGED", what: "CHECKPOINT" });
  refuseNewer("CHECKPOINT", buffer.readUInt32BE(8));
  const record = asRecord(packr.unpack(payload), "CHECKPOINT");
  return {
    from: decodePosition(record["from"]),
    asOf: decodePosition(record["asOf"]),
    shards: asArray(record["shards"], "shards").map(decodeShard),
  };
}

function decodePosition(value: unknown): Position {
  const record = asRecord(value, "position");
  return {
    segment: asNumber(record["segment"], "segment"),
    offset: asNumber(record["offset"], "offset"),
  };
}

function decodeShard(value: unknown): ShardState {
  const record = asRecord(value, "shard");
  const number = (key: string): number => asNumber(record[key], key);
  return {
    shard: shardId(number("shard")),
    epoch: epoch(number("epoch")),
    sealedEpoch: epoch(number("sealedEpoch")),
    config: Uint8Array.from(asBytes(record["config"], "config")),
    lastLsn: lsn(number("lastLsn")),
    lastHash: number("lastHash"),
    commitMark: lsn(number("commitMark")),
    applied: lsn(number("applied")),
    writtenMark: lsn(number("commitMark")),
    floor: lsn(number("floor")),
    // Absent in what was written before copies could be made anew.
    since: record["since"] === undefined ? nowhere : decodePosition(record["since"]),
    damaged: asBoolean(record["damaged"], "damaged"),
  };
}
