// The segment log's contract: what it stores, what it hands back after a crash, and what callers
// (the account engine, the local journal, the cluster's replica) may ask of it. The code is in
// segment-log.ts; blob files are in blob-store.ts.

import type { Clock } from "../../lib/clock.ts";
import type { Random } from "../../lib/random.ts";
import type { Epoch, Lsn, OpId, ShardId, StoreId } from "../../mail/ids.ts";
import type { Entry, EntryDraft, Location } from "../journal.ts";

/** The place of a record in the log; later records have greater (segment, offset). */
export interface Position {
  readonly segment: number;
  readonly offset: number;
}

/**
 * Hash of a shard's log up to and with one entry, a safe integer below 2^53; 0 before the first
 * entry. Equal (lsn, hash) on two members means equal logs up to there. Not cryptographic.
 */
export type ChainHash = number;

/** A shard's configuration as the cluster persists it; `config` is opaque here. */
export interface ShardConfigRecord {
  readonly epoch: Epoch;
  readonly sealedEpoch: Epoch;
  readonly config: Uint8Array;
}

/** What the log knows of one shard. A shard that never wrote has zeros and an empty config. */
export interface ShardLogState extends ShardConfigRecord {
  readonly shard: ShardId;
  readonly lastLsn: Lsn;
  readonly lastHash: ChainHash;
  /** All entries up to here are committed; entries above are the unapplied tail. */
  readonly commitMark: Lsn;
  /** Entries up to here were handed to `apply`. */
  readonly applied: Lsn;
  /** This copy can't be trusted: nothing is appended or served until `restart` makes it anew. */
  readonly damaged: boolean;
}

/** Several records that become durable with one fdatasync. */
export interface CommitGroup {
  /** Resolves when the group is on disk; rejects when the log has failed. Shared: no promise per record. */
  readonly durable: Promise<void>;
  /** Highest lsn of each shard that has entries in the group. */
  readonly marks: ReadonlyMap<ShardId, Lsn>;
  /** Shards with entries of their tail-first logs in the group. */
  readonly tails: ReadonlySet<ShardId> | undefined;
}

/** The answer to an append: known at once, durable with its group. */
export interface Appended {
  readonly lsn: Lsn;
  readonly epoch: Epoch;
  readonly hash: ChainHash;
  readonly location: Location;
  readonly group: CommitGroup;
  /** The record's bytes, to ship as they are: header with head, then the body when there is one. */
  readonly parts: readonly Uint8Array[];
}

/** One record of the wire or the disk, decoded and checked. Byte fields are views into the record. */
export interface RawEntry {
  readonly shard: ShardId;
  readonly lsn: Lsn;
  readonly epoch: Epoch;
  readonly opId: OpId;
  readonly kind: number;
  readonly commitMark: Lsn;
  readonly prevHash: ChainHash;
  readonly hash: ChainHash;
  readonly head: Uint8Array;
  readonly body: Uint8Array;
}

/** Something that was synced and can't be read any more. */
export interface LogDamage {
  /** Shards whose copy on this node is DAMAGED from here on; it must be made anew from a peer. */
  readonly shards: readonly ShardId[];
  readonly at: Position;
  readonly why: string;
}

export interface SegmentLogOptions {
  readonly storeId: StoreId;
  readonly clock: Clock;
  readonly random: Random;
  /** Runs for each committed entry found at open, in lsn order per shard; a promise is waited for. */
  readonly apply: (entry: Entry) => void | Promise<void>;
  /**
   * Makes everything applied so far survive a power loss (drain the batch queue, then make LevelDB
   * write its memtable to a synced table). `checkpoint` calls it before it moves CHECKPOINT.
   */
  readonly flush: () => Promise<void>;
  /** A write found no room: true when some was made and it is to be tried once more. */
  readonly giveWay?: () => Promise<boolean>;
  /** Runs once when a write or a sync has failed: the process must hand over and exit. */
  readonly onFatal: (error: unknown) => void;
  /** Default 64 MiB: a group that begins behind this many bytes opens the next segment. */
  readonly segmentBytes?: number;
  /** Default 4 MiB. */
  readonly groupBytesMax?: number;
  /** Default 64 MiB: appended and not yet durable; more is refused with BUSY. */
  readonly queueBytesMax?: number;
  /** Log window: segments younger than this (default 24 h) stay, … */
  readonly windowMs?: number;
  /** … but at most so many bytes of them (default 2 GiB; the caller knows the size of the disk). */
  readonly windowBytesMax?: number;
}

/** Raw entries read back for a member that catches up. `PRUNED`: the log no longer reaches back to `fromLsn`. */
export type EntriesRead =
  | { readonly kind: "entries"; readonly records: readonly Uint8Array[] }
  | { readonly kind: "pruned" };

/** Which body a record carries: replicated name of a body, `part` 0 for the body of an entry. */
export interface BodyId {
  readonly shard: ShardId;
  readonly lsn: Lsn;
  readonly part: number;
}

export interface StoredBody extends BodyId {
  readonly location: Location;
}

/** What garbage rewriting asks of the engine, which owns `bodyId → location`. */
export interface GarbageOwner {
  /**
   * For each body: a sort hint (bodies are rewritten in ascending order of it, so that one
   * account's become neighbours), or undefined when nothing refers to that location any more.
   */
  liveOrder(bodies: readonly StoredBody[]): Promise<readonly (number | undefined)[]>;
  /** The copy is durable: switch the location, if it is still `from`. */
  relocate(body: BodyId, from: Location, to: Location): Promise<void>;
}

export interface SegmentUse {
  readonly segment: number;
  readonly bytes: number;
}

export interface RewriteResult {
  readonly removed: readonly number[];
  /** Live bodies that can't be read; their segments stay. */
  readonly damaged: readonly StoredBody[];
  /** Segments whose records can't all be found; they stay. */
  readonly unreadable: readonly number[];
}

/** A tail-first log: what lies behind (baseLsn, baseHash), without holes. */
export interface TailLogState {
  readonly baseLsn: Lsn;
  readonly baseHash: ChainHash;
  readonly lastLsn: Lsn;
  readonly lastHash: ChainHash;
}

/** Tail-first logs of shards whose own copy is being filled. Errors as of `append` and `appendRaw`. */
export interface TailLogs {
  /** Undefined: none is kept (it may have been lost by damage). */
  state(shard: ShardId): TailLogState | undefined;
  /** Begins one; whatever was kept is void. */
  start(shard: ShardId, after: Lsn, hash: ChainHash): CommitGroup;
  append(record: Uint8Array, decoded?: RawEntry): Appended;
  cut(shard: ShardId, after: Lsn, hash: ChainHash): CommitGroup;
  drop(shard: ShardId): CommitGroup;
  /** As `readEntries`: the records are the entries', as they were given to `append`. */
  read(shard: ShardId, fromLsn: Lsn, maxBytes: number): Promise<EntriesRead>;
  /** Hashes of all entries kept, in order. */
  hashes(shard: ShardId): Promise<readonly ChainHash[]>;
}

/** The log of one node: all shards share it, and one fdatasync serves everyone who waits. */
export interface SegmentLog {
  /** Shards of this log, by number. */
  readonly shards: ReadonlyMap<ShardId, ShardLogState>;
  /** Damage found at open; later finds reject the read with MailError DAMAGED. */
  readonly damage: readonly LogDamage[];
  state(shard: ShardId): ShardLogState;
  readonly tails: TailLogs;

  /**
   * Gives the entry its shard's next lsn, current epoch and commit mark, and joins the current group.
   * @throws {MailError} BUSY (queue full), LIMIT (record too long), UNAVAILABLE (the log has failed).
   */
  append(draft: EntryDraft): Appended;
  /**
   * Appends an entry as it came from the primary, byte for byte. Takes over `record`: don't change it.
   * `decoded` is what `decodeEntry` gave of it, when its checksums were proved already.
   * @throws {MailError} INVALID (checksum, form), CONFLICT (not the next of its shard's chain), and as `append`.
   */
  appendRaw(record: Uint8Array, decoded?: RawEntry): Appended;
  /** Persists epoch, sealed epoch and config of a shard; neither epoch may go back. */
  writeConfig(shard: ShardId, record: ShardConfigRecord): CommitGroup;
  /** Cuts the shard's unapplied tail: the log goes on behind `after`, which must not be below the commit mark. */
  cut(shard: ShardId, after: Lsn, hash: ChainHash): CommitGroup;
  /**
   * The copy is no more: nothing of it is replayed from here on, and it is damaged until `restart`.
   * Durable, and CHECKPOINT moved, before anything of the copy is removed.
   */
  abandon(shard: ShardId): CommitGroup;
  /** A body that came with a copy, not with an entry: it lies in the log as one that was rewritten. */
  appendBody(
    body: BodyId,
    bytes: Uint8Array,
  ): { readonly location: Location; readonly group: CommitGroup };
  /** The copy is made anew: the shard's log goes on behind (after, hash), whatever it held; all before counts as applied. */
  restart(shard: ShardId, after: Lsn, hash: ChainHash): CommitGroup;

  /** Entries up to `lsn` are committed; later records carry the mark, and `checkpoint` and `close` write it. */
  setCommitMark(shard: ShardId, lsn: Lsn): void;
  /** Entries up to `lsn` have been handed to `apply`: CHECKPOINT may pass them. */
  setApplied(shard: ShardId, lsn: Lsn): void;
  /** Resolves when everything appended so far is durable. @throws {MailError} as `append`. */
  settled(): Promise<void>;
  /** Runs after each group's sync, in order, before its `durable` resolves. */
  onDurable(listener: (group: CommitGroup) => void): void;

  /** The hash at `lsn`, or undefined when that is not in the kept log. */
  hashAt(shard: ShardId, lsn: Lsn): Promise<ChainHash | undefined>;
  /** Where entry `lsn` of the shard lies, or undefined when that is not in the kept log. */
  locate(shard: ShardId, lsn: Lsn): Promise<Location | undefined>;
  /** Durable entries from `fromLsn` on, at least one if there is any, at most about `maxBytes`. */
  readEntries(shard: ShardId, fromLsn: Lsn, maxBytes: number): Promise<EntriesRead>;
  /** The body at a location. @throws {MailError} DAMAGED; SegmentGone when it was rewritten: look the location up again. */
  read(location: Location): Promise<Uint8Array>;
  /** Bodies in the order asked; neighbours are read with one pread. Errors as `read`. */
  readMany(locations: readonly Location[]): Promise<readonly Uint8Array[]>;

  /** Flushes, then moves CHECKPOINT up to the lowest entry not applied, and returns it. */
  checkpoint(): Promise<Position>;
  /** Another size of the log window than that of the options; undefined: that again. */
  resizeWindow(bytesMax: number | undefined): void;
  /** Segments wholly below CHECKPOINT and outside the log window, oldest first. */
  collectable(): readonly SegmentUse[];
  /** Copies the live bodies of collectable segments, switches them, flushes, checkpoints, unlinks. */
  rewrite(segments: readonly number[], owner: GarbageOwner): Promise<RewriteResult>;
  /** Where the next record goes. */
  readonly end: Position;
  /** Waits for the last group, writes the commit marks, closes the files. */
  close(): Promise<void>;
}
