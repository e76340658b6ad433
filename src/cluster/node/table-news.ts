// What has happened to the shard table since this process started, counted from the values as they
// come: failovers, changes of roles by plan, copies lost and made whole. For status and metrics only.

import type { ShardId } from "../../mail/ids.ts";
import { sameCopy } from "../protocol/shard-config.ts";
import type { ShardConfig } from "../protocol/shard-config.ts";

export interface TableCounts {
  /** A primary was lost and another copy took over. */
  readonly failovers: number;
  /** A primary handed its part over: a planned stop, a drain, balance. */
  readonly handovers: number;
  /** Secondaries that left the table while they were whole. */
  readonly copiesRemoved: number;
  /** Secondaries that became whole. */
  readonly copiesWhole: number;
}

export class TableNews {
  readonly #known = new Map<ShardId, ShardConfig>();
  readonly #counts = { failovers: 0, handovers: 0, copiesRemoved: 0, copiesWhole: 0 };
  #lastFailoverMs: number | undefined;

  get counts(): TableCounts {
    return this.#counts;
  }

  /** When the last failover was noticed, of the clock that `note` is given; undefined: none yet. */
  get lastFailoverMs(): number | undefined {
    return this.#lastFailoverMs;
  }

  /** The table as it is now, then each new value. */
  note(config: ShardConfig, nowMs: number): void {
    const before = this.#known.get(config.shard);
    if (before !== undefined && before.epoch >= config.epoch) return;
    this.#known.set(config.shard, config);
    if (before === undefined) return;
    const { primary, secondaries, endedEpoch } = config;
    if (!sameCopy(before.primary, primary)) {
      if (endedEpoch === undefined) {
        this.#counts.failovers += 1;
        this.#lastFailoverMs = nowMs;
      } else {
        this.#counts.handovers += 1;
      }
    }
    for (const old of before.secondaries) {
      const now = secondaries.find((one) => sameCopy(one, old));
      if (old.full && now === undefined && !sameCopy(primary, old)) this.#counts.copiesRemoved += 1;
      if (!old.full && now?.full === true) this.#counts.copiesWhole += 1;
    }
  }
}
