// What the log knows of each shard, in RAM: the end of its chain, its configuration, its marks.
// Appends and replay go through the same few functions. Does no I/O.

import { assert } from "../../lib/assert.ts";
import { epoch, lsn } from "../../mail/ids.ts";
import type { Epoch, Lsn, ShardId } from "../../mail/ids.ts";
import type { EntryDraft } from "../journal.ts";
import { recordType } from "./record.ts";
import type { RecordFields } from "./record.ts";
import type { ChainHash, Position, ShardConfigRecord, ShardLogState } from "./types.ts";

/** A shard's state, changed in place; handed out as the read-only ShardLogState. */
export interface ShardState extends ShardLogState {
  epoch: Epoch;
  sealedEpoch: Epoch;
  config: Uint8Array;
  lastLsn: Lsn;
  lastHash: ChainHash;
  commitMark: Lsn;
  applied: Lsn;
  /** The highest commit mark that a record in the log carries. */
  writtenMark: Lsn;
  /** Entries up to here are not this chain's: the copy was made anew behind them. */
  floor: Lsn;
  /** Records of the shard before this place are of a copy that was given up: never replayed. */
  since: Position;
  damaged: boolean;
}

export function newShard(shard: ShardId): ShardState {
  return {
    shard,
    epoch: epoch(0),
    sealedEpoch: epoch(0),
    config: new Uint8Array(0),
    lastLsn: lsn(0),
    lastHash: 0,
    commitMark: lsn(0),
    applied: lsn(0),
    writtenMark: lsn(0),
    floor: lsn(0),
    since: { segment: 0, offset: 0 },
    damaged: false,
  };
}

/** The shard's state, made when it is first asked for. */
export function shardOf(table: Map<ShardId, ShardState>, shard: ShardId): ShardState {
  const known = table.get(shard);
  if (known !== undefined) return known;
  const fresh = newShard(shard);
  table.set(shard, fresh);
  return fresh;
}

/** Moves the end of the chain to the entry just appended or replayed. */
export function advance(
  state: ShardState,
  entry: { readonly lsn: Lsn; readonly commitMark: Lsn },
  hash: ChainHash,
): void {
  state.lastLsn = entry.lsn;
  state.lastHash = hash;
  state.commitMark = later(state.commitMark, entry.commitMark);
  state.writtenMark = later(state.writtenMark, entry.commitMark);
}

export function setConfig(state: ShardState, record: ShardConfigRecord): void {
  state.epoch = record.epoch;
  state.sealedEpoch = record.sealedEpoch;
  state.config = record.config;
}

export function cutAt(state: ShardState, after: Lsn, hash: ChainHash): void {
  assert(after >= state.commitMark, "a cut leaves committed entries alone");
  assert(after <= state.lastLsn, "a cut lies within the log");
  state.lastLsn = after;
  state.lastHash = hash;
}

export function abandonAt(state: ShardState, at: Position): void {
  state.since = { segment: at.segment, offset: at.offset };
  state.damaged = true;
}

export function restartAt(state: ShardState, at: Position, after: Lsn, hash: ChainHash): void {
  state.since = { segment: at.segment, offset: at.offset };
  state.lastLsn = after;
  state.lastHash = hash;
  state.commitMark = after;
  state.writtenMark = after;
  state.applied = after;
  state.floor = after;
  state.damaged = false;
}

/** Fields of the shard's next entry. */
export function entryFields(
  state: ShardState,
  { kind, opId }: Pick<EntryDraft, "kind" | "opId">,
): RecordFields {
  const { shard, epoch: now, commitMark, lastLsn, lastHash } = state;
  const type = recordType.entry;
  const at = { lsn: lsn(lastLsn + 1), prevHash: lastHash };
  return { type, shard, kind, epoch: now, commitMark, opId, ...at };
}

/** Fields of a record that is not an entry: it carries the shard's state and no operation id. */
export function noteFields(
  state: ShardState,
  type: RecordFields["type"],
  opIdNone: RecordFields["opId"],
): RecordFields {
  return {
    type,
    shard: state.shard,
    kind: 0,
    epoch: state.epoch,
    lsn: state.lastLsn,
    commitMark: state.commitMark,
    opId: opIdNone,
    prevHash: state.lastHash,
  };
}

export function later(one: Lsn, other: Lsn): Lsn {
  return one > other ? one : other;
}
