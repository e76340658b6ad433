// What every simulated cluster has, whatever its nodes are made of: time, network, coordinator,
// gateways, faults, and the story of a run. Leaves nodes, clients and most invariants to its heirs.

import { epoch, memberId, shardId } from "../../../src/mail/ids.ts";
import type { Epoch, MemberId } from "../../../src/mail/ids.ts";
import type {
  Position,
  SealAnswer,
  ShardPlan,
} from "../../../src/cluster/protocol/manager-types.ts";
import type { ReplicaState } from "../../../src/cluster/protocol/replica-state.ts";
import type { Copy, ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import { SimCoordinator } from "./coordinator.ts";
import { Faults } from "./faults.ts";
import { SimGateway } from "./gateway.ts";
import type { GatewayProcess } from "./gateway.ts";
import { Machine } from "./machine.ts";
import { Network } from "./network.ts";
import type { FaultKind, Plan } from "./plan.ts";
import { isRingWhole } from "./ring-checker.ts";
import type { Rule } from "./rules.ts";
import { Draws, Schedule } from "./schedule.ts";
import { Attacker } from "./socket.ts";
import { describe, InvariantViolation } from "./violation.ts";

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

/** What managers ask of a node's process. */
export interface ManagedNode {
  readonly machine: NodeMachine;
  readonly linked: readonly MemberId[];
  takeConfig(config: ShardConfig): void;
  seal(shard: number, epoch: Epoch, evenIfHeard: boolean, answer: (a: SealAnswer) => void): void;
  handOver(shard: number, epoch: Epoch, answer: (at: Position | undefined) => void): void;
  ask(shard: number, epoch: Epoch): Position | undefined;
  graft(shard: number, at: GraftOrder, answer: (at: Position | undefined) => void): void;
}

export interface GraftOrder {
  readonly epoch: Epoch;
  readonly from: Copy;
  readonly throughLsn: number;
  readonly throughHash: number;
}

/** A mail node, of whatever make: what survives its processes. */
export abstract class NodeMachine extends Machine {
  draining = false;
  /** False once its disk has lied about what it holds. */
  sound = true;
  abstract readonly process: ManagedNode | undefined;
  abstract readonly copy: Copy;
  /** Its copy of a shard, as its process knows it. */
  abstract replica(shard: number): Readonly<ReplicaState> | undefined;
  /** Its log keeps nothing of a shard that is applied, where logs are only numbers. */
  prune(_shard: number): void {}
  /** Its data folder is lost while it is down. */
  abstract wipe(): void;
  /** Its disk is slow until then. */
  abstract sicken(untilMs: number): void;
  /** Its disk fails in a way that simulated protocol nodes know nothing of. */
  spoil(_kind: FaultKind, _untilMs: number): void {}
  /** Its disk has no more faults. */
  abstract heal(): void;
}

/** What gateways hold connections of. */
export interface Client {
  next(): void;
  abandon(): void;
}

/** The run goes on to `atMs`, or until `until` holds: it is asked every 50 ms. */
export interface Pause {
  readonly atMs: number;
  readonly until?: () => boolean;
}

/** Events are cut off here: more means that machines talk in circles. */
const eventsMax = 3_000_000;
const lookMs = 50;

export abstract class Cluster {
  readonly plan: Plan;
  readonly broken: Rule | undefined;
  readonly schedule = new Schedule();
  readonly draws: Draws;
  readonly network: Network;
  readonly coordinator: SimCoordinator;
  readonly attacker: Attacker;
  abstract readonly nodes: readonly NodeMachine[];
  gateways: readonly SimGateway[] = [];
  configs = 0;
  /** Processes started so far. */
  lives = 0;
  /** No more faults. */
  healed = false;
  /** Clients begin nothing new. */
  quiet = false;
  healedMs = 0;
  readonly #trace: ((line: string) => void) | undefined;
  readonly #detailed: boolean;
  readonly #faults: Faults;
  readonly #byName = new Map<MemberId, Machine>();
  readonly #epochs = new Map<number, number>();
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
    this.attacker = new Attacker(this);
    this.coordinator = new SimCoordinator(
      this.schedule,
      this.draws,
      plan.coordinator,
      (before, after) => this.#history(before, after),
    );
    this.#faults = new Faults(this);
  }

  abstract makeClient(gateway: GatewayProcess): Client;
  /** The primary serves the shard. */
  abstract isServed(shard: number): boolean;
  /** I9: full and served. */
  abstract isWhole(shard: number): boolean;
  /** What must hold when nothing is under way any more. */
  protected abstract atRest(): Generator<Pause, void, boolean>;

  /** Once the nodes are made. */
  protected connect(): void {
    this.gateways = Array.from(
      { length: this.plan.gateways },
      (_, at) => new SimGateway(this, this.plan.nodes + at, memberId(`g${at + 1}`), this.rate()),
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
  point(node: NodeMachine): void {
    this.#faults.point(node);
  }

  get traced(): boolean {
    return this.#trace !== undefined;
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

  nodeOf(member: MemberId): NodeMachine | undefined {
    return this.nodes.find((node) => node.member === member);
  }

  nodeAt(index: number): NodeMachine | undefined {
    return this.nodes[index];
  }

  /** A gateway's process is gone; with `silent` the machine lost its power. */
  gatewayEnded(_gateway: SimGateway, _silent: boolean): void {}

  /** What a manager is about to write, with some rule broken. */
  bendPlan(plan: ShardPlan): ShardPlan {
    return plan;
  }

  fail(invariant: string, what: string): never {
    throw new InvariantViolation(invariant, what);
  }

  /** What is there before anything goes wrong. */
  protected *prepare(): Generator<Pause, void, boolean> {}

  /** The whole of a run: faults, healing, and everything at rest. */
  protected *story(): Generator<Pause, void, boolean> {
    this.#initTable();
    for (const machine of [...this.nodes, ...this.gateways]) machine.start();
    yield* this.prepare();
    this.#faults.begin();
    yield { atMs: this.schedule.nowMs + this.plan.faultsMs };
    this.trace(() => "faults end, everything is healed");
    this.#faults.healAll();
    this.healed = true;
    yield* this.#heal();
  }

  /** Stops of a pause: the schedule runs to each, then `goesOn` says whether the pause is over. */
  protected *stops({ atMs, until }: Pause): Generator<number, boolean, void> {
    while (this.schedule.nowMs < atMs) {
      yield Math.min(this.schedule.nowMs + lookMs, atMs);
      if (this.schedule.ran > eventsMax) this.fail("I9", "machines talk in circles");
      if (until?.() === true) return true;
    }
    return false;
  }

  protected rate(): number {
    const { drift } = this.plan;
    return 1 + this.draws.between(-drift, drift);
  }

  /** I7: the coordinator's history. */
  #history(before: ShardConfig | undefined, after: ShardConfig): void {
    this.configs += 1;
    this.trace(() => `table ${describe(after)}`);
    const last = this.#epochs.get(after.shard) ?? 1;
    if (after.epoch !== (before?.epoch ?? 0) + 1 || after.epoch <= last) {
      this.fail("I7", `epoch ${after.epoch} of shard ${after.shard} follows ${last}`);
    }
    this.#epochs.set(after.shard, after.epoch);
  }

  #initTable(): void {
    const { plan, nodes } = this;
    // The last node of a seed that adds one stays empty at first.
    const used = plan.faults.has("addNode") && plan.nodes > 2 ? plan.nodes - 1 : plan.nodes;
    for (let shard = 0; shard < plan.shards; shard++) {
      const primary = nodes[shard % used];
      const secondary = nodes[(shard + 1 + Math.floor(shard / used)) % used];
      if (primary === undefined || secondary === undefined) continue;
      const other = secondary === primary ? nodes[(shard + 1) % used] : secondary;
      if (other === undefined) continue;
      const config = {
        shard: shardId(shard),
        epoch: epoch(1),
        primary: primary.copy,
        secondaries: [{ ...other.copy, full: true }],
        minCopies: plan.minCopies,
        nonce: "0",
      };
      this.coordinator.init(config);
      this.trace(() => describe(config));
    }
  }

  /** I9, then what must hold with nothing under way. */
  *#heal(): Generator<Pause, void, boolean> {
    const startMs = this.schedule.nowMs;
    const isWhole = () => {
      for (let shard = 0; shard < this.plan.shards; shard++) {
        if (!this.isWhole(shard)) return false;
      }
      return true;
    };
    let whole = yield { atMs: startMs + 5000, until: isWhole };
    if (!whole) {
      const promoted = () => {
        this.#forcePromote();
        return isWhole();
      };
      whole = yield { atMs: startMs + this.plan.healMsMax, until: promoted };
    }
    if (!whole) {
      const broken = [...this.coordinator.table.values()].filter(
        ({ shard }) => !this.isWhole(shard),
      );
      this.fail("I9", broken.map(describe).join("; "));
    }
    this.healedMs = this.schedule.nowMs - startMs;
    this.trace(() => "every shard is full");
    this.quiet = true;
    // Whatever was under way ends, then every member has applied what is acknowledged.
    yield { atMs: this.schedule.nowMs + 1500 };
    // A change that was on its way may still take a copy out; a full copy waits for its return first.
    whole = yield { atMs: this.schedule.nowMs + this.plan.healMsMax, until: isWhole };
    if (!whole) this.fail("I9", "a shard that was full is not any more");
    yield* this.atRest();
    if (!(yield { atMs: this.schedule.nowMs + 5000, until: () => isRingWhole(this.gateways) })) {
      this.fail("ring", this.gateways.map((one) => one.process?.ring.describe()).join("; "));
    }
  }

  /**
   * A primary was removing its secondary when its disk was lost, and the new one's disk, too; or a copy
   * that is left alone turns out to be damaged. Of so many failures at once only an operator can say
   * that those copies are gone for ever.
   */
  #forcePromote(): void {
    for (const { shard, primary, secondaries, former } of this.coordinator.table.values()) {
      const exists = ({ node, store }: Copy) => this.nodeOf(node)?.copy.store === store;
      const to = former?.find(exists);
      if (to === undefined) continue;
      const left = [primary, ...secondaries.filter(({ full }) => full)].filter(exists);
      const holders = left.flatMap(({ node }) => this.nodeOf(node) ?? []);
      if (holders.length > 0) {
        const isDamaged = holders.every((one) => one.replica(shard)?.damaged === true);
        if (isDamaged && this.#isWholeBut(shard)) for (const one of holders) this.#empty(one);
        continue;
      }
      for (const { process } of this.gateways) {
        if (process?.acts === true) process.order({ kind: "forcePromote", shard, to });
        else process?.ring.want(true);
      }
    }
  }

  /** Every other shard is whole: one node may lose its folder. */
  #isWholeBut(shard: number): boolean {
    return [...this.coordinator.table.keys()].every((one) => one === shard || this.isWhole(one));
  }

  /** An operator gives the node an empty folder. */
  #empty(node: NodeMachine): void {
    this.trace(() => `${node.name} is given an empty folder`);
    node.kill(false);
    node.wipe();
    this.schedule.after(2000, () => node.start());
  }
}
