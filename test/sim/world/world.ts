// A simulated cluster of protocol machines: entries are numbers, logs are lists. A pure function of
// its seed. What runs real code of the store is store/world.ts.

import { lsn as makeLsn, memberId } from "../../../src/mail/ids.ts";
import type { MemberId } from "../../../src/mail/ids.ts";
import { AssertionFailure } from "../../../src/lib/assert.ts";
import type { ShardPlan } from "../../../src/cluster/protocol/manager-types.ts";
import { Checker } from "./checker.ts";
import { SimClient } from "./client.ts";
import { Cluster } from "./cluster.ts";
import type { Pause, RunOptions, RunResult } from "./cluster.ts";
import { entryAt } from "./disk.ts";
import type { GatewayProcess } from "./gateway.ts";
import { SimNode } from "./node.ts";
import type { Plan } from "./plan.ts";
import { InvariantViolation } from "./violation.ts";

export class World extends Cluster {
  readonly checker: Checker;
  readonly nodes: readonly SimNode[];

  constructor(plan: Plan, options: RunOptions) {
    super(plan, options);
    this.checker = new Checker(this, plan.shards);
    this.nodes = Array.from(
      { length: plan.nodes },
      (_, at) =>
        new SimNode(this, at, memberId(`n${at + 1}`), this.rate(), plan.disk, plan.logWindow),
    );
    this.connect();
  }

  makeClient(gateway: GatewayProcess): SimClient {
    return new SimClient(this, gateway);
  }

  override nodeOf(member: MemberId): SimNode | undefined {
    return this.nodes.find((node) => node.member === member);
  }

  /** With the rule broken that a tail begins at the commit mark: it begins behind it. */
  override bendPlan(plan: ShardPlan): ShardPlan {
    if (this.broken !== "fromLsn") return plan;
    const secondaries = plan.secondaries.map((one) => {
      if (one.full || one.fromLsn === undefined) return one;
      const { main } = this.nodeOf(plan.primary.node)?.process?.log.image(plan.shard) ?? {};
      const anchor = main === undefined ? undefined : entryAt(main, one.fromLsn + 1);
      if (anchor === undefined) return one;
      return { ...one, fromLsn: makeLsn(one.fromLsn + 2), anchorHash: anchor.hash };
    });
    return { ...plan, secondaries };
  }

  run(): void {
    const story = this.story();
    for (let next = story.next(); next.done !== true; ) next = story.next(this.#runTo(next.value));
  }

  isServed(shard: number): boolean {
    return this.checker.isServed(shard);
  }

  isWhole(shard: number): boolean {
    return this.checker.isWhole(shard);
  }

  // eslint-disable-next-line require-yield
  protected *atRest(): Generator<Pause, void, boolean> {
    for (let shard = 0; shard < this.plan.shards; shard++) this.checker.atRest(shard);
  }

  #runTo(pause: Pause): boolean {
    const stops = this.stops(pause);
    for (let next = stops.next(); ; next = stops.next()) {
      if (next.done === true) return next.value;
      this.schedule.run(next.value, () => true);
    }
  }
}

/** Runs one seed to its end. Never throws for what the seed shows. */
export function runSeed(plan: Plan, options: RunOptions = {}): RunResult {
  const world = new World(plan, options);
  let violation: RunResult["violation"];
  try {
    world.run();
  } catch (error) {
    if (error instanceof InvariantViolation) {
      violation = { invariant: error.invariant, what: error.message };
    } else if (error instanceof AssertionFailure) {
      violation = { invariant: "assert", what: error.stack ?? error.message };
    } else {
      throw error;
    }
    world.trace(() => `VIOLATION ${violation?.what ?? ""}`);
  }
  const { acks, reads } = world.checker;
  const { nowMs: virtualMs, ran: events } = world.schedule;
  const { healedMs, configs } = world;
  return { seed: plan.seed, violation, virtualMs, events, acks, reads, configs, healedMs };
}
