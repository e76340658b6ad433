// What replay does with each record, in file order: follows the chains, honours cuts and restarts,
// hands committed entries to `apply`, keeps the rest as the unapplied tail. Files are recovery.ts's.

import { asBuffer } from "../../lib/bytes.ts";
import { epoch, lsn } from "../../mail/ids.ts";
import type { Lsn, ShardId } from "../../mail/ids.ts";
import type { Entry } from "../journal.ts";
import type { Checkpoint } from "./checkpoint-file.ts";
import type { LogWindow } from "./log-window.ts";
import { chainHash, headerBytes, opIdAt, type RecordHeader, recordType } from "./record.ts";
import type { WalkedRecord } from "./segment-file.ts";
import type { TailTable } from "./tail-log.ts";
import {
  abandonAt,
  advance,
  cutAt,
  later,
  restartAt,
  setConfig,
  shardOf,
  type ShardState,
} from "./shard-table.ts";
import type { LogDamage, Position, SegmentLogOptions } from "./types.ts";

const sealedEpochBytes = 8;

/** The head of a CONFIG record. */
export function encodeConfigHead(sealedEpoch: number, config: Uint8Array): Uint8Array {
  const head = Buffer.alloc(sealedEpochBytes + config.byteLength);
  head.writeDoubleBE(sealedEpoch, 0);
  head.set(config, sealedEpochBytes);
  return head;
}

export class Replay {
  readonly table = new Map<ShardId, ShardState>();
  /** What is still damaged at the end; a copy made anew later in the log is whole again. */
  damage: LogDamage[] = [];
  readonly #checkpoint: Checkpoint;
  readonly #window: LogWindow;
  readonly #apply: SegmentLogOptions["apply"];
  /** Entries not known to be committed, by shard, in lsn order. */
  readonly #tails = new Map<ShardId, Entry[]>();
  /** Shards whose chain is being followed; before CHECKPOINT's `asOf` the first entry seen begins it. */
  readonly #anchored = new Set<ShardId>();
  /** Where the present copy of a shard begins, as CHECKPOINT has it. */
  readonly #voidBefore = new Map<ShardId, Position>();
  #adopted = false;
  #allDamaged: LogDamage | undefined;

  readonly #firsts: TailTable;

  constructor(
    checkpoint: Checkpoint,
    window: LogWindow,
    firsts: TailTable,
    apply: SegmentLogOptions["apply"],
  ) {
    this.#checkpoint = checkpoint;
    this.#window = window;
    this.#firsts = firsts;
    this.#apply = apply;
    for (const { shard, since } of checkpoint.shards) this.#voidBefore.set(shard, since);
  }

  /** One intact record. Returns a promise only when `apply` does. */
  record(segment: number, record: WalkedRecord): Promise<void> | undefined {
    const { header, offset } = record;
    const position = { segment, offset };
    this.#index(segment, record);
    if (isBefore(position, this.#checkpoint.from)) return undefined;
    if (!this.#adopted && !isBefore(position, this.#checkpoint.asOf)) this.#adopt(position);
    if (header.type === recordType.group || header.type === recordType.body) return undefined;
    if (header.type === recordType.tailEntry || header.type === recordType.tailMark) {
      this.#firsts.replay(segment, record);
      return undefined;
    }
    const state = shardOf(this.table, header.shard);
    if (isBefore(position, this.#voidBefore.get(header.shard) ?? position)) return undefined;
    if (header.type === recordType.restart) {
      this.#tails.delete(header.shard);
      restartAt(state, position, header.lsn, header.prevHash);
      this.#anchored.add(header.shard);
      return undefined;
    }
    if (header.type === recordType.abandon) {
      abandonAt(state, position);
      this.#damageShard(state, position, "the copy was being made anew");
      return undefined;
    }
    // Promises about epochs hold for a damaged copy, too.
    if (state.damaged && header.type !== recordType.config) return undefined;
    switch (header.type) {
      case recordType.entry:
        this.#entry(state, position, record);
        break;
      case recordType.config:
        this.#config(state, record);
        if (state.damaged) return undefined;
        break;
      case recordType.cut:
        this.#cut(state, header, position);
        break;
      case recordType.commit:
        break;
    }
    return this.#raiseMark(state, header.commitMark);
  }

  /**
   * A record below the synced mark that can't be read; replay goes on at `resume`. Without a header
   * nobody knows whose it was, nor how many were lost up to there.
   */
  bad(position: Position, header: RecordHeader | undefined, resume: Position): void {
    const { from, asOf } = this.#checkpoint;
    // Applied and flushed long ago: not replay's concern, a read will find it.
    if (!isBefore(from, resume) || (header !== undefined && isBefore(position, from))) return;
    if (!this.#adopted && !isBefore(position, asOf)) this.#adopt(position);
    if (header === undefined) {
      this.#allDamaged ??= { shards: [], at: position, why: "unreadable record" };
    } else if (header.type === recordType.group || header.type === recordType.body) {
      this.damage.push({ shards: [], at: position, why: "damaged record without state" });
    } else if (header.type === recordType.tailEntry || header.type === recordType.tailMark) {
      this.#firsts.damaged(header.shard);
      this.damage.push({ shards: [], at: position, why: "damaged record of a tail" });
    } else {
      this.#damageShard(shardOf(this.table, header.shard), position, "damaged record");
    }
  }

  /** The log ends at `end`: settles what each shard has, and which are damaged. */
  async finish(end: Position): Promise<void> {
    if (!this.#adopted) {
      if (isBefore(end, this.#checkpoint.asOf)) {
        this.#allDamaged ??= { shards: [], at: end, why: "the log ends before CHECKPOINT" };
      }
      this.#adopt(end);
    }
    if (this.#allDamaged !== undefined) {
      for (const state of this.table.values()) state.damaged = true;
      this.#firsts.damaged();
      this.damage.push({ ...this.#allDamaged, shards: [...this.table.keys()] });
    }
    this.damage = this.damage.flatMap((found) => {
      const shards = found.shards.filter((shard) => this.table.get(shard)?.damaged === true);
      return shards.length === 0 && found.shards.length > 0 ? [] : [{ ...found, shards }];
    });
    for (const state of this.table.values()) {
      await this.#applyUpTo(state);
      const first = this.#tails.get(state.shard)?.[0];
      state.applied = first === undefined ? state.lastLsn : lsn(first.lsn - 1);
    }
  }

  #index(segment: number, { header, buffer, at, offset }: WalkedRecord): void {
    if (header.type === recordType.entry) {
      const hash = chainHash(buffer, at);
      const { length, headLength: headBytes } = header;
      this.#window.add(header.shard, header.lsn, { segment, offset, length, headBytes, hash });
    } else if (header.type === recordType.cut || header.type === recordType.restart) {
      this.#window.cut(header.shard, header.lsn, segment);
    }
  }

  #entry(state: ShardState, position: Position, record: WalkedRecord): void {
    const { header, buffer, at } = record;
    const follows = header.lsn === state.lastLsn + 1 && header.prevHash === state.lastHash;
    const begins = !this.#adopted && !this.#anchored.has(state.shard);
    if (!follows && !begins) {
      this.#damageShard(state, position, "the chain of entries is broken");
      return;
    }
    this.#anchored.add(state.shard);
    advance(state, header, chainHash(buffer, at));
    const headEnd = at + headerBytes + header.headLength;
    const entry: Entry = {
      shard: header.shard,
      lsn: header.lsn,
      epoch: header.epoch,
      opId: opIdAt(buffer, at),
      kind: header.kind,
      head: Uint8Array.from(buffer.subarray(at + headerBytes, headEnd)),
      location: {
        bodyOffset: position.offset + headerBytes + header.headLength,
        bodyBytes: header.length - headerBytes - header.headLength,
        ...position,
      },
    };
    const tail = this.#tails.get(state.shard);
    if (tail === undefined) this.#tails.set(state.shard, [entry]);
    else tail.push(entry);
  }

  #config(state: ShardState, { header, buffer, at }: WalkedRecord): void {
    const head = asBuffer(buffer.subarray(at + headerBytes, at + header.length));
    setConfig(state, {
      epoch: header.epoch,
      sealedEpoch: epoch(head.readDoubleBE(0)),
      config: Uint8Array.from(head.subarray(sealedEpochBytes)),
    });
  }

  #cut(state: ShardState, header: RecordHeader, position: Position): void {
    const known = this.#adopted || this.#anchored.has(state.shard);
    if (known && (header.lsn > state.lastLsn || header.lsn < state.commitMark)) {
      this.#damageShard(state, position, "a cut does not fit the log");
      return;
    }
    if (known) cutAt(state, header.lsn, header.prevHash);
    else advance(state, header, header.prevHash);
    this.#anchored.add(state.shard);
    const tail = this.#tails.get(state.shard) ?? [];
    const keep = tail.filter((entry) => entry.lsn <= header.lsn);
    this.#tails.set(state.shard, keep);
  }

  #raiseMark(state: ShardState, mark: Lsn): Promise<void> | undefined {
    state.commitMark = later(state.commitMark, mark);
    state.writtenMark = later(state.writtenMark, mark);
    return this.#applyUpTo(state);
  }

  #applyUpTo(state: ShardState): Promise<void> | undefined {
    const tail = this.#tails.get(state.shard);
    if (tail === undefined || state.damaged) return undefined;
    let done = 0;
    let waiting: Promise<void> | undefined;
    for (const entry of tail) {
      if (entry.lsn > state.commitMark) break;
      done += 1;
      if (waiting !== undefined) {
        waiting = waiting.then(() => this.#apply(entry));
        continue;
      }
      waiting = this.#apply(entry) ?? undefined;
    }
    if (done === tail.length) this.#tails.delete(state.shard);
    else if (done > 0) tail.splice(0, done);
    return waiting;
  }

  /** From here on CHECKPOINT's picture of the shards holds; what was followed so far must agree with it. */
  #adopt(position: Position): void {
    this.#adopted = true;
    for (const picture of this.#checkpoint.shards) {
      const state = shardOf(this.table, picture.shard);
      const agrees =
        !this.#anchored.has(picture.shard) ||
        (state.lastLsn === picture.lastLsn && state.lastHash === picture.lastHash);
      const damaged = state.damaged;
      Object.assign(state, { ...picture, damaged });
      if (picture.damaged) {
        this.#damageShard(state, position, "damaged before the last CHECKPOINT");
      } else if (!agrees) {
        this.#damageShard(state, position, "the log differs from CHECKPOINT");
      }
    }
  }

  #damageShard(state: ShardState, at: Position, why: string): void {
    state.damaged = true;
    this.#tails.delete(state.shard);
    this.damage.push({ shards: [state.shard], at, why });
  }
}

/**
 * Where replay would start: the first entry, over all shards, that `apply` has not had; undefined when
 * the window does not reach it.
 */
export async function lowestUnapplied(
  states: Iterable<ShardState>,
  window: LogWindow,
  end: Position,
): Promise<Position | undefined> {
  let lowest = end;
  for (const state of states) {
    if (state.damaged || state.applied >= state.lastLsn) continue;
    const place = await window.find(state.shard, lsn(state.applied + 1));
    if (place === undefined) return undefined;
    if (isBefore(place, lowest)) lowest = { segment: place.segment, offset: place.offset };
  }
  return lowest;
}

export function isBefore(one: Position, other: Position): boolean {
  return (
    one.segment < other.segment || (one.segment === other.segment && one.offset < other.offset)
  );
}
