// A node's disk: one log for all its shards with group commit, of which a crash leaves what was
// synced and perhaps some of what was not. Each change is a function that runs on two pictures: what
// the process sees at once, and what the platter holds after the fsync.

import type { Epoch, Lsn } from "../../../src/mail/ids.ts";
import type { ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import type { Life } from "./life.ts";
import type { Draws } from "./schedule.ts";

/** What the simulator's clients write: an operation's number; 0 is the cluster's own NEWEPOCH. */
export interface SimEntry {
  readonly lsn: Lsn;
  readonly epoch: Epoch;
  readonly hash: number;
  readonly prevHash: number;
  readonly op: number;
}

/** Entries with neighbouring lsns; `base` is the lsn before the first. */
export interface Run {
  baseLsn: number;
  baseHash: number;
  entries: SimEntry[];
}

export interface ShardImage {
  main: Run;
  tail: Run | undefined;
  config: ShardConfig | undefined;
  sealedEpoch: number;
  /** Made from a full copy up to here: nothing below can be fed from the log. */
  copiedTo: number;
  /** Commit mark as written with the records. */
  mark: number;
}

export type Change = (image: ShardImage) => void;

export interface DiskFaults {
  readonly syncMs: number;
  readonly syncJitterMs: number;
  /** Share of fsyncs that take up to `slowMsMax`. */
  readonly slow: number;
  readonly slowMsMax: number;
}

export function emptyImage(): ShardImage {
  return {
    main: { baseLsn: 0, baseHash: 0, entries: [] },
    tail: undefined,
    config: undefined,
    sealedEpoch: 0,
    copiedTo: 0,
    mark: 0,
  };
}

function copyRun(run: Run): Run {
  return { baseLsn: run.baseLsn, baseHash: run.baseHash, entries: run.entries.slice() };
}

function copyImage(image: ShardImage): ShardImage {
  const tail = image.tail === undefined ? undefined : copyRun(image.tail);
  return { ...image, main: copyRun(image.main), tail };
}

interface Pending {
  readonly shard: number;
  readonly change: Change;
}

/** The platter: outlives the process. */
export class Disk {
  readonly #draws: Draws;
  readonly durable = new Map<number, ShardImage>();
  /** What lay in data folders that were lost since: it had been durable there. */
  readonly lost: ReadonlyMap<number, ShardImage>[] = [];
  faults: DiskFaults;
  /** Until then every fsync is slow (a sick disk). */
  sickUntilMs = 0;
  store: number;
  constructor(draws: Draws, faults: DiskFaults, store: number) {
    this.#draws = draws;
    this.faults = faults;
    this.store = store;
  }

  image(shard: number): ShardImage {
    let image = this.durable.get(shard);
    if (image === undefined) this.durable.set(shard, (image = emptyImage()));
    return image;
  }

  apply({ shard, change }: Pending): void {
    change(this.image(shard));
  }

  /** Another, empty data folder. */
  wipe(store: number): void {
    this.lost.push(new Map(this.durable));
    this.durable.clear();
    this.store = store;
  }

  syncMs(nowMs: number): number {
    const { syncMs, syncJitterMs, slow, slowMsMax } = this.faults;
    const usual = syncMs + this.#draws.skewed(0, syncJitterMs);
    if (nowMs < this.sickUntilMs) return usual + this.#draws.between(50, slowMsMax);
    return this.#draws.chance(slow) ? usual + this.#draws.skewed(0, slowMsMax) : usual;
  }
}

/** The log of one life of a node. */
export class SimLog {
  readonly #disk: Disk;
  readonly #life: Life;
  readonly #draws: Draws;
  readonly #seen = new Map<number, ShardImage>();
  #pending: Pending[] = [];
  #waiters: (() => void)[] = [];
  #syncing = false;

  constructor(disk: Disk, life: Life, draws: Draws) {
    this.#disk = disk;
    this.#life = life;
    this.#draws = draws;
    for (const [shard, image] of disk.durable) this.#seen.set(shard, copyImage(image));
  }

  shards(): readonly number[] {
    return [...this.#seen.keys()];
  }

  image(shard: number): ShardImage {
    let image = this.#seen.get(shard);
    if (image === undefined) this.#seen.set(shard, (image = emptyImage()));
    return image;
  }

  /** `durable` runs on the main thread when the change is on the platter, in order. */
  write(shard: number, change: Change, durable?: () => void): void {
    change(this.image(shard));
    this.#pending.push({ shard, change });
    if (durable !== undefined) this.#waiters.push(durable);
    if (!this.#syncing) this.#sync();
  }

  /** A change that nobody waits for: it goes with the next group. */
  note(shard: number, change: Change): void {
    change(this.image(shard));
    this.#pending.push({ shard, change });
  }

  #sync(): void {
    this.#syncing = true;
    const { schedule } = this.#life;
    // What comes in the same instant joins the group.
    schedule.after(0.1, () => {
      if (!this.#life.alive) return;
      const group = this.#pending;
      const waiters = this.#waiters;
      this.#pending = [];
      this.#waiters = [];
      const tookMs = this.#disk.syncMs(schedule.nowMs);
      this.#flying = group;
      schedule.after(tookMs, () => {
        if (!this.#life.alive) return;
        for (const item of group) this.#disk.apply(item);
        this.#flying = [];
        this.#life.main.run(() => {
          for (const waiter of waiters) waiter();
        });
        if (this.#waiters.length > 0) this.#sync();
        else this.#syncing = false;
      });
    });
  }

  #flying: Pending[] = [];

  /** The process is gone: of what was not synced a part, from its beginning, may be there anyway. */
  crash(): void {
    const open = [...this.#flying, ...this.#pending];
    const kept = this.#draws.chance(0.5) ? 0 : this.#draws.below(open.length + 1);
    for (const item of open.slice(0, kept)) this.#disk.apply(item);
  }
}

/** Entry `lsn` of a run, if it holds it. */
export function entryAt(run: Run, lsn: number): SimEntry | undefined {
  return lsn <= run.baseLsn ? undefined : run.entries[lsn - run.baseLsn - 1];
}

export function endOf(run: Run): number {
  return run.baseLsn + run.entries.length;
}

/** Chain hash of entry `lsn`; of the base, too. */
export function hashOf(run: Run, lsn: number): number | undefined {
  return lsn === run.baseLsn ? run.baseHash : entryAt(run, lsn)?.hash;
}

/** Hash of an entry behind the one with `prevHash`. */
export function chain(prevHash: number, lsn: number, epoch: number, op: number): number {
  let hash = prevHash ^ 0x9e3779b9;
  for (const word of [lsn, epoch, op]) {
    hash = Math.imul(hash ^ word, 0x85ebca6b);
    hash ^= hash >>> 13;
    hash = Math.imul(hash, 0xc2b2ae35);
    hash ^= hash >>> 16;
  }
  return hash >>> 0;
}
