// The search index's LevelDB: opened, read, written, thrown away. It is derived, so nothing that goes
// wrong here is an error to anyone: a bad row costs its mailbox's part of the index, a failed database
// the whole; both are built anew, and until then messages are read through.

import { rm } from "node:fs/promises";
import type { Clock } from "../../lib/clock.ts";
import { Lru } from "../../lib/lru.ts";
import { afterPrefix } from "../keyspace.ts";
import { beginRow, endRow, openRow, rowIsSound } from "../row.ts";
import type { Database } from "../write-queue.ts";
import { readDirectory } from "./block.ts";
import type { Directory, Row } from "./block.ts";
import {
  blockOfKey,
  blockPrefix,
  directoryKey,
  formatKey,
  indexFormat,
  indexTable,
  placeOfKey,
  placePrefix,
} from "./index-keys.ts";
import type { MailboxPlace } from "./index-keys.ts";

/** A database that may be thrown away. */
export interface Disposable {
  open(): Promise<Database>;
  /** Removes the closed database with all its files. */
  destroy(): Promise<void>;
}

/** RAM for directories of mailboxes that were searched. */
const cacheBytes = 16 * 1024 * 1024;
const batchRows = 500;
/** An index that fails again so soon stays away until the process starts again. */
const failAgainMs = 600_000;

/** LevelDB in the folder `path`, opened by `open`. */
export function disposableAt(path: string, open: (path: string) => Promise<Database>): Disposable {
  return {
    open: () => open(path),
    destroy: () => rm(path, { recursive: true, force: true }),
  };
}

export class IndexRows {
  readonly #source: Disposable;
  readonly #clock: Clock;
  #db: Database | undefined;
  readonly #cache = new Lru<string, readonly Directory[]>(cacheBytes);
  /** Mailboxes' parts, and whole databases, that were thrown away because something was wrong. */
  damages = 0;
  /** Raised with every change: what was read before it is not kept. */
  #changes = 0;
  #failedMs = Number.NEGATIVE_INFINITY;
  #reopening: Promise<void> | undefined;
  #closed = false;

  private constructor(source: Disposable, clock: Clock) {
    this.#source = source;
    this.#clock = clock;
  }

  /** Opens what is there; what can't be opened or has another format is dropped. */
  static async open(source: Disposable, clock: Clock): Promise<IndexRows> {
    const rows = new IndexRows(source, clock);
    try {
      rows.#db = await openChecked(source);
    } catch {
      rows.damages++;
      await rows.#reopen();
    }
    return rows;
  }

  /** False while there is none. */
  get ready(): boolean {
    return this.#db !== undefined;
  }

  /**
   * Directories of a mailbox's blocks, in no order; undefined when they can't be had. The same array is
   * given while nothing of the mailbox changed, as far as memory allows.
   */
  async directories(place: MailboxPlace): Promise<readonly Directory[] | undefined> {
    const name = nameOf(place);
    const known = this.#cache.get(name);
    if (known !== undefined) return known;
    const changes = this.#changes;
    const prefix = placePrefix(indexTable.directory, place);
    const directories: Directory[] = [];
    let isBad = false;
    const read = await this.#range(prefix, (key, value) => {
      const directory = readDirectory(key, value, blockOfKey(key));
      if (directory === undefined) isBad = true;
      else directories.push(directory);
    });
    if (!read) return undefined;
    if (isBad) {
      await this.drop(place);
      return undefined;
    }
    if (changes === this.#changes) {
      const bytes = directories.reduce(
        (sum, { uids, firsts }) => sum + uids.length * 8 + firsts.length * 4,
        64,
      );
      this.#cache.set(name, directories, bytes);
    }
    return directories;
  }

  /** Values of part rows, checked: undefined for those that are missing or bad. */
  async parts(keys: readonly Buffer[]): Promise<(Buffer | undefined)[]> {
    const values = await this.#try((db) => db.getMany([...keys]));
    return keys.map((key, at) => {
      const value = values?.[at];
      return value !== undefined && rowIsSound(key, value) ? value : undefined;
    });
  }

  /** All rows of a block, its parts in order and the directory last. */
  async whole(place: MailboxPlace, block: number): Promise<Row[] | undefined> {
    const rows: Row[] = [];
    const prefix = blockPrefix(indexTable.part, place, block);
    const read = await this.#range(prefix, (key, value) => rows.push([key, value]));
    const key = directoryKey(place, block);
    const value = await this.#try((db) => db.get(key));
    if (!read || value === undefined) return undefined;
    rows.push([key, value]);
    return rows;
  }

  /** Writes a block's rows and removes the blocks that it replaces, all or nothing. */
  async replace(
    place: MailboxPlace,
    rows: readonly Row[],
    old: readonly Directory[],
  ): Promise<void> {
    await this.#try(async (db) => {
      const batch = db.batch();
      for (const [key, value] of rows) batch.put(key, value);
      for (const { block } of old) {
        batch.del(directoryKey(place, block));
        const parts = blockPrefix(indexTable.part, place, block);
        for await (const key of db.keys({ gte: parts, lt: afterPrefix(parts) })) batch.del(key);
      }
      await batch.write();
    });
    this.#changed(place);
  }

  /** Forgets a mailbox of which something is damaged. */
  async drop(place: MailboxPlace): Promise<void> {
    this.damages++;
    await this.clear(place);
  }

  /** Forgets a mailbox. */
  async clear(place: MailboxPlace): Promise<void> {
    this.#changed(place);
    await this.#try(async (db) => {
      for (const which of [indexTable.directory, indexTable.part]) {
        const prefix = placePrefix(which, place);
        await db.clear({ gte: prefix, lt: afterPrefix(prefix) });
      }
    });
    this.#changed(place);
  }

  /** Mailboxes of which there is something, each once. */
  async *places(): AsyncGenerator<MailboxPlace> {
    let from: Buffer = Buffer.of(indexTable.directory);
    const end = afterPrefix(from);
    for (;;) {
      const gte = from;
      const keys = await this.#try((db) => db.keys({ gte, lt: end, limit: 1 }).all());
      const [key] = keys ?? [];
      if (key === undefined) return;
      const place = placeOfKey(key);
      yield place;
      from = afterPrefix(placePrefix(indexTable.directory, place));
    }
  }

  /** Drops everything; what follows is built anew. */
  async dropAll(): Promise<void> {
    const db = this.#db;
    this.#db = undefined;
    this.#changes++;
    this.#cache.clear();
    await db?.close().catch(() => undefined);
    await this.#reopen();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#reopening;
    const db = this.#db;
    this.#db = undefined;
    await db?.close();
  }

  async #range(prefix: Buffer, use: (key: Buffer, value: Buffer) => void): Promise<boolean> {
    const done = await this.#try(async (db) => {
      const iterator = db.iterator({ gte: prefix, lt: afterPrefix(prefix), ...largeReads });
      try {
        for (;;) {
          const rows = await iterator.nextv(batchRows);
          if (rows.length === 0) return true;
          for (const [key, value] of rows) use(key, value);
        }
      } finally {
        await iterator.close();
      }
    });
    return done === true;
  }

  /** Undefined when there is no database, or it failed just now. */
  async #try<T>(use: (db: Database) => Promise<T>): Promise<T | undefined> {
    const db = this.#db;
    if (db === undefined) return undefined;
    try {
      return await use(db);
    } catch {
      if (this.#db !== db || this.#closed) return undefined;
      const now = this.#clock.monotonicMs();
      this.damages++;
      const again = now - this.#failedMs < failAgainMs;
      this.#failedMs = now;
      this.#reopening = again ? this.#giveUp() : this.dropAll();
      return undefined;
    }
  }

  async #giveUp(): Promise<void> {
    const db = this.#db;
    this.#db = undefined;
    await db?.close().catch(() => undefined);
  }

  async #reopen(): Promise<void> {
    try {
      await this.#source.destroy();
      this.#db = await openChecked(this.#source);
    } catch {
      // No index then: everything is read through.
      this.#db = undefined;
    }
  }

  #changed(place: MailboxPlace): void {
    this.#changes++;
    this.#cache.delete(nameOf(place));
  }
}

/** LevelDB's own default fetches 16 KiB at a time; other implementations don't know the option. */
const largeReads = { highWaterMarkBytes: 256 * 1024 };

function nameOf({ account, mailbox }: MailboxPlace): string {
  return `${account}/${mailbox}`;
}

/** @throws when the database does not open, or is of another format */
async function openChecked(source: Disposable): Promise<Database> {
  const db = await source.open();
  try {
    await db.open();
    const value = await db.get(formatKey);
    const isEmpty = (await db.keys({ limit: 1 }).all()).length === 0;
    if (value === undefined && isEmpty) {
      beginRow().varint(indexFormat);
      await db.put(formatKey, endRow(formatKey));
    } else if (value === undefined || openRow(formatKey, value).varint() !== indexFormat) {
      throw new Error("a search index of another format");
    }
    return db;
  } catch (error) {
    await db.close();
    throw error;
  }
}
