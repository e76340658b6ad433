// Alarms of the manager, as operators get them: a condition that holds for a while is raised once, with
// all its shards, and told again when it is over; things that happened are told as they come. What is
// alarming is decided in protocol/manager-alarms.ts.

import type { Logger } from "pino";
import type { MemberId, ShardId } from "../../mail/ids.ts";
import type { ManagerAlarm, StandingAlarm } from "../protocol/manager-types.ts";

/** An alarm that holds now, for status. */
export interface RaisedAlarm {
  readonly why: StandingAlarm;
  readonly shards: readonly ShardId[];
  readonly forMs: number;
}

interface Standing {
  readonly sinceMs: number;
  shards: readonly ShardId[];
  raised: boolean;
}

/** A failover in passing, or a restart, is no alarm. */
const holdMs = 3000;
const shardsLoggedMax = 32;

export class AlarmBoard {
  readonly #logger: Logger;
  readonly #counts = new Map<StandingAlarm | ManagerAlarm, number>();
  readonly #standing = new Map<StandingAlarm, Standing>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** How often each was raised since the start. */
  get counts(): ReadonlyMap<StandingAlarm | ManagerAlarm, number> {
    return this.#counts;
  }

  /** Those that hold now. */
  raised(nowMs: number): readonly RaisedAlarm[] {
    return [...this.#standing].flatMap(([why, { sinceMs, shards, raised }]) =>
      raised ? [{ why, shards, forMs: nowMs - sinceMs }] : [],
    );
  }

  /** Something happened that wants an operator. */
  happened(why: ManagerAlarm, shard: ShardId | undefined, node: MemberId | undefined): void {
    this.#count(why);
    this.#logger.error({ why, shard, node }, "the manager needs an operator");
  }

  /** All conditions that hold now; those that are not among them are over. */
  update(alarms: ReadonlyMap<StandingAlarm, readonly ShardId[]>, nowMs: number): void {
    for (const [why, shards] of alarms) {
      const known = this.#standing.get(why);
      if (known === undefined) this.#standing.set(why, { sinceMs: nowMs, shards, raised: false });
      else this.#hold(why, known, shards, nowMs);
    }
    for (const [why, { sinceMs, raised }] of this.#standing) {
      if (alarms.has(why)) continue;
      this.#standing.delete(why);
      if (raised) this.#logger.info({ why, forMs: Math.round(nowMs - sinceMs) }, "alarm is over");
    }
  }

  #hold(why: StandingAlarm, known: Standing, shards: readonly ShardId[], nowMs: number): void {
    known.shards = shards;
    if (known.raised || nowMs - known.sinceMs < holdMs) return;
    known.raised = true;
    this.#count(why);
    const facts = { why, count: shards.length, shards: shards.slice(0, shardsLoggedMax) };
    this.#logger.error(facts, "the manager needs an operator");
  }

  #count(why: StandingAlarm | ManagerAlarm): void {
    this.#counts.set(why, (this.#counts.get(why) ?? 0) + 1);
  }
}
