// What one shard's replica starts from after a restart: config and marks of the segment log, and the
// unapplied tail with its bytes. Everything found is durable already.

import { assert } from "../../lib/assert.ts";
import { epoch, lsn } from "../../mail/ids.ts";
import type { Epoch, Lsn, ShardId } from "../../mail/ids.ts";
import { decodeEntry } from "../../store/log/record.ts";
import type { SegmentLog } from "../../store/log/types.ts";
import type { Recovered } from "../protocol/replica-state.ts";
import type { PendingEntry } from "./pending-entries.ts";
import { decodeShardConfig } from "./shard-codec.ts";

/** A shard of which this disk has nothing. */
export const emptyShard: Recovered = {
  config: undefined,
  sealedEpoch: epoch(0),
  appliedLsn: lsn(0),
  appliedHash: 0,
  endEpoch: epoch(0),
  tail: [],
};

const readBytes = 4 * 1024 * 1024;

/** @throws {MailError} DAMAGED, when the tail can't be read back. */
export async function recoverShard(
  log: SegmentLog,
  shard: ShardId,
): Promise<{ readonly recovered: Recovered; readonly tail: readonly PendingEntry[] }> {
  const state = log.state(shard);
  const first = await recoverFirst(log, shard);
  const sealedEpoch = state.sealedEpoch;
  const config =
    state.config.byteLength === 0
      ? undefined
      : decodeShardConfig(Buffer.from(state.config).toString("utf8"));
  if (state.damaged) {
    const nothing = { appliedLsn: lsn(0), appliedHash: 0, endEpoch: epoch(0), tail: [] };
    const recovered = { config, sealedEpoch, ...nothing, ...first, damaged: true };
    return { recovered, tail: [] };
  }
  const tail = await readTail(log, shard, state.commitMark, state.lastLsn);
  const recovered: Recovered = {
    config,
    sealedEpoch,
    ...first,
    appliedLsn: state.commitMark,
    appliedHash: tail[0] === undefined ? state.lastHash : tail[0].prevHash,
    endEpoch: tail.at(-1)?.entry.entry.epoch ?? (await epochAt(log, shard, state.lastLsn)),
    tail: tail.map(({ entry }) => entry.hash),
  };
  return { recovered, tail: tail.map(({ entry }) => entry) };
}

async function recoverFirst(log: SegmentLog, shard: ShardId): Promise<Pick<Recovered, "first">> {
  const kept = log.tails.state(shard);
  if (kept === undefined) return {};
  const { baseLsn, baseHash } = kept;
  return { first: { baseLsn, baseHash, hashes: await log.tails.hashes(shard) } };
}

interface TailEntry {
  readonly entry: PendingEntry;
  readonly prevHash: number;
}

async function readTail(
  log: SegmentLog,
  shard: ShardId,
  after: Lsn,
  end: Lsn,
): Promise<readonly TailEntry[]> {
  const tail: TailEntry[] = [];
  for (let next = after + 1; next <= end; ) {
    const read = await log.readEntries(shard, lsn(next), readBytes);
    assert(read.kind === "entries" && read.records.length > 0, "the unapplied tail is in the log");
    for (const record of read.records) {
      tail.push(await tailEntry(log, shard, record));
      next += 1;
    }
  }
  return tail;
}

async function tailEntry(log: SegmentLog, shard: ShardId, record: Uint8Array): Promise<TailEntry> {
  const raw = decodeEntry(record);
  assert(raw !== undefined, "the log hands out records that decode");
  const location = await log.locate(shard, raw.lsn);
  assert(location !== undefined, "an entry that was read has a place");
  const { lsn: at, epoch: of, opId, kind, head, hash, prevHash } = raw;
  const entry = { shard, lsn: at, epoch: of, opId, kind, head, location };
  const bytes = record.byteLength;
  return { entry: { lsn: at, entry, hash, parts: [record], bytes, waiter: undefined }, prevHash };
}

/** Epoch of an entry that is applied; 0 when it is no longer in the log: at worst one more NEWEPOCH. */
async function epochAt(log: SegmentLog, shard: ShardId, at: Lsn): Promise<Epoch> {
  if (at === 0) return epoch(0);
  const read = await log.readEntries(shard, at, 1);
  const record = read.kind === "entries" ? read.records[0] : undefined;
  return (record === undefined ? undefined : decodeEntry(record)?.epoch) ?? epoch(0);
}
