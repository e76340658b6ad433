// Puts a node's store together: data folder, log, LevelDB, engine, replay, checkpoints and upkeep.
// With a journal of the cluster's or, without one, the local journal, which needs no other node.

import { Level } from "level";
import { assert } from "../lib/assert.ts";
import type { Clock } from "../lib/clock.ts";
import type { Disk } from "../lib/disk.ts";
import { opIdMaker } from "../lib/id-maker.ts";
import type { Random } from "../lib/random.ts";
import { MailError } from "../mail/errors.ts";
import { opId, storeId } from "../mail/ids.ts";
import type { ShardId, StoreId } from "../mail/ids.ts";
import { DiskRoom } from "./disk-room.ts";
import type { DiskLimits } from "./disk-room.ts";
import { BodyGarbage } from "./body-garbage.ts";
import type { BodySource } from "./body-source.ts";
import { Engine } from "./engine.ts";
import type { Journal } from "./journal.ts";
import { space } from "./keyspace.ts";
import { defaultStoreLimits } from "./limits.ts";
import type { StoreLimits } from "./limits.ts";
import { LocalJournal } from "./local-journal.ts";
import { LocalMailStore } from "./local-mail-store.ts";
import { BlobStore } from "./log/blob-store.ts";
import { openSegmentLog } from "./log/segment-log.ts";
import type { SegmentLog, SegmentLogOptions } from "./log/types.ts";
import { LogBodies } from "./log-bodies.ts";
import { Repairs } from "./repairs.ts";
import type { DamageKind, Mended } from "./repairs.ts";
import { defaultScrubLimits, Scrubber } from "./scrubber.ts";
import type { ScrubLimits } from "./scrubber.ts";
import { StoreCopies } from "./store-copies.ts";
import { RegistrationFeed } from "./registration-feed.ts";
import { disposableAt } from "./search-index/index-rows.ts";
import { SearchIndex } from "./search-index/search-index.ts";
import type { SearchIndexOptions } from "./search-index/search-index.ts";
import { textScanner } from "./search-index/text-scanner.ts";
import { SpoolDrain } from "./spool-drain.ts";
import { beginRow, endRow, openRow } from "./row.ts";
import { Upkeep } from "./upkeep.ts";
import { WriteQueue } from "./write-queue.ts";
import type { Database } from "./write-queue.ts";

/** Raised when rows or keys change their form; older forms are migrated at open. */
/** As that of segments (log/segment-file.ts): a folder of 1 becomes one of 2 when it is opened. */
const formatVersion = 2;
const storeFile = "STORE";
const noDiskLimits = { mailFreePerMille: 0, copyFreePerMille: 0, floorBytes: 0, ballastBytes: 0 };

/** What a journal is made over. */
export interface StoreParts {
  readonly engine: Engine;
  readonly log: SegmentLog;
  readonly blobs: BlobStore;
  /** This node's own; a cluster's journal replaces `writeBlob` by one that writes on all members. */
  readonly bodies: BodySource;
  readonly storeId: StoreId;
  /** Full copies of shards, out of this store and into it. */
  readonly copies: StoreCopies;
  /** Damaged bytes replaced by another member's, once it has a source. */
  readonly repairs: Repairs;
}

export interface OpenStoreOptions {
  /** Root of the data folder; the caller holds its lock. */
  readonly disk: Disk;
  /** LevelDB, opened: `openIndex(path)`, or memory-level in tests. */
  readonly index: Database;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits?: Partial<StoreLimits>;
  /** The journal to use, and where large bodies go; absent: the local journal for `shards`. */
  readonly makeJournal?: (
    parts: StoreParts,
  ) => Promise<{ readonly journal: Journal; readonly bodies: BodySource }>;
  /** Shards of the local journal. */
  readonly shards?: readonly ShardId[];
  /** The log or the index has failed: stop serving and end the process. Called once or more. */
  readonly onFatal: (error: unknown) => void;
  /** Sizes of segments and of the log window, where they are not the log's defaults. */
  readonly logSizes?: Pick<SegmentLogOptions, "segmentBytes" | "windowMs" | "windowBytesMax">;
  /** When the disk counts as full, and how much ballast it carries; absent: always room, no ballast. */
  readonly diskLimits?: DiskLimits;
  /** Absent: nothing is read through but on demand. */
  readonly scrub?: Partial<ScrubLimits>;
  /** Hears of each damaged row, body or blob that a read or the scrubber found. */
  readonly onDamage?: (kind: DamageKind, what: string, outcome: Mended) => void;
  /** Where the search index lies; absent: none is kept, searches read every message. */
  readonly searchIndex?: SearchIndexOptions;
  /** Time between checkpoints, 5 s by default; one is made at every new segment, too. */
  readonly checkpointEveryMs?: number;
}

export interface OpenedStore extends StoreParts {
  readonly room: DiskRoom;
  readonly store: LocalMailStore;
  readonly journal: Journal;
  readonly upkeep: Upkeep;
  readonly garbage: BodyGarbage;
  /** Reads everything through, once a week. */
  readonly scrubber: Scrubber;
  readonly searchIndex: SearchIndex | undefined;
  /** Makes everything applied durable in the index and moves CHECKPOINT. */
  checkpoint(): Promise<void>;
  /** Waits for what is under way, writes a last checkpoint, closes log and index. */
  close(): Promise<void>;
}

/** The search index in the folder `path`, in blocks of the size in which its rows are read. */
export function searchIndexAt(path: string): SearchIndexOptions {
  const open = (): Promise<Database> => {
    const db = new Level<Buffer, Buffer>(path, {
      keyEncoding: "buffer",
      valueEncoding: "buffer",
      writeBufferSize: 8 * 1024 * 1024,
      maxFileSize: 16 * 1024 * 1024,
      cacheSize: 16 * 1024 * 1024,
      blockSize: 16 * 1024,
    });
    return db.open().then(() => db);
  };
  return { database: disposableAt(path, open) };
}

/** Opens LevelDB with the settings that were measured. */
export async function openIndex(path: string): Promise<Database> {
  const db = new Level<Buffer, Buffer>(path, {
    keyEncoding: "buffer",
    valueEncoding: "buffer",
    writeBufferSize: 32 * 1024 * 1024,
    maxFileSize: 16 * 1024 * 1024,
    cacheSize: 128 * 1024 * 1024,
    blockSize: 4096,
  });
  await db.open();
  return db;
}

/**
 * Opens the store: replays the log into the index, then serves.
 * @throws MailError DAMAGED (the index is lost or another's: make this copy anew), INVALID (newer format)
 */
export async function openStore(options: OpenStoreOptions): Promise<OpenedStore> {
  const { disk, index, clock, random } = options;
  const limits = { ...defaultStoreLimits, ...options.limits };
  const rows = new WriteQueue(index, {
    bytesMax: limits.queuedBytesMax,
    onFailure: options.onFatal,
    clock,
  });
  const id = await identify(disk, rows, random);
  const makeOpId = opIdMaker(random);
  const room = await DiskRoom.open(disk, clock, random, options.diskLimits ?? noDiskLimits);
  const engine = new Engine({
    rows,
    clock,
    limits,
    feed: new RegistrationFeed(),
    nextOpId: () => opId(makeOpId()),
    room,
  });
  await engine.unconfirmed.load();
  const made: { upkeep?: Upkeep } = {};
  const parts = await openParts(options, engine, room, id, made);
  const { log, blobs, repairs } = parts;
  const { journal, bodies } = await journalFor(options, parts);
  engine.attach(journal, bodies);
  const garbage = new BodyGarbage(rows);
  const upkeep = new Upkeep(
    { engine, log, blobs, garbage, room },
    options.checkpointEveryMs ?? 5000,
  );
  made.upkeep = upkeep;
  const store = new LocalMailStore(engine);
  const drain = options.makeJournal === undefined ? localDrain(options, store) : undefined;
  const scrubLimits = { ...defaultScrubLimits, ...options.scrub };
  const scrubber = new Scrubber({ engine, log, blobs, repairs, disk, clock }, scrubLimits);
  if (options.scrub !== undefined) await scrubber.start();
  const mayBuild = (): boolean => room.level === "ample" && !upkeep.held;
  const search = await openSearchIndex(options, engine, mayBuild);
  upkeep.start();
  room.start();
  return {
    ...parts,
    room,
    store,
    journal,
    upkeep,
    garbage,
    scrubber,
    searchIndex: search?.index,
    checkpoint: async () => {
      await log.checkpoint();
    },
    close: async () => {
      await drain?.stop();
      await scrubber.stop();
      await search?.stop();
      await upkeep.stop();
      await room.stop();
      await engine.accounts.stop();
      await log.checkpoint();
      await log.close();
      await rows.drained();
      await index.close();
    },
  };
}

async function openSearchIndex(
  { searchIndex, random }: OpenStoreOptions,
  engine: Engine,
  mayBuild: () => boolean,
): Promise<{ readonly index: SearchIndex; readonly stop: () => Promise<void> } | undefined> {
  if (searchIndex === undefined) return undefined;
  const scanner = textScanner();
  const index = await SearchIndex.open({ ...searchIndex, engine, random, mayBuild });
  engine.searchHints = index;
  engine.textScan = scanner.scan;
  index.start();
  return {
    index,
    stop: async () => {
      await index.stop();
      await scanner.stop();
    },
  };
}

/** The spool of a store without a cluster; there the node has its own. */
function localDrain({ shards = [] }: OpenStoreOptions, store: LocalMailStore): SpoolDrain {
  const drain = new SpoolDrain({
    engine: store.engine,
    target: store,
    shards: () => shards,
    hostName: "localhost",
    news: { delivered: () => undefined, failed: () => undefined, delayed: () => undefined },
  });
  drain.start();
  return drain;
}

/** What a journal is made over. `made` is filled in before anything is copied. */
async function openParts(
  options: OpenStoreOptions,
  engine: Engine,
  room: DiskRoom,
  id: StoreId,
  made: { readonly upkeep?: Upkeep },
): Promise<StoreParts> {
  const log = await openLog(options, engine, room, id);
  const blobs = await BlobStore.open(options.disk, "blobs", options.clock);
  const onDamage = options.onDamage ?? ((): void => undefined);
  const repairs = new Repairs({ engine, log, blobs, onDamage });
  engine.repairs = repairs;
  engine.rows.mend = (error) => repairs.rowOf(error);
  const hold = (): Promise<() => void> => {
    assert(made.upkeep !== undefined, "copies are made of a store that is open");
    return made.upkeep.hold();
  };
  const copies = new StoreCopies({ engine, log, blobs, room, hold });
  const bodiesHere = new LogBodies(log, blobs, (name) => repairs.blob(name));
  return {
    engine,
    log,
    blobs,
    bodies: bodiesHere,
    storeId: id,
    copies,
    repairs,
  };
}

function openLog(
  options: OpenStoreOptions,
  engine: Engine,
  room: DiskRoom,
  id: StoreId,
): Promise<SegmentLog> {
  const { disk, clock, random } = options;
  const { rows } = engine;
  return openSegmentLog(disk, "log", {
    storeId: id,
    clock,
    random,
    apply: (entry) => {
      engine.apply(entry);
      return rows.full ? rows.room() : undefined;
    },
    flush: () => rows.flush(),
    giveWay: () => room.giveWay(),
    onFatal: options.onFatal,
    ...options.logSizes,
  });
}

async function journalFor(
  options: OpenStoreOptions,
  parts: StoreParts,
): Promise<{ readonly journal: Journal; readonly bodies: BodySource }> {
  if (options.makeJournal !== undefined) return options.makeJournal(parts);
  const shards = options.shards ?? [];
  assert(shards.length > 0, "a local journal has shards");
  const journal = await LocalJournal.open(parts.log, shards, parts.engine.apply);
  return { journal, bodies: parts.bodies };
}

/**
 * The folder's identity: 128 random bits made with it, in a file and in the index, so that a lost or
 * exchanged index is noticed. @throws MailError DAMAGED, INVALID
 */
async function identify(disk: Disk, rows: WriteQueue, random: Random): Promise<StoreId> {
  const key = Buffer.from([space.node]);
  const value = await rows.get(key);
  const inFile = await readStoreFile(disk);
  if (value === undefined) {
    if (inFile !== undefined && (await disk.list("log")).length > 0) {
      throw new MailError({ code: "DAMAGED", what: "the index: it is missing, the log is there" });
    }
    const fresh = inFile ?? storeId(random.hex(16));
    if (inFile === undefined) await writeStoreFile(disk, fresh);
    await writeIdentity(rows, key, fresh);
    return fresh;
  }
  const reader = openRow(key, value);
  const version = reader.varint();
  if (version > formatVersion) {
    throw new MailError({
      code: "INVALID",
      why: `the data folder has format ${version}, this program knows ${formatVersion}: use a newer one`,
    });
  }
  const inIndex = storeId(reader.text());
  if (inFile !== inIndex) {
    throw new MailError({ code: "DAMAGED", what: "the index: it belongs to another data folder" });
  }
  // From now on records may be written that the older program does not know.
  if (version < formatVersion) await writeIdentity(rows, key, inIndex);
  return inIndex;
}

async function writeIdentity(rows: WriteQueue, key: Buffer, id: StoreId): Promise<void> {
  const out = beginRow();
  out.varint(formatVersion);
  out.text(id);
  rows.put(key, endRow(key));
  await rows.flush();
}

async function readStoreFile(disk: Disk): Promise<StoreId | undefined> {
  if (!(await disk.exists(storeFile))) return undefined;
  const file = await disk.open(storeFile, "read");
  try {
    const text = Buffer.from(await file.read(0, 64))
      .toString("latin1")
      .trim();
    if (!/^[0-9a-f]{32}$/.test(text)) {
      throw new MailError({ code: "DAMAGED", what: `the file ${storeFile}` });
    }
    return storeId(text);
  } finally {
    await file.close();
  }
}

async function writeStoreFile(disk: Disk, id: StoreId): Promise<void> {
  const file = await disk.open(`${storeFile}.new`, "write");
  try {
    await file.truncate(0);
    await file.writev([Buffer.from(`${id}\n`)], 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(`${storeFile}.new`, storeFile);
  await disk.syncFolder(".");
}
