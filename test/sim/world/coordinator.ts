// The coordinator as the cluster sees it: linearizable compare-and-set of one shard's key each, with
// answers that get lost, outages, and watches that lag. Checks of its own history belong to I7.

import type { MemberId, StoreId } from "../../../src/mail/ids.ts";
import type { ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import type { Draws, Schedule } from "./schedule.ts";
import type { Life } from "./life.ts";

export interface CoordinatorFaults {
  readonly delayMs: number;
  readonly jitterMs: number;
  /** Share of writes whose answer is lost; done or not. */
  readonly unknown: number;
  readonly watchMs: number;
  readonly watchMsMax: number;
}

/** A member that is cut off; what it is to be told waits. */
interface Cut {
  count: number;
  readonly stuck: (() => void)[];
}

interface Watcher {
  readonly life: Life;
  readonly tell: (config: ShardConfig) => void;
  nextMs: number;
}

export interface Presence {
  readonly index: number;
  readonly node: MemberId;
  readonly store: StoreId;
  readonly incarnation: number;
}

export class SimCoordinator {
  readonly #schedule: Schedule;
  readonly #draws: Draws;
  readonly table = new Map<number, ShardConfig>();
  readonly #presence = new Map<number, Presence>();
  readonly #onHistory: (before: ShardConfig | undefined, after: ShardConfig) => void;
  #watchers: Watcher[] = [];
  #memberWatchers: {
    readonly life: Life;
    readonly tell: (members: readonly Presence[]) => void;
  }[] = [];
  /** Gateways as they announced themselves: the newest start of each. */
  readonly #gateways = new Map<MemberId, number>();
  #gatewayWatchers: {
    readonly life: Life;
    readonly tell: (gateways: ReadonlyMap<MemberId, number>) => void;
  }[] = [];
  readonly #incarnations = new Map<number, number>();
  readonly #cuts = new Map<number, Cut>();
  down = 0;
  /** Until then every answer comes so much later. */
  slowUntilMs = 0;
  slowMs = 0;
  faults: CoordinatorFaults;

  constructor(
    schedule: Schedule,
    draws: Draws,
    faults: CoordinatorFaults,
    onHistory: (before: ShardConfig | undefined, after: ShardConfig) => void,
  ) {
    this.#schedule = schedule;
    this.#draws = draws;
    this.faults = faults;
    this.#onHistory = onHistory;
  }

  /** Each member's starts are counted by themselves. */
  nextIncarnation(index: number): number {
    const next = (this.#incarnations.get(index) ?? 0) + 1;
    this.#incarnations.set(index, next);
    return next;
  }

  isReachable(index: number): boolean {
    return this.down === 0 && !this.#cuts.has(index);
  }

  /** Cuts one member off; `heal` takes one such cut away. */
  block(index: number): void {
    const cut = this.#cuts.get(index);
    if (cut === undefined) this.#cuts.set(index, { count: 1, stuck: [] });
    else cut.count += 1;
  }

  heal(index: number): void {
    const cut = this.#cuts.get(index);
    if (cut === undefined) return;
    cut.count -= 1;
    if (cut.count > 0) return;
    this.#cuts.delete(index);
    for (const tell of cut.stuck) tell();
  }

  healAll(): void {
    this.down = 0;
    this.slowUntilMs = 0;
    for (const [index, cut] of this.#cuts) {
      cut.count = 1;
      this.heal(index);
    }
  }

  init(config: ShardConfig): void {
    this.table.set(config.shard, config);
  }

  /** `done` gets the key's value after the write, or undefined when the answer is lost. */
  write(life: Life, config: ShardConfig, ifEpoch: number, done: (now?: ShardConfig) => void): void {
    const lost = this.#draws.chance(this.faults.unknown);
    const before = (lost && this.#draws.chance(0.5)) || this.#cuts.has(life.index);
    this.#schedule.after(this.#delayMs(), () => {
      if (this.down > 0 || before) return;
      const held = this.table.get(config.shard);
      if ((held?.epoch ?? 0) === ifEpoch) {
        this.#onHistory(held, config);
        this.table.set(config.shard, config);
        this.#notify(config);
      }
      const now = this.table.get(config.shard);
      if (!lost) this.#answer(life, () => done(now));
    });
    // The caller's time-out.
    this.#schedule.after(1500, () => {
      life.main.run(() => done(undefined));
    });
  }

  /** A linearizable read of the whole table; no answer during an outage. */
  read(life: Life, done: (table: readonly ShardConfig[]) => void): void {
    if (this.#cuts.has(life.index)) return;
    this.#schedule.after(this.#delayMs(), () => {
      if (this.down > 0) return;
      const table = [...this.table.values()];
      this.#answer(life, () => done(table));
    });
  }

  watch(life: Life, tell: (config: ShardConfig) => void): void {
    this.#watchers = this.#watchers.filter((watcher) => watcher.life.alive);
    this.#watchers.push({ life, tell, nextMs: 0 });
  }

  watchMembers(life: Life, tell: (members: readonly Presence[]) => void): void {
    this.#memberWatchers = this.#memberWatchers.filter((watcher) => watcher.life.alive);
    this.#memberWatchers.push({ life, tell });
    this.#news(life, () => tell([...this.#presence.values()]));
  }

  register(presence: Presence): void {
    this.#presence.set(presence.index, presence);
    this.#tellMembers();
  }

  /** The lease of a dead process runs out. */
  unregister(index: number, incarnation: number): void {
    if (this.#presence.get(index)?.incarnation !== incarnation) return;
    this.#presence.delete(index);
    this.#tellMembers();
  }

  announceGateway(member: MemberId, incarnation: number): void {
    this.#gateways.set(member, incarnation);
    for (const { life, tell } of this.#gatewayWatchers) {
      this.#news(life, () => tell(this.#gateways));
    }
  }

  watchGateways(life: Life, tell: (gateways: ReadonlyMap<MemberId, number>) => void): void {
    this.#gatewayWatchers = this.#gatewayWatchers.filter((watcher) => watcher.life.alive);
    this.#gatewayWatchers.push({ life, tell });
    this.#news(life, () => tell(this.#gateways));
  }

  #tellMembers(): void {
    for (const { life, tell } of this.#memberWatchers) {
      this.#news(life, () => tell([...this.#presence.values()]));
    }
  }

  #notify(config: ShardConfig): void {
    for (const watcher of this.#watchers) {
      if (!watcher.life.alive) continue;
      const { watchMs, watchMsMax } = this.faults;
      const lagMs = watchMs + this.#draws.skewed(0, watchMsMax);
      watcher.nextMs = Math.max(watcher.nextMs, this.#schedule.nowMs + lagMs);
      this.#schedule.at(watcher.nextMs, () => {
        this.#arrive(watcher.life, () => watcher.tell(config));
      });
    }
  }

  /** A watch says everything, if late. */
  #news(life: Life, tell: () => void): void {
    this.#schedule.after(this.#delayMs(), () => this.#arrive(life, tell));
  }

  #arrive(life: Life, tell: () => void): void {
    const cut = this.#cuts.get(life.index);
    if (cut === undefined) life.main.run(tell);
    else cut.stuck.push(() => life.main.run(tell));
  }

  #answer(life: Life, tell: () => void): void {
    this.#schedule.after(this.#delayMs(), () => {
      if (!this.#cuts.has(life.index)) life.main.run(tell);
    });
  }

  #delayMs(): number {
    const { delayMs, jitterMs } = this.faults;
    const usual = delayMs + this.#draws.skewed(0, jitterMs);
    return this.#schedule.nowMs < this.slowUntilMs ? usual + this.slowMs : usual;
  }
}
