// Whether this node should keep its primaries: slow or stuck fsyncs, a stalled event loop, a full disk,
// records that come back wrong. A node that is unwell tells the managers, who move primaries away. cluster.md "Storage faults"

const ailments = ["slowSync", "stalledLoop", "diskFull", "badRecords"] as const;
export type Ailment = (typeof ailments)[number];

export interface HealthSample {
  readonly nowMs: number;
  /** When the oldest commit group that is not on disk was begun; undefined when all are. */
  readonly unsyncedSinceMs: number | undefined;
  /** Longest stall of the event loop since the last sample. */
  readonly loopLagMs: number;
  readonly diskFreePerMille: number;
  /** Records, rows and bodies that failed their checksum, since the start. */
  readonly badRecords: number;
}

export interface HealthLimits {
  /** An fsync of this length is slow. */
  readonly syncMs: number;
  /** Syncs must be slow for so long to count. */
  readonly slowForMs: number;
  readonly loopLagMs: number;
  readonly diskFreePerMille: number;
  /** So many bad records within `badWithinMs`. */
  readonly badRecords: number;
  readonly badWithinMs: number;
  /** An ailment ends when its cause has been away for so long: primaries don't go back and forth. */
  readonly calmMs: number;
}

export const healthLimits: HealthLimits = {
  syncMs: 500,
  slowForMs: 3000,
  loopLagMs: 2000,
  diskFreePerMille: 50,
  badRecords: 3,
  badWithinMs: 600_000,
  calmMs: 30_000,
};

const syncsMax = 512;

export class Health {
  readonly #limits: HealthLimits;
  /** Newest syncs, oldest first. */
  #syncs: { readonly atMs: number; readonly tookMs: number }[] = [];
  #slowSinceMs: number | undefined;
  #bad: { readonly atMs: number; readonly count: number }[] = [];
  /** When each ailment's cause was last there. */
  readonly #seenMs = new Map<Ailment, number>();
  #calm = true;

  constructor(limits: HealthLimits = healthLimits) {
    this.#limits = limits;
  }

  /** A commit group reached the disk, so long after it was begun. */
  synced(tookMs: number, nowMs: number): void {
    this.#syncs.push({ atMs: nowMs, tookMs });
    if (this.#syncs.length > syncsMax) this.#syncs.splice(0, syncsMax / 2);
  }

  /** True when nothing was wrong at the last look, whatever ailment is not over yet. */
  get isCalm(): boolean {
    return this.#calm;
  }

  /** What is wrong now, in the order of `ailments`. Ask every second or more often. */
  judge(sample: HealthSample): readonly Ailment[] {
    const { nowMs } = sample;
    const limits = this.#limits;
    if (this.#isSlow(sample)) this.#slowSinceMs ??= nowMs;
    else this.#slowSinceMs = undefined;
    const slowForMs = this.#slowSinceMs === undefined ? -1 : nowMs - this.#slowSinceMs;
    const causes: Record<Ailment, boolean> = {
      slowSync: slowForMs >= limits.slowForMs,
      stalledLoop: sample.loopLagMs > limits.loopLagMs,
      diskFull: sample.diskFreePerMille < limits.diskFreePerMille,
      badRecords: this.#badLately(sample) >= limits.badRecords,
    };
    for (const ailment of ailments) if (causes[ailment]) this.#seenMs.set(ailment, nowMs);
    this.#calm = slowForMs < 0 && !ailments.some((ailment) => causes[ailment]);
    return ailments.filter((ailment) => {
      const seenMs = this.#seenMs.get(ailment);
      return seenMs !== undefined && nowMs - seenMs < limits.calmMs;
    });
  }

  /** The 99th percentile of the last seconds' syncs is slow, or one that is under way is. */
  #isSlow({ nowMs, unsyncedSinceMs }: HealthSample): boolean {
    const { syncMs, slowForMs } = this.#limits;
    if (unsyncedSinceMs !== undefined && nowMs - unsyncedSinceMs > syncMs) return true;
    this.#syncs = this.#syncs.filter(({ atMs }) => nowMs - atMs <= slowForMs);
    const slow = this.#syncs.reduce((sum, { tookMs }) => sum + (tookMs > syncMs ? 1 : 0), 0);
    return slow > 0 && slow * 100 >= this.#syncs.length;
  }

  #badLately({ nowMs, badRecords }: HealthSample): number {
    const newest = this.#bad[this.#bad.length - 1];
    if (newest?.count !== badRecords) this.#bad.push({ atMs: nowMs, count: badRecords });
    // The count before the window began stays as its first entry.
    while (this.#bad.length > 1 && nowMs - (this.#bad[1]?.atMs ?? nowMs) > this.#limits.badWithinMs)
      this.#bad.shift();
    return badRecords - (this.#bad[0]?.count ?? badRecords);
  }
}
