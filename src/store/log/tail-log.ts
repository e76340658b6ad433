// Tail-first logs: a second, small log of a shard whose own copy is still being filled. Its records lie
// among all others and are synced with them; they are never applied, only read back. What is kept pins
// CHECKPOINT, so that replay finds all of it. When a tail is needed is the cluster's knowledge.

import { assert } from "../../lib/assert.ts";
import { MailError } from "../../mail/errors.ts";
import { epoch, lsn, type Lsn, type ShardId } from "../../mail/ids.ts";
import type { Location } from "../journal.ts";
import type { Group, GroupWriter } from "./group-writer.ts";
import type { LogWindow } from "./log-window.ts";
import { readWindow } from "./read-window.ts";
import {
  asTailRecord,
  chainHash,
  decodeEntry,
  encodeRecord,
  fromTailRecord,
  headerBytes,
  opIdNone,
  recordBytesMax,
  recordType,
} from "./record.ts";
import type { RecordHeader } from "./record.ts";
import { isBefore } from "./replay.ts";
import type { SegmentReader } from "./segment-reader.ts";
import type { WalkedRecord } from "./segment-file.ts";
import type {
  Appended,
  ChainHash,
  CommitGroup,
  EntriesRead,
  Position,
  RawEntry,
  TailLogs,
  TailLogState,
} from "./types.ts";

interface Tail extends TailLogState {
  readonly start: Position;
  lastLsn: Lsn;
  lastHash: ChainHash;
}

/** `kind` of a tailMark record; numbers are part of the format. */
const mark = { start: 0, cut: 1, drop: 2 } as const;

/** Puts a record into the log's current group. */
export type PlaceRecord = (
  parts: readonly Uint8Array[],
  length: number,
  bodyBytes: number,
) => { readonly location: Location; readonly group: Group };

/** Which tails there are: filled by replay, then kept by TailLog. */
export class TailTable {
  readonly tails = new Map<ShardId, Tail>();
  readonly window: LogWindow;

  constructor(window: LogWindow) {
    this.window = window;
  }

  /** One intact record of replay; others than a tail's are passed over. */
  replay(segment: number, { header, buffer, at, offset }: WalkedRecord): void {
    if (header.type === recordType.tailMark) {
      this.mark(header, { segment, offset });
    } else if (header.type === recordType.tailEntry) {
      const tail = this.tails.get(header.shard);
      const follows = tail?.lastLsn === header.lsn - 1 && tail.lastHash === header.prevHash;
      if (tail === undefined) return;
      if (!follows) return this.damaged(header.shard);
      const hash = chainHash(fromTailRecord(buffer.subarray(at, at + headerBytes)), 0);
      const { length, headLength: headBytes } = header;
      this.add(tail, header.shard, header.lsn, { segment, offset, length, headBytes, hash });
    }
  }

  /** A hole: nobody may believe that the tail holds what was acknowledged. */
  damaged(shard?: ShardId): void {
    if (shard === undefined) this.tails.clear();
    else this.tails.delete(shard);
  }

  mark(
    {
      shard,
      kind,
      lsn: after,
      prevHash,
    }: Pick<RecordHeader, "shard" | "kind" | "lsn" | "prevHash">,
    position: Position,
  ): void {
    const tail = this.tails.get(shard);
    if (kind === mark.start) {
      const base = { baseLsn: after, baseHash: prevHash, lastLsn: after, lastHash: prevHash };
      this.tails.set(shard, { start: position, ...base });
      this.window.cut(shard, after, position.segment);
    } else if (kind === mark.drop) {
      this.tails.delete(shard);
    } else if (tail !== undefined && after >= tail.baseLsn && after <= tail.lastLsn) {
      tail.lastLsn = after;
      tail.lastHash = prevHash;
      this.window.cut(shard, after, position.segment);
    } else {
      this.damaged(shard);
    }
  }

  add(tail: Tail, shard: ShardId, at: Lsn, place: Parameters<LogWindow["add"]>[2]): void {
    tail.lastLsn = at;
    tail.lastHash = place.hash;
    this.window.add(shard, at, place);
  }
}

export class TailLog implements TailLogs {
  readonly #table: TailTable;
  readonly #reader: SegmentReader;
  readonly #writer: Pick<GroupWriter, "admit" | "end">;
  readonly #place: PlaceRecord;
  #durableEnd: Position;

  constructor(
    table: TailTable,
    reader: SegmentReader,
    writer: Pick<GroupWriter, "admit" | "end">,
    place: PlaceRecord,
  ) {
    this.#table = table;
    this.#reader = reader;
    this.#writer = writer;
    this.#place = place;
    this.#durableEnd = writer.end;
  }

  setDurable(end: Position): void {
    this.#durableEnd = end;
    this.#table.window.setDurable(end.segment);
  }

  dropUpTo(segment: number): void {
    this.#table.window.dropUpTo(segment);
  }

  /** The first record that replay needs for the tails, if it lies before `other`; else that. */
  lowest(other: Position): Position {
    let lowest = other;
    for (const { start } of this.#table.tails.values()) if (isBefore(start, lowest)) lowest = start;
    return { segment: lowest.segment, offset: lowest.offset };
  }

  state(shard: ShardId): TailLogState | undefined {
    return this.#table.tails.get(shard);
  }

  start(shard: ShardId, after: Lsn, hash: ChainHash): CommitGroup {
    return this.#mark(shard, mark.start, after, hash);
  }

  cut(shard: ShardId, after: Lsn, hash: ChainHash): CommitGroup {
    const tail = this.#need(shard);
    assert(after >= tail.baseLsn && after <= tail.lastLsn, "a cut lies in the tail");
    return this.#mark(shard, mark.cut, after, hash);
  }

  drop(shard: ShardId): CommitGroup {
    return this.#mark(shard, mark.drop, lsn(0), 0);
  }

  append(record: Uint8Array, decoded?: RawEntry): Appended {
    const entry = record.length > recordBytesMax ? undefined : (decoded ?? decodeEntry(record));
    if (entry === undefined) throw new MailError({ code: "INVALID", why: "not an entry" });
    const tail = this.#need(entry.shard);
    if (entry.lsn !== tail.lastLsn + 1 || entry.prevHash !== tail.lastHash) {
      const why = `entry ${entry.lsn} of shard ${entry.shard} does not follow ${tail.lastLsn}`;
      throw new MailError({ code: "CONFLICT", why });
    }
    const length = record.byteLength;
    this.#writer.admit(length);
    const bodyBytes = entry.body.byteLength;
    const { header, rest } = asTailRecord(record);
    const written = rest.byteLength === 0 ? [header] : [header, rest];
    const { location, group } = this.#place(written, length, bodyBytes);
    const { segment, offset } = location;
    const headBytes = length - headerBytes - bodyBytes;
    const { hash } = entry;
    this.#table.add(tail, entry.shard, entry.lsn, { segment, offset, length, headBytes, hash });
    (group.tails ??= new Set()).add(entry.shard);
    return { lsn: entry.lsn, epoch: entry.epoch, hash, location, group, parts: [record] };
  }

  async read(shard: ShardId, from: Lsn, maxBytes: number): Promise<EntriesRead> {
    const tail = this.#table.tails.get(shard);
    if (tail === undefined || from <= tail.baseLsn) return { kind: "pruned" };
    const { window } = this.#table;
    const log = { window, reader: this.#reader, durableEnd: this.#durableEnd };
    return readWindow(log, { shard, from, last: tail.lastLsn, maxBytes }, fromTailRecord);
  }

  async hashes(shard: ShardId): Promise<readonly ChainHash[]> {
    const tail = this.#need(shard);
    const hashes: ChainHash[] = [];
    for (let at = tail.baseLsn + 1; at <= tail.lastLsn; at += 1) {
      const place = await this.#table.window.find(shard, lsn(at));
      assert(place !== undefined, "what is kept of a tail is in the log");
      hashes.push(place.hash);
    }
    return hashes;
  }

  #need(shard: ShardId): Tail {
    const tail = this.#table.tails.get(shard);
    assert(tail !== undefined, "a tail is started before it is used");
    return tail;
  }

  #mark(shard: ShardId, kind: number, after: Lsn, hash: ChainHash): CommitGroup {
    const numbers = { epoch: epoch(0), commitMark: lsn(0), opId: opIdNone };
    const fields = { type: recordType.tailMark, shard, kind, lsn: after, prevHash: hash };
    this.#writer.admit(0);
    const header = encodeRecord({ ...numbers, ...fields }, new Uint8Array(0));
    const { location, group } = this.#place([header], header.byteLength, 0);
    this.#table.mark(fields, { segment: location.segment, offset: location.offset });
    return group;
  }
}
