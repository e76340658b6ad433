// Unacknowledged entries that a conflict removed from a log, raw, one file a cut, in case an operator
// wants to look: nobody was told that they were stored. Kept for a week.

import type { Clock } from "../../lib/clock.ts";
import type { Disk } from "../../lib/disk.ts";
import type { ShardId } from "../../mail/ids.ts";
import type { PendingEntry } from "./pending-entries.ts";

const folder = "cut";
const keptMs = 7 * 86_400_000;
const lookEveryMs = 3_600_000;

export interface CutFigures {
  /** Entries that were cut since the start. */
  readonly entries: number;
  /** Files that are kept now. */
  readonly files: number;
}

export class CutFiles {
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  #entries = 0;
  #files = 0;
  #timer: { cancel(): void } | undefined;
  #closed = false;

  constructor(disk: Disk, clock: Clock, onError: (error: unknown) => void) {
    this.#disk = disk;
    this.#clock = clock;
    this.#onError = onError;
  }

  get figures(): CutFigures {
    return { entries: this.#entries, files: this.#files };
  }

  /** Removes what is too old, now and once an hour. */
  start(): void {
    this.tidy().catch(this.#onError);
    this.#timer = this.#clock.after(lookEveryMs, () => {
      if (!this.#closed) this.start();
    });
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  /** Resolves when they are on disk. */
  async save(shard: ShardId, records: readonly PendingEntry[]): Promise<void> {
    const [first] = records;
    if (first === undefined) return;
    const disk = this.#disk;
    await disk.makeFolder(folder);
    const name = `${this.#clock.nowMs()}-${shard}-${first.entry.epoch}-${first.lsn}`;
    const file = await disk.open(`${folder}/${name}`, "write");
    try {
      await file.truncate(0);
      await file.writev(
        records.flatMap(({ parts }) => parts),
        0,
      );
      await file.sync();
    } finally {
      await file.close();
    }
    await disk.syncFolder(folder);
    this.#entries += records.length;
    this.#files += 1;
  }

  async tidy(): Promise<void> {
    const disk = this.#disk;
    if (!(await disk.exists(folder))) return;
    const oldestMs = this.#clock.nowMs() - keptMs;
    let kept = 0;
    for (const name of await disk.list(folder)) {
      // Names of an earlier version begin with the shard: their age is not known, so it begins now.
      const fields = name.split("-");
      if (fields.length === 3) {
        await disk.rename(`${folder}/${name}`, `${folder}/${this.#clock.nowMs()}-${name}`);
      } else if (Number(fields[0]) < oldestMs) {
        await disk.unlink(`${folder}/${name}`);
        continue;
      }
      kept += 1;
    }
    this.#files = kept;
  }
}
