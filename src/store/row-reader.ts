// Reading rows, whoever has them: the queue with what is newest, or a picture that later writes do not
// change.

import type { RowSnapshot, WriteQueue } from "./write-queue.ts";

export interface RowReader {
  get(key: Buffer): Promise<Buffer | undefined>;
  getMany(keys: readonly Buffer[]): Promise<readonly (Buffer | undefined)[]>;
  /** Rows with `gte` ≤ key < `lt`, ascending, in batches. */
  range(gte: Buffer, lt: Buffer, batchRows?: number): AsyncIterable<[Buffer, Buffer][]>;
}

/** Rows as a snapshot has them. The caller closes it. */
export class SnapshotReader implements RowReader {
  readonly #queue: WriteQueue;
  readonly #snapshot: RowSnapshot;

  constructor(queue: WriteQueue, snapshot: RowSnapshot) {
    this.#queue = queue;
    this.#snapshot = snapshot;
  }

  async get(key: Buffer): Promise<Buffer | undefined> {
    const [value] = await this.getMany([key]);
    return value;
  }

  getMany(keys: readonly Buffer[]): Promise<readonly (Buffer | undefined)[]> {
    return this.#queue.getManyAt(this.#snapshot, keys);
  }

  range(gte: Buffer, lt: Buffer, batchRows?: number): AsyncIterable<[Buffer, Buffer][]> {
    return this.#queue.rangeAt(this.#snapshot, gte, lt, batchRows);
  }
}
