// A simulated gateway: the manager machine with its links, and clients that write and read through
// right and wrong members. Who acts is the token ring's matter; in some seeds a gateway misjudges it.

import type { MemberId, StoreId } from "../../../src/mail/ids.ts";
import { unreachable } from "../../../src/lib/assert.ts";
import { makeManager } from "../../../src/cluster/protocol/manager-state.ts";
import { stepManager } from "../../../src/cluster/protocol/manager.ts";
import type {
  MailNode,
  ManagerEffect,
  ManagerEvent,
  ManagerOrder,
  ShardReport,
} from "../../../src/cluster/protocol/manager-types.ts";
import type { RingView } from "../../../src/cluster/protocol/ring-types.ts";
import { hasWork } from "../../../src/cluster/node/manager-work.ts";
import type { Copy, ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import type { Presence } from "./coordinator.ts";
import type { Life } from "./life.ts";
import { Machine } from "./machine.ts";
import type { Station } from "./network.ts";
import { SimPulse } from "./pulse.ts";
import { SimRing } from "./ring.ts";
import type { SimSocket } from "./socket.ts";
import type { Client, Cluster, ManagedNode, NodeMachine } from "./cluster.ts";

/** What a gateway hears of a node. */
export interface NodeReport {
  readonly linked: readonly MemberId[];
  readonly reports: readonly ShardReport[];
}

type EffectOf<K extends ManagerEffect["kind"]> = Extract<ManagerEffect, { kind: K }>;

const tickMs = 50;
/** The ring is looked at again so often. */
const ringMs = 100;

export class SimGateway extends Machine {
  process: GatewayProcess | undefined;

  get socket(): SimSocket | undefined {
    return this.process?.pulse.socket;
  }

  linkChanged(to: Station, up: boolean): void {
    const node = this.world.nodeAt(to.index);
    if (node !== undefined) this.process?.link(node.member, up);
  }

  protected begin(life: Life): void {
    this.process = new GatewayProcess(this, life);
    this.process.open();
  }

  protected end(silent: boolean): void {
    this.process?.close();
    this.process = undefined;
    this.world.gatewayEnded(this, silent);
  }
}

export class GatewayProcess {
  readonly machine: SimGateway;
  readonly life: Life;
  readonly world: Cluster;
  readonly pulse: SimPulse;
  readonly ring: SimRing;
  readonly #manager;
  readonly #clients: Client[] = [];
  /** Hears of links to nodes, and of the table, for the clients' sake. */
  onLink: ((node: MemberId, up: boolean) => void) | undefined;
  onTable: ((config: ShardConfig) => void) | undefined;
  readonly #linksDown = new Set<MemberId>();
  #wanted = false;
  #order = "";
  #presences: readonly Presence[] = [];
  #misjudges = false;

  constructor(machine: SimGateway, life: Life) {
    this.machine = machine;
    this.life = life;
    this.world = machine.world;
    this.#manager = makeManager(machine.member);
    this.pulse = new SimPulse(this.world, machine, life, (node, heard) => {
      this.#step({ kind: heard ? "heard" : "silent", node, nowMs: this.nowMs });
      this.#reach();
    });
    this.ring = new SimRing(machine, life, this.pulse.socket, {
      acting: () => this.#judge(),
      view: (view) => this.#look(view),
    });
    this.pulse.onRing = (from, message) => this.ring.receive(from, message);
  }

  get nowMs(): number {
    return this.life.nowMs;
  }

  get acts(): boolean {
    return this.#manager.acting;
  }

  open(): void {
    const { world, life } = this;
    this.pulse.watch(world.nodes.map(({ member }) => member));
    world.coordinator.announceGateway(this.machine.member, this.ring.state.boot);
    world.coordinator.watch(life, (config) => this.#table(config));
    world.coordinator.watchMembers(life, (members) => {
      this.#presences = members;
      this.#tellMembers();
    });
    this.readTable();
    life.main.every(tickMs, () => this.#step({ kind: "tick", nowMs: this.nowMs }));
    life.main.every(ringMs, () => {
      if (world.healed) this.#misjudges = false;
      else if (world.draws.chance(world.plan.misjudge)) this.#misjudges = !this.#misjudges;
      this.#look(this.ring.view);
      this.#judge();
    });
    for (let at = 0; at < world.plan.clientsPerGateway; at++) {
      const client = world.makeClient(this);
      this.#clients.push(client);
      life.main.after(world.draws.between(50, 300), () => client.next());
    }
  }

  close(): void {
    for (const client of this.#clients) client.abandon();
  }

  get configs(): readonly ShardConfig[] {
    return [...this.#manager.shards.values()].map(({ config }) => config);
  }

  /** Where the shard's primary is, as far as this gateway knows. */
  configOf(shard: number): ShardConfig | undefined {
    for (const { config } of this.#manager.shards.values()) {
      if (config.shard === shard) return config;
    }
    return undefined;
  }

  order(order: ManagerOrder): void {
    this.life.main.run(() => this.#step({ kind: "order", order, nowMs: this.nowMs }));
  }

  link(node: MemberId, up: boolean): void {
    if (up) this.#linksDown.delete(node);
    else this.#linksDown.add(node);
    this.#step({ kind: "link", node, state: up ? "up" : "reset", nowMs: this.nowMs });
    this.#reach();
    this.onLink?.(node, up);
  }

  report(from: Copy, { linked, reports }: NodeReport): void {
    this.#step({ kind: "report", from, linked, reports, nowMs: this.nowMs });
  }

  /** Facts of members have changed: an operator drains one. */
  membersChanged(): void {
    this.life.main.run(() => this.#tellMembers());
  }

  readTable(): void {
    let read = false;
    this.world.coordinator.read(this.life, (table) => {
      read = true;
      for (const config of table) this.#table(config);
    });
    this.life.main.after(500, () => {
      if (!read) this.readTable();
    });
  }

  #table(config: ShardConfig): void {
    const known =
      this.world.broken === "fullOnly"
        ? { ...config, secondaries: config.secondaries.map((one) => ({ ...one, full: true })) }
        : config;
    this.#step({ kind: "table", config: known, nowMs: this.nowMs });
    this.onTable?.(config);
  }

  #tellMembers(): void {
    const members = this.#presences.flatMap(({ index, node, store, incarnation }) => {
      const machine = this.world.nodeAt(index);
      return machine === undefined ? [] : [factsOf(machine, node, store, incarnation)];
    });
    this.#step({ kind: "members", members, nowMs: this.nowMs });
  }

  /** The nodes that this gateway can't reach go round with the token. */
  #reach(): void {
    this.ring.reach([...new Set([...this.pulse.silent, ...this.#linksDown])]);
  }

  /** Who is on the ring, and what the others can't reach. */
  #look(view: RingView): void {
    const { member } = this.machine;
    const gateways = view.order.length === 0 ? [member] : view.order;
    const order = gateways.join(" ");
    if (order !== this.#order) {
      this.#order = order;
      this.#step({ kind: "gateways", gateways, nowMs: this.nowMs });
    }
    for (const { gateway, unreachable } of view.reach) {
      if (gateway === member) continue;
      this.#step({ kind: "view", gateway, unreachable, nowMs: this.nowMs });
    }
  }

  /** Acts while it has the token, but for seeds in which it may be wrong about that. */
  #judge(): void {
    const acting = this.ring.state.acting !== this.#misjudges;
    if (acting !== this.acts) this.#step({ kind: "acting", acting, nowMs: this.nowMs });
  }

  #step(event: ManagerEvent): void {
    if (event.kind !== "tick" && event.kind !== "view" && event.kind !== "table") {
      this.world.trace(() => `${this.machine.name} hears ${JSON.stringify(event)}`);
    }
    const out: ManagerEffect[] = [];
    stepManager(this.#manager, event, out);
    for (const effect of out) this.#perform(effect);
    if (event.kind !== "heard") this.#want();
  }

  /** The token is kept while there is something to do. */
  #want(): void {
    const wanted = hasWork(this.#manager);
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    this.ring.want(wanted);
  }

  #perform(effect: ManagerEffect): void {
    const { world, machine } = this;
    if (effect.kind !== "alarm" && effect.kind !== "push") {
      world.trace(() => `${machine.name} manager ${JSON.stringify(effect)}`);
    }
    switch (effect.kind) {
      case "seal":
        return this.#seal(effect);
      case "handOver":
        return this.#handOver(effect);
      case "ask":
        return this.#ask(effect);
      case "graft":
        return this.#graft(effect);
      case "write":
        return this.#write(effect);
      case "push":
        for (const to of effect.to) this.#call(to, (node) => node.takeConfig(effect.config));
        return;
      case "alarm":
        world.trace(() => `${machine.name} manager alarm ${JSON.stringify(effect)}`);
        return;
      default:
        return unreachable(effect);
    }
  }

  /** Runs at the node if its store is the one meant; then `back` runs here, if the link holds. */
  #call(to: MemberId, run: (node: ManagedNode) => void): void {
    const node = this.world.nodeOf(to);
    if (node === undefined) return;
    this.world.network.send(this.machine, node, () => {
      if (node.process !== undefined) run(node.process);
    });
  }

  #back(node: ManagedNode, event: ManagerEvent): void {
    this.world.network.send(node.machine, this.machine, () => {
      this.#step({ ...event, nowMs: this.nowMs });
    });
  }

  #seal({ to, shard, epoch, evenIfHeard }: EffectOf<"seal">): void {
    this.#call(to.node, (node) => {
      if (node.machine.copy.store !== to.store) return;
      node.seal(shard, epoch, evenIfHeard, (given) => {
        const lies = this.world.broken === "fullOnly" && given.kind === "sealed";
        const answer = lies ? { ...given, full: true } : given;
        const { linked } = node;
        this.#back(node, { kind: "sealAnswer", shard, from: to, linked, answer, nowMs: 0 });
      });
    });
  }

  #handOver({ from, shard, epoch }: EffectOf<"handOver">): void {
    this.#call(from.node, (node) => {
      node.handOver(shard, epoch, (position) => {
        this.#back(node, { kind: "handOverAnswer", shard, epoch, from, position, nowMs: 0 });
      });
    });
  }

  #ask({ to, shard, epoch }: EffectOf<"ask">): void {
    this.#call(to.node, (node) => {
      const position = node.ask(shard, epoch);
      const { linked } = node;
      this.#back(node, { kind: "askAnswer", shard, epoch, from: to, linked, position, nowMs: 0 });
    });
  }

  #graft(effect: EffectOf<"graft">): void {
    const { to, shard, epoch } = effect;
    this.#call(to.node, (node) => {
      node.graft(shard, effect, (position) => {
        this.#back(node, { kind: "graftAnswer", shard, epoch, from: to, position, nowMs: 0 });
      });
    });
  }

  #write({ plan, ifEpoch }: EffectOf<"write">): void {
    const { world, life } = this;
    const nonce = world.nextNonce();
    const config: ShardConfig = { ...world.bendPlan(plan), nonce };
    let ended = false;
    const done = (current: ShardConfig | undefined) => {
      if (ended) return;
      ended = true;
      const { shard } = plan;
      this.#step({ kind: "wrote", shard, ifEpoch, current, nowMs: this.nowMs });
    };
    world.coordinator.write(life, config, ifEpoch, (now) => {
      if (now !== undefined) {
        done(now);
        return;
      }
      // Unknown: what the key holds now tells.
      world.coordinator.read(life, (table) => {
        done(table.find(({ shard }) => shard === plan.shard));
      });
      life.main.after(1500, () => done(undefined));
    });
  }
}

function factsOf(
  machine: NodeMachine,
  node: MemberId,
  store: StoreId,
  incarnation: number,
): MailNode {
  const { draining, index } = machine;
  const failureDomain = String(index % 2);
  return { node, store, incarnation, failureDomain, draining, degraded: false, load: 0 };
}
