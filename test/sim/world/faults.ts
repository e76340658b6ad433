// What goes wrong in a run, and what operators do meanwhile: draws from the plan's kinds of faults,
// each with its end. Never takes the last complete copy of a shard: that would be no single failure.

import type { SimGateway } from "./gateway.ts";
import type { Machine } from "./machine.ts";
import { hunt } from "./hunts.ts";
import type { Ground, Wait } from "./hunts.ts";
import { askedKinds, faultKinds, huntKinds, storeFaultKinds } from "./plan.ts";
import type { FaultKind } from "./plan.ts";
import type { Cluster, NodeMachine } from "./cluster.ts";

/** Faults of the network, disk or coordinator that are there all the time are no events. */
const lasting: readonly FaultKind[] = [
  "loss",
  "lateDatagrams",
  "wildLinks",
  "slowWatch",
  "unknownWrites",
  "drift",
  "misjudge",
  "crashPoints",
  "forgeries",
];

/** Hunts look so often. */
const lookMs = 1;

export class Faults implements Ground {
  readonly #world: Cluster;
  readonly #kinds: readonly FaultKind[];
  readonly #frozen = new Map<Machine, () => void>();
  #over = false;
  #hunting = false;

  constructor(world: Cluster) {
    this.#world = world;
    this.#kinds = [...faultKinds, ...huntKinds, ...askedKinds, ...storeFaultKinds].filter(
      (kind) => world.plan.faults.has(kind) && !lasting.includes(kind),
    );
  }

  begin(): void {
    if (this.#kinds.length === 0) return;
    const { schedule, draws, plan } = this.#world;
    schedule.after(draws.between(0.3, 1.7) * plan.faultEveryMs, () => {
      if (this.#over) return;
      const kind = draws.pick(this.#kinds);
      if (kind !== undefined) this.#happen(kind);
      this.begin();
    });
  }

  /** One of the moments after which a crash is most telling. */
  point(node: NodeMachine): void {
    const { plan, draws } = this.#world;
    if (this.#over || !plan.faults.has("crashPoints") || !draws.chance(0.1)) return;
    const lastsMs = draws.skewed(10, 1000);
    this.#later(draws.skewed(0, 20), () => this.kill(node, false, lastsMs));
  }

  /** Everything works again, apart from what was lost for good. */
  healAll(): void {
    this.#over = true;
    const { network, coordinator, nodes, gateways, plan } = this.#world;
    for (const end of this.#frozen.values()) end();
    network.healAll();
    network.faults = { ...plan.network, loss: 0, doubled: 0, late: 0, wild: 0 };
    coordinator.faults = { ...plan.coordinator, unknown: 0, watchMsMax: 20 };
    coordinator.healAll();
    for (const node of nodes) {
      node.heal();
      node.draining = false;
      node.start();
    }
    for (const gateway of gateways) {
      gateway.start();
      gateway.process?.membersChanged();
    }
  }

  #happen(kind: FaultKind): void {
    const { draws, nodes, gateways, coordinator } = this.#world;
    const node = draws.pick(nodes);
    const gateway = draws.pick(gateways);
    if (node === undefined || gateway === undefined) return;
    const lastsMs = draws.skewed(20, 4000);
    this.#world.trace(() => `fault ${kind} ${node.name} for ${Math.round(lastsMs)} ms`);
    switch (kind) {
      case "kill":
      case "powerCut":
        return this.kill(node, kind === "powerCut", lastsMs);
      case "wipe":
        return this.#wipe(node, lastsMs);
      case "lastingLoss":
        return this.#loseForGood(node);
      case "killGateway":
        return this.kill(gateway, draws.chance(0.3), lastsMs);
      case "stop":
      case "pause":
      case "stall":
        return this.#freeze(draws.chance(0.8) ? node : gateway, kind, lastsMs);
      case "isolate":
      case "cutPair":
      case "oneWay":
      case "offGateways":
        return this.#partition(kind, node, lastsMs);
      case "cutGateway":
        return this.#partition(kind, gateway, lastsMs);
      case "resetLink": {
        const other = draws.pick([...nodes, ...gateways]);
        if (other !== undefined) this.#world.network.reset(node, other);
        return;
      }
      case "deafPair": {
        const other = draws.pick([...nodes, ...gateways].filter((one) => one !== node));
        if (other !== undefined) this.deafen(node, other, lastsMs);
        return;
      }
      case "slowDisk":
        node.sicken(this.#world.schedule.nowMs + lastsMs);
        return;
      case "coordinatorOut":
        coordinator.down += 1;
        this.#later(lastsMs, () => {
          coordinator.down -= 1;
        });
        return;
      case "slowCoordinator":
        return this.slowCoordinator(draws.between(100, 900), lastsMs);
      case "offCoordinator":
        return this.offCoordinator(draws.pick([...nodes, ...gateways]) ?? node, lastsMs);
      case "blindPrimary":
      case "blindAfterHandOver":
      case "crashAfterConfig":
      case "crashAfterSeal":
      case "answerWhileAsking":
      case "restartOffRing":
      case "cutOff":
        // One at a time: they would spoil each other's.
        if (this.#hunting) return;
        this.#hunting = true;
        return this.#hunt(hunt(kind, this.#world, this));
      case "failedSync":
      case "fullDisk":
      case "bitFlip":
        return node.spoil(kind, this.#world.schedule.nowMs + lastsMs);
      default:
        return this.#operate(kind, node, gateway, lastsMs);
    }
  }

  #operate(kind: FaultKind, node: NodeMachine, gateway: SimGateway, lastsMs: number): void {
    const { draws, coordinator } = this.#world;
    const config = draws.pick([...coordinator.table.values()]);
    if (config === undefined) return;
    const { shard } = config;
    if (kind === "drain") {
      node.draining = true;
      this.#tellMembers();
      this.#later(lastsMs * 2, () => {
        node.draining = false;
        this.#tellMembers();
      });
    } else if (kind === "swap") {
      const to = draws.pick(config.secondaries)?.node;
      if (to !== undefined) gateway.process?.order({ kind: "swap", shard, to });
    } else if (kind === "move") {
      const from = draws.pick([config.primary, ...config.secondaries])?.node;
      if (from === undefined) return;
      gateway.process?.order({ kind: "move", shard, from, to: node.member });
    }
  }

  #tellMembers(): void {
    for (const gateway of this.#world.gateways) gateway.process?.membersChanged();
  }

  kill(machine: Machine, silent: boolean, lastsMs: number): void {
    if (!machine.alive) return;
    this.#frozen.get(machine)?.();
    machine.kill(silent);
    this.#later(lastsMs, () => machine.start());
  }

  #wipe(node: NodeMachine, lastsMs: number): void {
    if (!node.alive || !this.#isSpare(node)) return;
    this.#frozen.get(node)?.();
    node.kill(this.#world.draws.chance(0.5));
    node.wipe();
    this.#later(lastsMs, () => node.start());
  }

  /** Never comes back; only while enough others are left. */
  #loseForGood(node: NodeMachine): void {
    const left = this.#world.nodes.filter((one) => one !== node && !one.gone);
    if (left.length < 2 || !node.alive || !this.#isSpare(node)) return;
    this.#frozen.get(node)?.();
    node.gone = true;
    node.kill(true);
    node.wipe();
  }

  /** Each shard has another complete copy, by the table, on a sound disk that is what the table says. */
  #isSpare(node: NodeMachine): boolean {
    for (const { shard, epoch, primary, secondaries } of this.#world.coordinator.table.values()) {
      const full = secondaries.filter((one) => one.full);
      // A sealed copy may be on its way to be the primary: then the one before is none any more.
      const sealed = (node.replica(shard)?.sealedDurableEpoch ?? 0) >= epoch;
      const complete = sealed ? full : [primary, ...full];
      const others = complete.filter((one) => {
        const holder = this.#world.nodeOf(one.node);
        if (holder === undefined || holder === node || !holder.sound) return false;
        return holder.copy.store === one.store;
      });
      if (others.length === 0) return false;
    }
    return true;
  }

  #freeze(machine: Machine, kind: FaultKind, lastsMs: number): void {
    const { life } = machine;
    if (life === undefined || this.#frozen.has(machine)) return;
    if (kind === "stall") life.main.block();
    else if (kind === "pause") life.pause();
    else life.stop();
    const end = () => {
      if (this.#frozen.get(machine) !== end) return;
      this.#frozen.delete(machine);
      if (!life.alive) return;
      if (kind === "stall") life.main.unblock();
      else if (kind === "pause") life.unpause();
      else life.resume();
    };
    this.#frozen.set(machine, end);
    this.#world.schedule.after(lastsMs, end);
  }

  #partition(kind: FaultKind, machine: Machine, lastsMs: number): void {
    const { draws } = this.#world;
    const both = kind !== "oneWay";
    const out = both || draws.chance(0.5);
    for (const other of this.#far(kind, machine)) {
      if (out) this.cut(machine, other, lastsMs);
      if (both || !out) this.cut(other, machine, lastsMs);
    }
  }

  /** Whom a partition of this kind takes away. */
  #far(kind: FaultKind, machine: Machine): readonly Machine[] {
    const { nodes, gateways, draws } = this.#world;
    const others = [...nodes, ...gateways].filter((one) => one !== machine);
    if (kind === "isolate") return others;
    if (kind === "offGateways") return gateways;
    if (kind === "cutGateway") {
      return draws.chance(0.5) ? others : gateways.filter((one) => one !== machine);
    }
    return [draws.pick(others)].filter((one) => one !== undefined);
  }

  /** Datagrams between the two are lost. */
  deafen(a: Machine, b: Machine, lastsMs: number): void {
    const { network } = this.#world;
    network.deafen(a, b);
    network.deafen(b, a);
    this.#later(lastsMs, () => {
      network.undeafen(a, b);
      network.undeafen(b, a);
    });
  }

  offCoordinator(machine: Machine, lastsMs: number): void {
    const { coordinator } = this.#world;
    coordinator.block(machine.index);
    this.#later(lastsMs, () => coordinator.heal(machine.index));
  }

  slowCoordinator(byMs: number, lastsMs: number): void {
    const { coordinator, schedule } = this.#world;
    coordinator.slowMs = byMs;
    coordinator.slowUntilMs = schedule.nowMs + lastsMs;
  }

  /** Goes on with a hunt each time that what it waits for has happened, or took too long. */
  #hunt(steps: Generator<Wait, void, boolean>, came?: boolean): void {
    const { schedule } = this.#world;
    const next = came === undefined ? steps.next() : steps.next(came);
    this.#hunting = next.done !== true;
    if (next.done === true) return;
    const { until, forMs } = next.value;
    const endMs = schedule.nowMs + forMs;
    const look = () => {
      if (this.#over) return;
      const holds = until();
      if (holds || schedule.nowMs >= endMs) this.#hunt(steps, holds);
      else schedule.after(lookMs, look);
    };
    look();
  }

  cut(from: Machine, to: Machine, lastsMs: number): void {
    const { network } = this.#world;
    network.block(from, to);
    this.#later(lastsMs, () => network.heal(from, to));
  }

  /** The end of a fault, unless all of them have ended. */
  #later(afterMs: number, end: () => void): void {
    this.#world.schedule.after(afterMs, () => {
      if (!this.#over) end();
    });
  }
}
