// Where a simulated gateway keeps its directory: memory-level that outlives processes. A killed process
// leaves all of it; a power cut any of what was written since the last sync, as LevelDB's own files do
// when nobody synced them.

import { MemoryLevel } from "memory-level";
import type {
  DirectoryFiles,
  DirectoryLevel,
  KeyRange,
  Operation,
} from "../../../src/cluster/directory/directory-files.ts";
import type { Draws } from "../world/schedule.ts";

type Rows = Map<string, Uint8Array>;

export class GatewayDisk implements DirectoryFiles {
  /** Keys in latin1. */
  #durable: Rows = new Map();
  #since: Operation[] = [];
  /** Counts processes: what an earlier one still writes is void. */
  #opened = 0;
  #boots = 1;

  /** With the rule broken that a start of the machine has a name of its own. */
  readonly #sameBoot: boolean;

  constructor(sameBoot: boolean) {
    this.#sameBoot = sameBoot;
  }

  bootId(): string {
    return this.#sameBoot ? "boot" : `boot ${this.#boots}`;
  }

  level(): DirectoryLevel {
    this.#opened += 1;
    const life = this.#opened;
    const note = (operations: readonly Operation[], sync: boolean): void => {
      if (life !== this.#opened) return;
      this.#since.push(...operations);
      if (sync) this.#sync();
    };
    return new KeptLevel(this.#now(), note);
  }

  remove(): Promise<void> {
    this.wipe();
    return Promise.resolve();
  }

  /** The folder is gone. */
  wipe(): void {
    this.#opened += 1;
    this.#durable = new Map();
    this.#since = [];
  }

  /** The process is gone, and the power with `powerCut`. */
  crash(powerCut: boolean, draws: Draws): void {
    this.#opened += 1;
    if (!powerCut) return;
    this.#boots += 1;
    this.#since = this.#since.filter(() => draws.chance(0.5));
    this.#sync();
  }

  #now(): Rows {
    const rows = new Map(this.#durable);
    applyTo(rows, this.#since);
    return rows;
  }

  #sync(): void {
    applyTo(this.#durable, this.#since);
    this.#since = [];
  }
}

class KeptLevel implements DirectoryLevel {
  readonly #db = new MemoryLevel<Uint8Array, Uint8Array>({
    keyEncoding: "view",
    valueEncoding: "view",
  });
  readonly #rows: Rows;
  readonly #note: (operations: readonly Operation[], sync: boolean) => void;

  constructor(rows: Rows, note: (operations: readonly Operation[], sync: boolean) => void) {
    this.#rows = rows;
    this.#note = note;
  }

  get status(): string {
    return this.#db.status;
  }

  async open(): Promise<void> {
    await this.#db.open();
    const puts = [...this.#rows].map(([key, value]) => {
      return { type: "put" as const, key: Buffer.from(key, "latin1"), value };
    });
    if (puts.length > 0) await this.#db.batch(puts);
  }

  close(): Promise<void> {
    return this.#db.close();
  }

  getSync(key: Uint8Array): Uint8Array | undefined {
    return this.#db.getSync(key);
  }

  put(key: Uint8Array, value: Uint8Array, options: { readonly sync: boolean }): Promise<void> {
    this.#note([{ type: "put", key, value }], options.sync);
    return this.#db.put(key, value);
  }

  batch(operations: Operation[]): Promise<void> {
    this.#note(operations, false);
    return this.#db.batch(operations);
  }

  iterator(range: KeyRange): AsyncIterable<[Uint8Array, Uint8Array]> {
    return this.#db.iterator(range);
  }

  keys(range: KeyRange): ReturnType<DirectoryLevel["keys"]> {
    return this.#db.keys(range);
  }
}

function applyTo(rows: Rows, operations: readonly Operation[]): void {
  for (const operation of operations) {
    const key = Buffer.from(operation.key).toString("latin1");
    if (operation.type === "put") rows.set(key, Buffer.from(operation.value));
    else rows.delete(key);
  }
}
