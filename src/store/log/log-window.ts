// Where each entry of the newest segments lies: (shard, lsn) → place, chain hash. Kept in RAM for a
// few segments; older ones are walked again when a member that catches up asks for them.

import { assert } from "../../lib/assert.ts";
import type { Disk } from "../../lib/disk.ts";
import { lsn as makeLsn } from "../../mail/ids.ts";
import type { Lsn, ShardId } from "../../mail/ids.ts";
import type { Location } from "../journal.ts";
import { chainHash, fromTailRecord, headerBytes, recordType } from "./record.ts";
import { segmentHeaderBytes, segmentPath, walkSegment } from "./segment-file.ts";
import type { ChainHash, Position } from "./types.ts";

export interface EntryPlace extends Position {
  /** Of the whole record. */
  readonly length: number;
  readonly headBytes: number;
  readonly hash: ChainHash;
}

export function locationOf({ segment, offset, length, headBytes }: EntryPlace): Location {
  const bodyBytes = length - headerBytes - headBytes;
  return { segment, offset, bodyOffset: offset + length - bodyBytes, bodyBytes };
}

/** Consecutive entries of one shard in one segment. */
interface Run {
  firstLsn: number;
  readonly offsets: number[];
  readonly lengths: number[];
  readonly headBytes: number[];
  readonly hashes: number[];
}

type SegmentIndex = Map<ShardId, Run>;

const indexesMax = 16;

export class LogWindow {
  readonly #disk: Disk;
  readonly #folder: string;
  readonly #indexes = new Map<number, SegmentIndex>();
  /** The lowest lsn that each segment holds, or cuts off: what older segments have from there on is void. */
  readonly #lowest = new Map<number, Map<ShardId, Lsn>>();
  /** Segments below are not searched: they are gone, or a hole lies between. */
  #oldest: number;
  #newest = 0;
  /** Segments from here on may hold entries that are not on disk yet. */
  #durable = 0;

  /** Looks for entries of tail-first logs instead. */
  readonly #ofTails: boolean;

  constructor(disk: Disk, folder: string, oldest: number, ofTails = false) {
    this.#disk = disk;
    this.#folder = folder;
    this.#oldest = oldest;
    this.#ofTails = ofTails;
  }

  /** All before this segment is on disk, so that an index dropped from RAM can be made again. */
  setDurable(segment: number): void {
    this.#durable = segment;
  }

  get oldest(): number {
    return this.#oldest;
  }

  /** Notes an entry at the end of the log; called in file order. */
  add(shard: ShardId, lsn: Lsn, place: EntryPlace): void {
    addTo(this.#newestIndex(place.segment), shard, lsn, place);
    lower(this.#lowestOf(place.segment), shard, lsn);
  }

  /** Forgets what the newest segment holds of the shard above `after`; older ones are hidden by what follows. */
  cut(shard: ShardId, after: Lsn, segment: number): void {
    cutIn(this.#newestIndex(segment), shard, after);
    lower(this.#lowestOf(segment), shard, makeLsn(after + 1));
  }

  /** Segments up to `segment` are no longer part of the window. */
  dropUpTo(segment: number): void {
    this.#oldest = Math.max(this.#oldest, segment + 1);
    for (const known of this.#indexes.keys()) {
      if (known < this.#oldest) this.#indexes.delete(known);
    }
    for (const known of this.#lowest.keys()) {
      if (known < this.#oldest) this.#lowest.delete(known);
    }
  }

  /** The newest entry with that lsn, or undefined when the window doesn't reach it. */
  async find(shard: ShardId, lsn: Lsn): Promise<EntryPlace | undefined> {
    for (let segment = this.#newest; segment >= this.#oldest; segment--) {
      const index = this.#indexes.get(segment) ?? (await this.#load(segment));
      const place = placeIn(index, segment, shard, lsn);
      if (place !== undefined) return place;
    }
    return undefined;
  }

  /**
   * Like `find`, for an entry of this segment whose index is in RAM; undefined as well when a newer
   * segment holds another entry with that lsn, or may hold one.
   */
  findNow(shard: ShardId, lsn: Lsn, segment: number): EntryPlace | undefined {
    const index = this.#indexes.get(segment);
    const place = index === undefined ? undefined : placeIn(index, segment, shard, lsn);
    return place === undefined || this.#isHidden(shard, lsn, segment) ? undefined : place;
  }

  #isHidden(shard: ShardId, lsn: Lsn, segment: number): boolean {
    for (let newer = segment + 1; newer <= this.#newest; newer++) {
      const lowest = this.#lowest.get(newer);
      if (lowest === undefined || (lowest.get(shard) ?? Infinity) <= lsn) return true;
    }
    return false;
  }

  #lowestOf(segment: number): Map<ShardId, Lsn> {
    let lowest = this.#lowest.get(segment);
    if (lowest === undefined) this.#lowest.set(segment, (lowest = new Map<ShardId, Lsn>()));
    return lowest;
  }

  #newestIndex(segment: number): SegmentIndex {
    const known = this.#indexes.get(segment);
    if (known !== undefined) return known;
    const fresh: SegmentIndex = new Map();
    this.#newest = segment;
    this.#keep(segment, fresh);
    return fresh;
  }

  async #load(segment: number): Promise<SegmentIndex> {
    const index: SegmentIndex = new Map();
    const lowest = this.#lowestOf(segment);
    const file = await this.#disk.open(segmentPath(this.#folder, segment), "read");
    try {
      await walkSegment(file, segmentHeaderBytes, true, ({ header, buffer, at, offset }) => {
        const { type, shard, lsn, length, headLength: headBytes } = header;
        if (this.#ofTails) {
          if (type === recordType.tailMark) cutIn(index, shard, lsn);
          if (type === recordType.tailMark) lower(lowest, shard, makeLsn(lsn + 1));
          if (type !== recordType.tailEntry) return;
          const hash = chainHash(fromTailRecord(buffer.subarray(at, at + headerBytes)), 0);
          lower(lowest, shard, lsn);
          addTo(index, shard, lsn, { segment, offset, length, headBytes, hash });
        } else if (type === recordType.entry) {
          const hash = chainHash(buffer, at);
          lower(lowest, shard, lsn);
          addTo(index, shard, lsn, { segment, offset, length, headBytes, hash });
        } else if (type === recordType.cut || type === recordType.restart) {
          cutIn(index, shard, lsn);
          lower(lowest, shard, makeLsn(lsn + 1));
        }
      });
    } finally {
      await file.close();
    }
    if (segment < this.#newest) this.#keep(segment, index);
    return index;
  }

  #keep(segment: number, index: SegmentIndex): void {
    this.#indexes.set(segment, index);
    if (this.#indexes.size <= indexesMax) return;
    for (const known of this.#indexes.keys()) {
      if (known >= this.#durable || known === segment) continue;
      this.#indexes.delete(known);
      return;
    }
  }
}

function addTo(index: SegmentIndex, shard: ShardId, lsn: Lsn, place: EntryPlace): void {
  let run = index.get(shard);
  if (run === undefined || run.firstLsn + run.offsets.length !== lsn) {
    run = { firstLsn: lsn, offsets: [], lengths: [], headBytes: [], hashes: [] };
    index.set(shard, run);
  }
  run.offsets.push(place.offset);
  run.lengths.push(place.length);
  run.headBytes.push(place.headBytes);
  run.hashes.push(place.hash);
}

function lower(lowest: Map<ShardId, Lsn>, shard: ShardId, lsn: Lsn): void {
  if (lsn < (lowest.get(shard) ?? Infinity)) lowest.set(shard, lsn);
}

function cutIn(index: SegmentIndex, shard: ShardId, after: Lsn): void {
  const run = index.get(shard);
  if (run === undefined) return;
  const keep = Math.max(0, after + 1 - run.firstLsn);
  if (keep >= run.offsets.length) return;
  run.offsets.length = keep;
  run.lengths.length = keep;
  run.headBytes.length = keep;
  run.hashes.length = keep;
  if (keep === 0) index.delete(shard);
}

function placeIn(
  index: SegmentIndex,
  segment: number,
  shard: ShardId,
  lsn: Lsn,
): EntryPlace | undefined {
  const run = index.get(shard);
  if (run === undefined) return undefined;
  const at = lsn - run.firstLsn;
  const offset = run.offsets[at];
  const length = run.lengths[at];
  const headBytes = run.headBytes[at];
  const hash = run.hashes[at];
  if (offset === undefined || length === undefined) return undefined;
  assert(headBytes !== undefined && hash !== undefined, "a run's columns are equally long");
  return { segment, offset, length, headBytes, hash };
}
