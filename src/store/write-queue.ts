// LevelDB behind a queue: what is applied is visible at once (in RAM) and written in batches, one in
// flight while the next gathers. Order of batches is order of calls. Leaves durability to the log:
// `sync: false`, and `flush` makes what was written durable before a checkpoint.

import type { AbstractLevel } from "abstract-level";
import { assert } from "../lib/assert.ts";
import type { Clock, Timer } from "../lib/clock.ts";
import { MailError } from "../mail/errors.ts";
import { deferred } from "./deferred.ts";
import type { Deferred } from "./deferred.ts";

/** A picture of the rows that later writes do not change; to be closed. */
export type RowSnapshot = ReturnType<Database["snapshot"]>;

export type Database = AbstractLevel<string | Buffer | Uint8Array, Buffer, Buffer>;

/** LevelDB's memtable flush; memory-level has nothing to flush. */
interface Compactable {
  compactRange(start: Buffer, end: Buffer): Promise<void>;
}

interface Write {
  readonly key: Buffer;
  /** Undefined: deleted. */
  readonly value: Buffer | undefined;
}

interface Gathering {
  /** In the order in which they are written. */
  readonly writes: Write[];
  /** By key: where the newest one is, of all before `named` and of those that may be replaced. */
  readonly byName: Map<string, number>;
  named: number;
  bytes: number;
  readonly done: Deferred<void>;
  /** Runs when the batch is written, before anything behind it is. */
  readonly after: (() => void)[];
}

export interface WriteQueueOptions {
  /** Changes wait while more than this is queued. */
  readonly bytesMax: number;
  /** A failed batch: LevelDB is not to be trusted any more, the process has to end. */
  readonly onFailure: (error: unknown) => void;
  /** With a clock, rows gather for `gatherMs` unless somebody waits for them; without one, for a tick. */
  readonly clock?: Clock;
}

/**
 * A batch costs a thread's wake-up and a write to LevelDB's log, and rows that change with every message
 * (counters, quota) are written once a batch: so few large ones are better than many small ones.
 */
const gatherMs = 50;
/** A batch that is as long as this gains little by waiting, and handing it over takes a millisecond. */
const gatherBytes = 1024 * 1024;

export class WriteQueue {
  /** Replaces the row that an error names as damaged; true when reading again is worth it. */
  mend: (error: unknown) => Promise<boolean> = () => Promise.resolve(false);
  readonly #db: Database;
  readonly #options: WriteQueueOptions;
  #gathering: Gathering | undefined;
  /** Takes no more writes: a snapshot lies between it and what is put next. */
  #sealed: Gathering | undefined;
  #inFlight: Gathering | undefined;
  #failed: unknown;
  #scheduled = false;
  #timer: Timer | undefined;
  /** Somebody waits: the next batch starts as soon as it can. */
  #hurried = false;

  constructor(db: Database, options: WriteQueueOptions) {
    this.#db = db;
    this.#options = options;
  }

  /** Writes a row; the new value takes the place of what is queued for its key. */
  put(key: Buffer, value: Buffer): void {
    const gathering = this.#open();
    const { writes, byName } = gathering;
    const name = key.toString("latin1");
    const before = byName.get(name);
    const replaces = before !== undefined && writes[before]?.value !== undefined;
    const at = replaces ? before : writes.length;
    writes[at] = { key, value };
    byName.set(name, at);
    this.#grown(gathering, key, value);
  }

  /**
   * As `put`, without a look-up, for rows that are written once: a `put` of the same key must not come
   * both before and behind it. A deletion may.
   */
  add(key: Buffer, value: Buffer): void {
    const gathering = this.#open();
    gathering.writes.push({ key, value });
    this.#grown(gathering, key, value);
  }

  /** Deletes a row, behind everything that is queued for its key. */
  del(key: Buffer): void {
    const gathering = this.#open();
    gathering.byName.set(key.toString("latin1"), gathering.writes.length);
    gathering.writes.push({ key, value: undefined });
    this.#grown(gathering, key, undefined);
  }

  /** Bytes not yet handed to LevelDB. */
  get queuedBytes(): number {
    const sealed = this.#sealed?.bytes ?? 0;
    return (this.#gathering?.bytes ?? 0) + sealed + (this.#inFlight?.bytes ?? 0);
  }

  get full(): boolean {
    return this.queuedBytes > this.#options.bytesMax;
  }

  /** Resolves when there is room again. */
  async room(): Promise<void> {
    while (this.full) await this.drained();
  }

  /** The newest value of a key. */
  async get(key: Buffer): Promise<Buffer | undefined> {
    const queued = this.#queued(key);
    return queued === undefined ? this.#db.get(key) : queued.value;
  }

  /** The newest values, in order of the keys. */
  async getMany(keys: readonly Buffer[]): Promise<(Buffer | undefined)[]> {
    if (this.#idle) {
      return this.#db.getMany([...keys]);
    }
    // The queue is asked first: a batch may land while LevelDB is read.
    const queued = keys.map((key) => this.#queued(key));
    const missing = keys.filter((_, at) => queued[at] === undefined);
    const read = await this.#db.getMany(missing);
    let next = 0;
    return queued.map((write) => (write === undefined ? read[next++] : write.value));
  }

  /** Rows with `gte` ≤ key < `lt`, ascending, in batches; at least everything queued before the call. */
  async *range(gte: Buffer, lt: Buffer, batchRows = 1000): AsyncGenerator<[Buffer, Buffer][]> {
    await this.drained();
    // LevelDB's own default fetches 16 KiB at a time; other implementations don't know the option.
    const options = { gte, lt, highWaterMarkBytes: 256 * 1024 };
    yield* batches(this.#db.iterator(options), batchRows);
  }

  /** As `range`, without the keys, which cost as much as the values: a row's checksum tells its key. */
  async *values(gte: Buffer, lt: Buffer, batchRows: number): AsyncGenerator<Buffer[]> {
    await this.drained();
    const options = { gte, lt, highWaterMarkBytes: 512 * 1024 };
    yield* batches(this.#db.values(options), batchRows);
  }

  /** Resolves when everything queued before the call is in LevelDB. */
  async drained(): Promise<void> {
    if (this.#failed !== undefined) throw this.#failure();
    const last = this.#gathering ?? this.#sealed ?? this.#inFlight;
    if (last === undefined) return;
    if (last !== this.#inFlight) this.#hurry();
    await last.done.promise;
  }

  /**
   * The rows as they are at one moment: with everything put before it and nothing after it. `mark`
   * runs at that moment.
   */
  async snapshot<T>(mark: () => T): Promise<{ readonly rows: RowSnapshot; readonly mark: T }> {
    while (this.#sealed !== undefined && this.#gathering !== undefined) {
      await this.#sealed.done.promise;
    }
    if (this.#gathering !== undefined) {
      this.#sealed = this.#gathering;
      this.#gathering = undefined;
    }
    const marked = mark();
    const last = this.#sealed ?? this.#inFlight;
    if (last === undefined) return { rows: this.#db.snapshot(), mark: marked };
    const made: RowSnapshot[] = [];
    last.after.push(() => made.push(this.#db.snapshot()));
    if (last === this.#sealed) this.#hurry();
    await last.done.promise;
    const [rows] = made;
    assert(rows !== undefined, "a written batch runs what comes after it");
    return { rows, mark: marked };
  }

  /** Rows of a snapshot with `gte` ≤ key < `lt`, ascending, in batches. */
  async *rangeAt(
    snapshot: RowSnapshot,
    gte: Buffer,
    lt: Buffer,
    batchRows = 1000,
  ): AsyncGenerator<[Buffer, Buffer][]> {
    const options = { gte, lt, snapshot, highWaterMarkBytes: 256 * 1024 };
    yield* batches(this.#db.iterator(options), batchRows);
  }

  /** Values of a snapshot, in order of the keys. */
  getManyAt(
    snapshot: RowSnapshot,
    keys: readonly Buffer[],
  ): Promise<readonly (Buffer | undefined)[]> {
    return this.#db.getMany([...keys], { snapshot });
  }

  /** Deletes every row with `gte` ≤ key < `lt`; nobody may write there meanwhile. */
  async clear(gte: Buffer, lt: Buffer): Promise<void> {
    await this.drained();
    await this.#db.clear({ gte, lt });
  }

  /**
   * Makes everything queued before the call durable. compactRange always writes the memtable to a
   * synced table first; an empty range then costs nothing more.
   */
  async flush(): Promise<void> {
    await this.drained();
    if (isCompactable(this.#db)) await this.#db.compactRange(emptyRange[0], emptyRange[1]);
  }

  #queued(key: Buffer): Write | undefined {
    if (this.#idle) return undefined;
    const name = key.toString("latin1");
    return named(this.#gathering, name) ?? named(this.#sealed, name) ?? named(this.#inFlight, name);
  }

  get #idle(): boolean {
    return (
      this.#gathering === undefined && this.#inFlight === undefined && this.#sealed === undefined
    );
  }

  #open(): Gathering {
    if (this.#gathering !== undefined) return this.#gathering;
    const done = deferred<void>();
    // A failed batch ends the process by onFailure; nobody has to be waiting for it.
    done.promise.catch(() => undefined);
    this.#gathering = { writes: [], byName: new Map(), named: 0, bytes: 0, done, after: [] };
    return this.#gathering;
  }

  #grown(gathering: Gathering, key: Buffer, value: Buffer | undefined): void {
    gathering.bytes += key.length + (value?.length ?? 0) + 64;
    if (gathering.bytes >= gatherBytes) this.#hurry();
    else this.#schedule();
  }

  #schedule(): void {
    if (this.#inFlight !== undefined || this.#scheduled || this.#failed !== undefined) return;
    this.#scheduled = true;
    const { clock } = this.#options;
    if (clock === undefined) queueMicrotask(() => this.#start());
    else this.#timer = clock.after(gatherMs, () => this.#start());
  }

  #hurry(): void {
    if (this.#hurried) return;
    this.#hurried = true;
    if (this.#inFlight !== undefined || this.#failed !== undefined) return;
    this.#timer?.cancel();
    this.#scheduled = true;
    queueMicrotask(() => this.#start());
  }

  #start(): void {
    this.#scheduled = false;
    const batch = this.#sealed ?? this.#gathering;
    if (batch === undefined || this.#inFlight !== undefined || this.#failed !== undefined) return;
    if (batch === this.#sealed) this.#sealed = undefined;
    else this.#gathering = undefined;
    // Who waits for a batch that gathers behind a sealed one waits for both.
    this.#hurried = this.#hurried && this.#gathering !== undefined;
    this.#inFlight = batch;
    this.#write(batch).then(
      () => {
        this.#inFlight = undefined;
        for (const run of batch.after) run();
        batch.done.resolve();
        if (this.#hurried || this.#sealed !== undefined) this.#start();
        else if (this.#gathering !== undefined) this.#schedule();
      },
      (error: unknown) => {
        this.#failed = error;
        batch.done.reject(this.#failure());
        this.#sealed?.done.reject(this.#failure());
        this.#gathering?.done.reject(this.#failure());
        this.#options.onFailure(error);
      },
    );
  }

  /** As a chained batch, which costs half of an array: no object per row, nothing looked up in it. */
  async #write(batch: Gathering): Promise<void> {
    if (this.#db.status === "opening") await this.#db.open();
    const chained = this.#db.batch();
    for (const { key, value } of batch.writes) {
      if (value === undefined) chained.del(key);
      else chained.put(key, value);
    }
    await chained.write();
  }

  #failure(): MailError {
    return new MailError(
      { code: "UNAVAILABLE", why: "the index database failed" },
      { cause: this.#failed },
    );
  }
}

/** The newest write of a key: those that were only added are looked at when somebody asks. */
function named(gathering: Gathering | undefined, name: string): Write | undefined {
  if (gathering === undefined) return undefined;
  const { writes, byName } = gathering;
  for (; gathering.named < writes.length; gathering.named++) {
    const write = writes[gathering.named];
    if (write !== undefined) byName.set(write.key.toString("latin1"), gathering.named);
  }
  const at = byName.get(name);
  return at === undefined ? undefined : writes[at];
}

const emptyRange = [Buffer.from([0xfe]), Buffer.from([0xfe])] as const;

function isCompactable(db: unknown): db is Compactable {
  return typeof db === "object" && db !== null && "compactRange" in db;
}

/** All that an iterator gives, in batches; it is closed whatever happens. */
async function* batches<T>(
  iterator: { nextv(size: number): Promise<T[]>; close(): Promise<void> },
  size: number,
): AsyncGenerator<T[]> {
  try {
    for (;;) {
      const items = await iterator.nextv(size);
      if (items.length === 0) return;
      yield items;
    }
  } finally {
    await iterator.close();
  }
}
