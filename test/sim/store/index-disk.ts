// LevelDB of a simulated node: memory-level, of which a power cut leaves what was flushed and a prefix
// of the batches since, as LevelDB's own unsynced log does.

import { MemoryLevel } from "memory-level";
import type { Database } from "../../../src/store/write-queue.ts";
import type { Draws } from "../world/schedule.ts";

type Write =
  | { readonly type: "put"; readonly key: Buffer; readonly value: Buffer }
  | { readonly type: "del"; readonly key: Buffer }
  | { readonly type: "clear"; readonly gte: Buffer; readonly lt: Buffer };

type Batch = readonly Write[];

export class IndexDisk {
  /** Rows by their keys in latin1, which sorts as the bytes do. */
  readonly #durable = new Map<string, Buffer>();
  #since: Batch[] = [];
  /** Counts processes: what an earlier one still writes is void. */
  #opened = 0;

  /** The database as the next process finds it. */
  async open(): Promise<Database> {
    const db = new Flushable({ keyEncoding: "buffer", valueEncoding: "buffer" });
    await db.open();
    const rows = new Map(this.#durable);
    for (const batch of this.#since) applyTo(rows, batch);
    const puts = [...rows].map(([key, value]) => {
      return { type: "put" as const, key: Buffer.from(key, "latin1"), value };
    });
    if (puts.length > 0) await db.batch(puts);
    this.#opened += 1;
    const life = this.#opened;
    const add = (batch: Batch) => {
      if (life === this.#opened) this.#since.push(batch);
    };
    db.on("write", (writes: Batch) => add(writes.map(copied)));
    db.on("clear", ({ gte, lt }: { gte: Buffer; lt: Buffer }) => add([{ type: "clear", gte, lt }]));
    db.onFlush = () => {
      if (life === this.#opened) this.#flush();
    };
    return db;
  }

  /** The process is gone, and the power with `powerCut`. */
  crash(powerCut: boolean, draws: Draws): void {
    this.#opened += 1;
    if (powerCut) this.#since.length = draws.below(this.#since.length + 1);
  }

  /** True when a row that would survive a power cut has the bytes in its key or its value. */
  holds(bytes: Buffer): boolean {
    const text = bytes.toString("latin1");
    for (const [key, value] of this.#durable) {
      if (key.includes(text) || value.includes(bytes)) return true;
    }
    return false;
  }

  #flush(): void {
    for (const batch of this.#since) applyTo(this.#durable, batch);
    this.#since = [];
  }
}

class Flushable extends MemoryLevel<Buffer, Buffer> {
  onFlush: () => void = () => undefined;

  compactRange(): Promise<void> {
    this.onFlush();
    return Promise.resolve();
  }
}

function copied(write: Write): Write {
  return write.type === "put"
    ? { type: "put", key: write.key, value: write.value }
    : { type: "del", key: write.type === "del" ? write.key : Buffer.alloc(0) };
}

function applyTo(rows: Map<string, Buffer>, batch: Batch): void {
  for (const write of batch) {
    if (write.type === "put") rows.set(write.key.toString("latin1"), write.value);
    else if (write.type === "del") rows.delete(write.key.toString("latin1"));
    else {
      const [from, to] = [write.gte.toString("latin1"), write.lt.toString("latin1")];
      for (const key of rows.keys()) if (key >= from && key < to) rows.delete(key);
    }
  }
}
