// Sequences of faults that chance alone would hardly ever draw: each is aimed at the moment for which
// one rule of the protocol is there. Timings are drawn; which rule each one is for is in docs/simulation.md.

import type { Epoch } from "../../../src/mail/ids.ts";
import type { Copy, ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import type { Cluster, NodeMachine } from "./cluster.ts";
import type { Machine } from "./machine.ts";
import type { HuntKind } from "./plan.ts";

/** The hunt goes on when `until` holds, or after so long; it is told which. */
export interface Wait {
  readonly until: () => boolean;
  readonly forMs: number;
}

/** What a hunt may do; each of these faults ends by itself. */
export interface Ground {
  kill(machine: Machine, silent: boolean, lastsMs: number): void;
  cut(from: Machine, to: Machine, lastsMs: number): void;
  deafen(a: Machine, b: Machine, lastsMs: number): void;
  offCoordinator(machine: Machine, lastsMs: number): void;
  slowCoordinator(byMs: number, lastsMs: number): void;
}

type Hunt = Generator<Wait, void, boolean>;

/** A shard with one full secondary. */
interface Quarry {
  readonly shard: number;
  readonly epoch: Epoch;
  readonly primary: NodeMachine;
  readonly secondary: NodeMachine;
  readonly config: () => ShardConfig;
}

export function* hunt(kind: HuntKind, world: Cluster, ground: Ground): Hunt {
  const quarry = find(world);
  if (quarry === undefined) return;
  world.trace(() => `${kind} hunts shard ${quarry.shard}`);
  yield* hunts[kind](world, ground, quarry);
}

const hunts: Record<HuntKind, (world: Cluster, ground: Ground, quarry: Quarry) => Hunt> = {
  blindPrimary,
  blindAfterHandOver,
  crashAfterConfig,
  crashAfterSeal,
  answerWhileAsking,
  restartOffRing,
  cutOff,
};

/** The primary goes by its leases alone, while its secondary is sealed and, often late, promoted. */
function* blindPrimary(world: Cluster, ground: Ground, { primary }: Quarry): Hunt {
  const { draws } = world;
  if (draws.chance(0.7)) ground.slowCoordinator(draws.between(100, 900), 3000);
  const forMs = draws.between(1000, 4000);
  blind(world, ground, primary, forMs);
  yield pause(forMs);
}

/** A primary that is moved away does not hear of its successor; a third member lets that one serve at once. */
function* blindAfterHandOver(world: Cluster, ground: Ground, quarry: Quarry): Hunt {
  const { draws, nodes } = world;
  const { shard, epoch, primary, secondary, config } = quarry;
  const to = draws.pick(nodes.filter((node) => node !== primary && node !== secondary));
  if (to === undefined) return;
  const order = { shard: config().shard, from: primary.member, to: to.member };
  for (const { process } of world.gateways) process?.order({ kind: "move", ...order });
  const ended = () => {
    const replica = primary.replica(shard);
    return replica?.role === "primary" && replica.sealedDurableEpoch > epoch;
  };
  if (!(yield { until: ended, forMs: 6000 })) return;
  yield pause(draws.skewed(0, 30));
  blind(world, ground, primary, draws.between(500, 3000));
  yield pause(1000);
}

/** A secondary that was promoted dies at once and is back before the leases that it gave have run out. */
function* crashAfterConfig(world: Cluster, ground: Ground, quarry: Quarry): Hunt {
  const { draws } = world;
  const { shard, primary, secondary } = quarry;
  blind(world, ground, primary, draws.between(2000, 4000));
  const promoted = () => secondary.replica(shard)?.role === "primary";
  if (!(yield { until: promoted, forMs: 2500 })) return;
  yield pause(draws.skewed(0, 20));
  ground.kill(secondary, draws.chance(0.3), draws.between(5, 200));
  yield pause(1000);
}

/**
 * The tail behind a primary that gateways don't hear is sealed and fetched by a former member; before
 * that is promoted, its holder dies and is back, and hears the primary again.
 */
function* crashAfterSeal(world: Cluster, ground: Ground, quarry: Quarry): Hunt {
  const { draws, schedule, gateways } = world;
  const { shard, primary, secondary, config } = quarry;
  // Whoever takes the secondary's place has only the tail for long.
  primary.prune(shard);
  ground.kill(secondary, draws.chance(0.3), 9000);
  if (!(yield { until: () => isSettled(quarry), forMs: 3000 })) return;
  const holder = holderOf(world, config(), secondary);
  const { epoch } = config();
  if (holder === undefined) return;
  // Clients still reach it.
  for (const gateway of gateways) ground.deafen(primary, gateway, 6000);
  // It counts as lost after half a second: not before that the former member is to be seen.
  yield pause(draws.between(400, 520));
  secondary.start();
  const sealed = () => (secondary.replica(shard)?.sealedDurableEpoch ?? 0) >= epoch;
  if (!(yield { until: sealed, forMs: 2000 })) return;
  secondary.sicken(schedule.nowMs + 1500);
  const fetched = () => {
    const graft = secondary.replica(shard)?.graft;
    return graft !== undefined && graft.afterLsn >= graft.throughLsn;
  };
  if (!(yield { until: fetched, forMs: 1500 })) return;
  ground.kill(holder, false, draws.between(5, 60));
  yield pause(2000);
}

/**
 * A primary that has asked for a tail's removal hears that member again; the tail of the next one is
 * begun meanwhile, stays empty, and the primary dies when a former member has just reached its anchor.
 */
function* answerWhileAsking(world: Cluster, ground: Ground, quarry: Quarry): Hunt {
  const { draws } = world;
  const { shard, primary, secondary, config } = quarry;
  primary.prune(shard);
  ground.kill(secondary, draws.chance(0.3), 9000);
  if (!(yield { until: () => isSettled(quarry), forMs: 3000 })) return;
  const first = holderOf(world, config(), secondary);
  const { epoch } = config();
  if (first === undefined) return;
  yield pause(draws.between(0, 300));
  ground.slowCoordinator(draws.between(300, 900), 2000);
  ground.cut(first, primary, draws.between(660, 760));
  const replaced = () => config().epoch > epoch && tailOf(config(), secondary) !== undefined;
  if (!(yield { until: replaced, forMs: 4000 })) return;
  const second = holderOf(world, config(), secondary);
  const anchor = (tailOf(config(), secondary)?.fromLsn ?? 1) - 1;
  if (second === undefined || second === first) return;
  ground.cut(primary, second, 4000);
  secondary.start();
  const reached = () => (secondary.replica(shard)?.durableLsn ?? 0) >= anchor;
  if (!(yield { until: reached, forMs: 2000 })) return;
  ground.kill(primary, draws.chance(0.3), draws.between(2000, 5000));
  yield pause(2000);
}

/** The secondary is gone, there is a tail in its place, and the primary serves with that. */
function isSettled({ shard, primary, secondary, config }: Quarry): boolean {
  const replica = primary.replica(shard);
  if (replica?.config?.epoch !== config().epoch) return false;
  return tailOf(config(), secondary) !== undefined && replica.commitLsn >= replica.barrierLsn;
}

/** While another gateway has pinned the token, the one that made the ring restarts and sees no other. */
function* restartOffRing(world: Cluster, ground: Ground, { secondary }: Quarry): Hunt {
  const { draws, gateways } = world;
  // Work for a manager.
  ground.kill(secondary, false, draws.between(1000, 3000));
  const maker = () => {
    const holder = gateways.find(({ process }) => process?.ring.state.acting === true);
    const name = holder?.process?.ring.state.ring.maker;
    return gateways.find((one) => one !== holder && one.member === name);
  };
  if (!(yield { until: () => maker() !== undefined, forMs: 2000 })) return;
  const gateway = maker();
  if (gateway === undefined) return;
  for (const other of gateways) {
    if (other === gateway) continue;
    ground.cut(gateway, other, 3000);
    ground.cut(other, gateway, 3000);
  }
  ground.kill(gateway, true, draws.between(1, 60));
  yield pause(1000);
}

/** From the beginning of a cut until whoever has a way left is served. */
const servedWithinMs = 3000;
const configMs = 300;

/** Who is cut off from whom, and which ways. */
interface Cut {
  readonly one: Machine;
  readonly from: readonly Machine[];
  readonly speaks?: boolean;
  readonly hears?: boolean;
  readonly keepsCoordinator?: boolean;
}

/**
 * A member is cut off in some way while all else is well, and was whole a moment before: each shard is
 * served without it in time (I14). Other faults may come in between; then that is not asked.
 */
function* cutOff(world: Cluster, ground: Ground): Hunt {
  const { draws, plan, schedule } = world;
  const shards = [...world.coordinator.table.keys()];
  const isWhole = () => shards.every((shard) => world.isWhole(shard));
  if (!(yield { until: isWhole, forMs: 20_000 })) return;
  yield pause(draws.skewed(0, 200));
  const cut = drawCut(world);
  if (cut === undefined) return;
  const forMs = draws.between(1000, 6000);
  for (const other of cut.from) {
    if (cut.hears !== true) ground.cut(other, cut.one, forMs);
    if (cut.speaks !== true) ground.cut(cut.one, other, forMs);
  }
  if (cut.keepsCoordinator !== true) ground.offCoordinator(cut.one, forMs);
  const startMs = schedule.nowMs;
  yield pause(Math.min(forMs, servedWithinMs));
  if (plan.faults.size === 1 && plan.nodes > 2 && forMs > servedWithinMs) {
    const isServed = (shard: number) => world.isServed(shard);
    // A new configuration takes a moment.
    if (!(yield { until: () => shards.every(isServed), forMs: configMs })) {
      const left = shards.filter((shard) => !isServed(shard)).join(", ");
      const afterMs = Math.round(schedule.nowMs - startMs);
      world.fail("I14", `${left} not served ${afterMs} ms after ${cut.one.name} was cut off`);
    }
  }
  yield pause(Math.max(0, startMs + forMs - schedule.nowMs));
}

function drawCut({ draws, nodes, gateways }: Cluster): Cut | undefined {
  const rest = (from: readonly Machine[], one: Machine | undefined) =>
    from.filter((other) => other !== one);
  const all: readonly Machine[] = [...nodes, ...gateways];
  const node = draws.pick(nodes);
  const partner = draws.pick(rest(nodes, node));
  const gateway = draws.pick(gateways);
  if (node === undefined || partner === undefined || gateway === undefined) return undefined;
  return draws.pick<Cut>([
    { one: node, from: rest(all, node) },
    { one: node, from: rest(all, node), speaks: true },
    { one: node, from: rest(all, node), hears: true },
    { one: node, from: [partner], keepsCoordinator: true },
    { one: gateway, from: rest(all, gateway) },
    { one: gateway, from: rest(gateways, gateway), keepsCoordinator: true },
  ]);
}

function find(world: Cluster): Quarry | undefined {
  const { draws, coordinator } = world;
  const shards = [...coordinator.table.values()].filter(
    ({ secondaries: [only, ...more] }) => only?.full === true && more.length === 0,
  );
  const found = draws.pick(shards);
  const primary = found && world.nodeOf(found.primary.node);
  const [only] = found?.secondaries ?? [];
  const secondary = only && world.nodeOf(only.node);
  if (found === undefined || primary === undefined || secondary === undefined) return undefined;
  const { shard, epoch } = found;
  return { shard, epoch, primary, secondary, config: () => coordinator.table.get(shard) ?? found };
}

/** Gateways and the coordinator lose a node that the other nodes still reach; sometimes but for one gateway. */
function blind(
  { gateways, draws }: Cluster,
  ground: Ground,
  node: NodeMachine,
  lastsMs: number,
): void {
  const left = gateways.length > 2 && draws.chance(0.4) ? draws.pick(gateways) : undefined;
  for (const gateway of gateways) {
    if (gateway === left) continue;
    ground.cut(node, gateway, lastsMs);
    ground.cut(gateway, node, lastsMs);
  }
  ground.offCoordinator(node, lastsMs);
}

/** The tail that could stand in for the primary, while `gone` is a former member. */
function tailOf({ secondaries, former = [] }: ShardConfig, gone: NodeMachine) {
  if (!former.some(({ node }) => node === gone.member)) return undefined;
  return secondaries.find(({ full, late }) => !full && late !== true);
}

function holderOf(world: Cluster, config: ShardConfig, gone: NodeMachine) {
  const tail: Copy | undefined = tailOf(config, gone);
  return tail === undefined ? undefined : world.nodeOf(tail.node);
}

function pause(forMs: number): Wait {
  return { until: () => false, forMs };
}
