// The segment log of one node, put together: appends through group commit, marks, reading back,
// CHECKPOINT. Recovery, rewriting and the files' forms are in the neighbours; what entries mean is
// the account engine's, and when they are committed is the journal's.

import { assert } from "../../lib/assert.ts";
import { asBuffer } from "../../lib/bytes.ts";
import type { Disk } from "../../lib/disk.ts";
import { MailError } from "../../mail/errors.ts";
import type { Lsn, ShardId } from "../../mail/ids.ts";
import type { EntryDraft, Location } from "../journal.ts";
import { writeCheckpoint } from "./checkpoint-file.ts";
import { outsideWindow, rewriteSegments } from "./garbage.ts";
import { type Group, GroupWriter, groupWriterOptions } from "./group-writer.ts";
import { type EntryPlace, locationOf, type LogWindow } from "./log-window.ts";
import {
  chainHash,
  decodeEntry,
  encodeRecord,
  headerBytes,
  opIdNone,
  type RecordFields,
  recordBytesMax,
  recordType,
} from "./record.ts";
import { readWindow } from "./read-window.ts";
import { type Recovered, recover, type SegmentInfo } from "./recovery.ts";
import { encodeConfigHead, lowestUnapplied } from "./replay.ts";
import { SegmentReader } from "./segment-reader.ts";
import { TailLog } from "./tail-log.ts";
import {
  abandonAt,
  advance,
  cutAt,
  entryFields,
  newShard,
  noteFields,
  restartAt,
  setConfig,
  shardOf,
  type ShardState,
} from "./shard-table.ts";
import type {
  Appended,
  BodyId,
  ChainHash,
  CommitGroup,
  EntriesRead,
  GarbageOwner,
  LogDamage,
  Position,
  RawEntry,
  RewriteResult,
  SegmentLog,
  SegmentLogOptions,
  SegmentUse,
  ShardConfigRecord,
  ShardLogState,
} from "./types.ts";

const noBytes = new Uint8Array(0);

/**
 * Opens the log in `folder` (made when missing), replays it into `options.apply` and makes its end
 * fit for appending. One process at a time: the caller holds the folder's lock.
 * @throws {MailError} DAMAGED (CHECKPOINT or a whole segment is unreadable), INVALID (newer format,
 * other store).
 */
export async function openSegmentLog(
  disk: Disk,
  folder: string,
  options: SegmentLogOptions,
): Promise<SegmentLog> {
  return new Log(disk, folder, options, await recover(disk, folder, options));
}

class Log implements SegmentLog {
  readonly damage: readonly LogDamage[];
  readonly tails: TailLog;
  readonly #disk: Disk;
  readonly #folder: string;
  readonly #options: SegmentLogOptions;
  readonly #table: Map<ShardId, ShardState>;
  readonly #window: LogWindow;
  readonly #segments: Map<number, SegmentInfo>;
  readonly #reader: SegmentReader;
  readonly #writer: GroupWriter;
  readonly #listeners: ((group: CommitGroup) => void)[] = [];
  #durableEnd: Position;
  #checkpointFrom: Position;
  #windowBytesMax: number | undefined;
  #checkpointing: Promise<unknown> = Promise.resolve();

  constructor(disk: Disk, folder: string, options: SegmentLogOptions, found: Recovered) {
    this.#disk = disk;
    this.#folder = folder;
    this.#options = options;
    this.#table = found.replay.table;
    this.damage = found.replay.damage;
    this.#window = found.window;
    this.#segments = found.segments;
    this.#reader = new SegmentReader(disk, folder);
    this.#durableEnd = { segment: found.last.segment, offset: found.last.end };
    this.#checkpointFrom = found.from;
    this.#writer = new GroupWriter(
      groupWriterOptions(disk, folder, options, {
        onDurable: (group, end) => this.#onDurable(group, end),
        onSegment: (segment, createdMs) => this.#segments.set(segment, { createdMs, bytes: 0 }),
      }),
      found.last,
    );
    this.tails = new TailLog(found.tails, this.#reader, this.#writer, (...record) =>
      this.#place(...record),
    );
  }

  get shards(): ReadonlyMap<ShardId, ShardLogState> {
    return this.#table;
  }

  get end(): Position {
    return this.#writer.end;
  }

  state(shard: ShardId): ShardLogState {
    return this.#table.get(shard) ?? newShard(shard);
  }

  append(draft: EntryDraft): Appended {
    const state = this.#sound(draft.shard);
    const bodyBytes = draft.body?.byteLength ?? 0;
    const length = headerBytes + draft.head.byteLength + bodyBytes;
    this.#admit(length);
    const fields = entryFields(state, draft);
    const header = encodeRecord(fields, draft.head, draft.body);
    const parts = draft.body === undefined || bodyBytes === 0 ? [header] : [header, draft.body];
    return this.#placeEntry(state, fields, header, parts, length, bodyBytes);
  }

  appendRaw(record: Uint8Array, decoded?: RawEntry): Appended {
    const entry = record.length > recordBytesMax ? undefined : (decoded ?? decodeEntry(record));
    if (entry === undefined) throw new MailError({ code: "INVALID", why: "not an entry" });
    const state = this.#sound(entry.shard);
    if (entry.lsn !== state.lastLsn + 1 || entry.prevHash !== state.lastHash) {
      const why = `entry ${entry.lsn} of shard ${entry.shard} does not follow ${state.lastLsn}`;
      throw new MailError({ code: "CONFLICT", why });
    }
    if (entry.commitMark >= entry.lsn) {
      throw new MailError({
        code: "INVALID",
        why: "an entry is not committed before it is logged",
      });
    }
    this.#admit(record.byteLength);
    const header = asBuffer(record);
    const bodyBytes = entry.body.byteLength;
    const length = record.byteLength;
    return this.#placeEntry(state, entry, header, [record], length, bodyBytes, entry.hash);
  }

  writeConfig(shard: ShardId, record: ShardConfigRecord): CommitGroup {
    const state = shardOf(this.#table, shard);
    assert(record.epoch >= state.epoch, "a shard's epoch never goes back");
    assert(record.sealedEpoch >= state.sealedEpoch, "a sealed epoch stays sealed");
    const head = encodeConfigHead(record.sealedEpoch, record.config);
    const fields = { ...noteFields(state, recordType.config, opIdNone), epoch: record.epoch };
    const { group } = this.#placeNote(fields, head);
    setConfig(state, { ...record, config: Uint8Array.from(record.config) });
    return group;
  }

  cut(shard: ShardId, after: Lsn, hash: ChainHash): CommitGroup {
    const state = this.#sound(shard);
    const fields = noteFields(state, recordType.cut, opIdNone);
    assert(after >= state.commitMark && after <= state.lastLsn, "a cut lies in the unapplied tail");
    const placed = this.#placeNote({ ...fields, lsn: after, prevHash: hash });
    cutAt(state, after, hash);
    this.#window.cut(shard, after, placed.location.segment);
    return placed.group;
  }

  abandon(shard: ShardId): CommitGroup {
    const state = shardOf(this.#table, shard);
    const placed = this.#placeNote(noteFields(state, recordType.abandon, opIdNone));
    abandonAt(state, placed.location);
    return placed.group;
  }

  appendBody(
    { shard, lsn: of, part: kind }: BodyId,
    bytes: Uint8Array,
  ): { readonly location: Location; readonly group: CommitGroup } {
    const fields = noteFields(newShard(shard), recordType.body, opIdNone);
    return this.#placeNote({ ...fields, lsn: of, kind }, noBytes, bytes);
  }

  restart(shard: ShardId, after: Lsn, hash: ChainHash): CommitGroup {
    const state = shardOf(this.#table, shard);
    const fields = noteFields(state, recordType.restart, opIdNone);
    const note = { ...fields, lsn: after, prevHash: hash, commitMark: after };
    const placed = this.#placeNote(note);
    restartAt(state, placed.location, after, hash);
    this.#window.cut(shard, after, placed.location.segment);
    return placed.group;
  }

  setCommitMark(shard: ShardId, mark: Lsn): void {
    const state = this.#table.get(shard);
    assert(state !== undefined && mark <= state.lastLsn, "only logged entries are committed");
    if (mark > state.commitMark) state.commitMark = mark;
  }

  setApplied(shard: ShardId, applied: Lsn): void {
    const state = this.#table.get(shard);
    const known = state !== undefined && applied <= state.commitMark;
    assert(known, "only committed entries are applied");
    if (applied > state.applied) state.applied = applied;
  }

  settled(): Promise<void> {
    return this.#writer.settle();
  }

  onDurable(listener: (group: CommitGroup) => void): void {
    this.#listeners.push(listener);
  }

  async hashAt(shard: ShardId, at: Lsn): Promise<ChainHash | undefined> {
    const state = this.state(shard);
    if (at === state.lastLsn) return state.lastHash;
    return (await this.#find(shard, at))?.hash;
  }

  async locate(shard: ShardId, at: Lsn): Promise<Location | undefined> {
    const place = await this.#find(shard, at);
    return place === undefined ? undefined : locationOf(place);
  }

  async readEntries(shard: ShardId, from: Lsn, maxBytes: number): Promise<EntriesRead> {
    const { floor, lastLsn } = this.#table.get(shard) ?? newShard(shard);
    if (from <= floor) return { kind: "pruned" };
    const log = { window: this.#window, reader: this.#reader, durableEnd: this.#durableEnd };
    return readWindow(log, { shard, from, last: lastLsn, maxBytes });
  }

  read(location: Location): Promise<Uint8Array> {
    return this.#reader.read(location);
  }

  readMany(locations: readonly Location[]): Promise<readonly Uint8Array[]> {
    return this.#reader.readMany(locations);
  }

  checkpoint(): Promise<Position> {
    const next = this.#checkpointing.then(() => this.#checkpoint());
    this.#checkpointing = next.catch(() => undefined); // The caller hears of it; the next one tries anew.
    return next;
  }

  resizeWindow(bytesMax: number | undefined): void {
    this.#windowBytesMax = bytesMax;
  }

  collectable(): readonly SegmentUse[] {
    const { clock, windowMs = 86_400_000 } = this.#options;
    const bytesMax = this.#windowBytesMax ?? this.#options.windowBytesMax ?? 2 ** 31;
    const window = { oldestMs: clock.nowMs() - windowMs, bytesMax };
    return outsideWindow(this.#segments, this.#checkpointFrom.segment, window);
  }

  rewrite(segments: readonly number[], owner: GarbageOwner): Promise<RewriteResult> {
    const allowed = new Set(this.collectable().map(({ segment }) => segment));
    const known = segments.every((segment) => allowed.has(segment));
    assert(known, "only collectable segments are rewritten");
    const log = {
      disk: this.#disk,
      folder: this.#folder,
      read: (location: Location) => this.read(location),
      appendBody: (id: BodyId, body: Uint8Array) => this.appendBody(id, body),
      checkpoint: () => this.checkpoint(),
      forget: async (segment: number) => {
        this.#segments.delete(segment);
        this.#window.dropUpTo(segment);
        this.tails.dropUpTo(segment);
        await this.#reader.drop(segment);
      },
    };
    return rewriteSegments(log, segments, owner);
  }

  async close(): Promise<void> {
    await this.#checkpointing;
    if (!this.#writer.failed) {
      await this.#writer.settle();
      for (const state of this.#table.values()) {
        if (state.commitMark === state.writtenMark || state.damaged) continue;
        this.#placeNote(noteFields(state, recordType.commit, opIdNone));
      }
      await this.#writer.settle();
    }
    await this.#writer.close();
    await this.#reader.close();
  }

  #find(shard: ShardId, at: Lsn): Promise<EntryPlace | undefined> {
    const { floor, lastLsn } = this.#table.get(shard) ?? newShard(shard);
    if (at <= floor || at > lastLsn) return Promise.resolve(undefined);
    return this.#window.find(shard, at);
  }

  /** The state of a shard that may take entries. */
  #sound(shard: ShardId): ShardState {
    const state = shardOf(this.#table, shard);
    const what = `shard ${shard} on this node`;
    if (state.damaged) throw new MailError({ code: "DAMAGED", what });
    return state;
  }

  #admit(length: number): void {
    if (length > recordBytesMax) {
      throw new MailError({ code: "LIMIT", limit: "recordBytesMax", most: recordBytesMax });
    }
    this.#writer.admit(length);
  }

  #placeEntry(
    state: ShardState,
    entry: Pick<RecordFields, "shard" | "lsn" | "epoch" | "commitMark">,
    header: Buffer,
    parts: readonly Uint8Array[],
    length: number,
    bodyBytes: number,
    hash: ChainHash = chainHash(header, 0),
  ): Appended {
    const { group, location } = this.#place(parts, length, bodyBytes);
    const { segment, offset } = location;
    group.marks.set(entry.shard, entry.lsn);
    advance(state, entry, hash);
    const headBytes = length - headerBytes - bodyBytes;
    this.#window.add(entry.shard, entry.lsn, { segment, offset, length, headBytes, hash });
    return { lsn: entry.lsn, epoch: entry.epoch, hash, location, group, parts };
  }

  #placeNote(
    fields: RecordFields,
    head: Uint8Array = noBytes,
    body?: Uint8Array,
  ): { location: Location; group: Group } {
    const bodyBytes = body?.byteLength ?? 0;
    const length = headerBytes + head.byteLength + bodyBytes;
    // Marks, cuts and configs were decided already: a full queue refuses bodies only.
    this.#admit(fields.type === recordType.body ? length : 0);
    const header = encodeRecord(fields, head, body);
    const placed = this.#place(body === undefined ? [header] : [header, body], length, bodyBytes);
    const state = this.#table.get(fields.shard);
    if (state !== undefined && fields.type !== recordType.body) {
      state.writtenMark = fields.commitMark;
    }
    return placed;
  }

  #place(
    parts: readonly Uint8Array[],
    length: number,
    bodyBytes: number,
  ): { location: Location; group: Group } {
    const group = this.#writer.place(length);
    const { segment, offset } = this.#writer.end;
    this.#writer.put(group, parts, length);
    return {
      group,
      location: { segment, offset, bodyOffset: offset + length - bodyBytes, bodyBytes },
    };
  }

  #onDurable(group: CommitGroup, end: Position): void {
    this.#durableEnd = end;
    this.#window.setDurable(end.segment);
    this.tails.setDurable(end);
    const info = this.#segments.get(end.segment);
    if (info !== undefined) this.#segments.set(end.segment, { ...info, bytes: end.offset });
    for (const listener of this.#listeners) listener(group);
  }

  async #checkpoint(): Promise<Position> {
    const lowest = await lowestUnapplied(this.#table.values(), this.#window, this.#writer.end);
    const from = this.tails.lowest(lowest ?? this.#checkpointFrom);
    const asOf = this.#writer.end;
    const shards = [...this.#table.values()].map((state) => ({ ...state }));
    await this.#writer.settle();
    await this.#options.flush();
    await writeCheckpoint(this.#disk, this.#folder, { from, asOf, shards });
    for (const { shard, commitMark } of shards) {
      const state = shardOf(this.#table, shard);
      if (state.writtenMark < commitMark) state.writtenMark = commitMark;
    }
    this.#checkpointFrom = from;
    return from;
  }
}
