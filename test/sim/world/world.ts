// One simulated cluster: builds its machines from a plan, runs faults and clients, heals everything
// and looks whether the invariants hold. A pure function of its seed.

import { epoch, lsn as makeLsn, memberId, shardId } from "../../../src/mail/ids.ts";
import type { MemberId } from "../../../src/mail/ids.ts";
import { AssertionFailure } from "../../../src/lib/assert.ts";
import type { ShardPlan } from "../../../src/cluster/protocol/manager-types.ts";
import type { Copy } from "../../../src/cluster/protocol/shard-config.ts";
import { Checker, describe, InvariantViolation } from "./checker.ts";
import { SimCoordinator } from "./coordinator.ts";
import { entryAt } from "./disk.ts";
import { Faults } from "./faults.ts";
import { SimGateway } from "./gateway.ts";
import type { Machine } from "./machine.ts";
import { Network } from "./network.ts";
import { Attacker } from "./socket.ts";
import { SimNode } from "./node.ts";
import type { Plan } from "./plan.ts";
import type { Rule } from "./rules.ts";
import { Draws, Schedule } from "./schedule.ts";

export interface RunOptions {
  readonly broken?: Rule;
  readonly trace?: (line: string) => void;
  /** The trace has every step of every replica. */
  readonly detailed?: boolean;
}

export interface RunResult {
  readonly seed: number;
  readonly violation: { readonly invariant: string; readonly what: string } | undefined;
  readonly virtualMs: number;
  readonly events: number;
  readonly acks: number;
  readonly reads: number;
  readonly configs: number;
  /** From healing to the last shard FULL. */
  readonly healedMs: number;
}

/** Events are cut off here: more means that machines talk in circles. */
const eventsMax = 3_000_000;

export class World {
  readonly plan: Plan;
  readonly broken: Rule | undefined;
  readonly schedule = new Schedule();
  readonly draws: Draws;
  readonly network: Network;
  readonly coordinator: SimCoordinator;
  readonly checker: Checker;
  readonly nodes: readonly SimNode[];
  readonly gateways: readonly SimGateway[];
  readonly attacker: Attacker;
  /** Processes started so far. */
  lives = 0;
  /** No more faults. */
  healed = false;
  /** Clients begin nothing new. */
  quiet = false;
  readonly #trace: ((line: string) => void) | undefined;
  readonly #detailed: boolean;
  readonly #faults: Faults;
  readonly #byName = new Map<MemberId, Machine>();
  #stores = 0;
  #ops = 0;
  #nonces = 0;

  constructor(plan: Plan, options: RunOptions) {
    this.plan = plan;
    this.broken = options.broken;
    this.#trace = options.trace;
    this.#detailed = options.detailed === true;
    this.draws = new Draws(plan.seed);
    this.network = new Network(this.schedule, this.draws, plan.network);
    this.checker = new Checker(this, plan.shards);
    this.attacker = new Attacker(this);
    this.coordinator = new SimCoordinator(
      this.schedule,
      this.draws,
      plan.coordinator,
      (before, after) => this.checker.history(before, after),
    );
    const nodes: SimNode[] = [];
    for (let at = 0; at < plan.nodes; at++) {
      const name = memberId(`n${at + 1}`);
      nodes.push(new SimNode(this, at, name, this.#rate(), plan.disk, plan.logWindow));
    }
    this.nodes = nodes;
    this.#faults = new Faults(this);
    this.gateways = Array.from(
      { length: plan.gateways },
      (_, at) => new SimGateway(this, plan.nodes + at, memberId(`g${at + 1}`), this.#rate()),
    );
    for (const machine of [...this.nodes, ...this.gateways]) {
      this.network.join(machine);
      this.#byName.set(machine.member, machine);
    }
    for (const [at, node] of this.nodes.entries()) {
      for (const other of this.nodes.slice(at + 1)) this.network.connect(node, other);
      for (const gateway of this.gateways) this.network.connect(node, gateway);
    }
  }

  /** Something happened at a node after which a crash is most telling. */
  point(node: SimNode): void {
    this.#faults.point(node);
  }

  trace(line: () => string): void {
    this.#trace?.(`${this.schedule.nowMs.toFixed(1).padStart(9)} ${line()}`);
  }

  /** Every step of every machine. */
  detail(line: () => string | undefined): void {
    if (this.#trace === undefined || !this.#detailed) return;
    const text = line();
    if (text !== undefined) this.trace(() => text);
  }

  nextStore(): number {
    this.#stores += 1;
    return this.#stores;
  }

  nextOp(): number {
    this.#ops += 1;
    return this.#ops;
  }

  nextNonce(): string {
    this.#nonces += 1;
    return String(this.#nonces);
  }

  machineOf(member: MemberId): Machine | undefined {
    return this.#byName.get(member);
  }

  nodeOf(member: MemberId): SimNode | undefined {
    const machine = this.#byName.get(member);
    return machine instanceof SimNode ? machine : undefined;
  }

  nodeAt(index: number): SimNode | undefined {
    return this.nodes[index];
  }

  /** With the rule broken that a tail begins at the commit mark: it begins behind it. */
  bendPlan(plan: ShardPlan): ShardPlan {
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
    this.#init();
    for (const machine of [...this.nodes, ...this.gateways]) machine.start();
    const faults = this.#faults;
    faults.begin();
    this.#runTo(this.plan.faultsMs, () => false);
    this.trace(() => "faults end, everything is healed");
    faults.healAll();
    this.healed = true;
    this.#heal();
  }

  #init(): void {
    // The last node of a seed that adds one stays empty at first.
    const used =
      this.plan.faults.has("addNode") && this.plan.nodes > 2
        ? this.plan.nodes - 1
        : this.plan.nodes;
    for (let shard = 0; shard < this.plan.shards; shard++) {
      const primary = this.nodes[shard % used];
      const secondary = this.nodes[(shard + 1 + Math.floor(shard / used)) % used];
      if (primary === undefined || secondary === undefined) continue;
      const other = secondary === primary ? this.nodes[(shard + 1) % used] : secondary;
      if (other === undefined) continue;
      const config = {
        shard: shardId(shard),
        epoch: epoch(1),
        primary: primary.copy,
        secondaries: [{ ...other.copy, full: true }],
        minCopies: this.plan.minCopies,
        nonce: "0",
      };
      this.coordinator.init(config);
      this.trace(() => describe(config));
    }
  }

  /** I9, then I1 and I6 with nothing under way. */
  #heal(): void {
    const startMs = this.schedule.nowMs;
    const isWhole = () => {
      for (let shard = 0; shard < this.plan.shards; shard++) {
        if (!this.checker.isWhole(shard)) return false;
      }
      return true;
    };
    let whole = this.#runTo(startMs + 5000, isWhole);
    if (!whole) {
      const promoted = () => {
        this.#forcePromote();
        return isWhole();
      };
      whole = this.#runTo(startMs + this.plan.healMsMax, promoted);
    }
    if (!whole) {
      const broken = [...this.coordinator.table.values()].filter(
        ({ shard }) => !this.checker.isWhole(shard),
      );
      this.checker.fail("I9", broken.map(describe).join("; "));
    }
    this.healedMs = this.schedule.nowMs - startMs;
    this.trace(() => "every shard is full");
    this.quiet = true;
    // Whatever was under way ends, then every member has applied what is acknowledged.
    this.#runTo(this.schedule.nowMs + 1500, () => false);
    whole = this.#runTo(this.schedule.nowMs + 20_000, isWhole);
    if (!whole) this.checker.fail("I9", "a shard that was full is not any more");
    for (let shard = 0; shard < this.plan.shards; shard++) this.checker.atRest(shard);
    if (!this.#runTo(this.schedule.nowMs + 5000, () => this.checker.isRingWhole())) {
      this.checker.fail(
        "ring",
        this.gateways.map((one) => one.process?.ring.describe()).join("; "),
      );
    }
  }

  healedMs = 0;

  /**
   * A primary was removing its secondary when its disk was lost, and the new one's disk, too: of so
   * many failures at once only an operator can say that those copies are gone for ever.
   */
  #forcePromote(): void {
    for (const { shard, primary, secondaries, former } of this.coordinator.table.values()) {
      const exists = ({ node, store }: Copy) => this.nodeOf(node)?.copy.store === store;
      const to = former?.find(exists);
      if ([primary, ...secondaries].some(exists) || to === undefined) continue;
      for (const { process } of this.gateways) {
        if (process?.acts === true) process.order({ kind: "forcePromote", shard, to });
        else process?.ring.want(true);
      }
    }
  }

  /** True when `until` held, looked at every 50 ms. */
  #runTo(atMs: number, until: () => boolean): boolean {
    for (let nextMs = this.schedule.nowMs; nextMs < atMs; ) {
      nextMs = Math.min(nextMs + 50, atMs);
      this.schedule.run(nextMs, () => true);
      if (this.schedule.ran > eventsMax) this.checker.fail("I9", "machines talk in circles");
      if (until()) return true;
    }
    return false;
  }

  #rate(): number {
    const { drift } = this.plan;
    return 1 + this.draws.between(-drift, drift);
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
  const { acks, reads, configs } = world.checker;
  const { nowMs: virtualMs, ran: events } = world.schedule;
  const { healedMs } = world;
  return { seed: plan.seed, violation, virtualMs, events, acks, reads, configs, healedMs };
}
