// One life of a mail node with the real store: segment log, recovery, replicated journal, engine, full
// copies and mail service, over a simulated disk, simulated links and the simulated pulse.

import type { Logger } from "pino";
import { AssertionFailure } from "../../../src/lib/assert.ts";
import { opIdMaker } from "../../../src/lib/id-maker.ts";
import { SeededRandom } from "../../../src/lib/random.ts";
import { lsn as makeLsn, opId, shardId } from "../../../src/mail/ids.ts";
import type { Epoch, MemberId } from "../../../src/mail/ids.ts";
import { DirectoryService } from "../../../src/cluster/directory/directory-service.ts";
import type { DirectoryStore } from "../../../src/cluster/directory/directory-store.ts";
import { EngineDirectoryStore } from "../../../src/cluster/directory/engine-directory-store.ts";
import { FailoverMember } from "../../../src/cluster/node/failover-member.ts";
import type { LeaseSource } from "../../../src/cluster/node/lease-source.ts";
import { MailService } from "../../../src/cluster/node/mail-service.ts";
import { openNodeStore } from "../../../src/cluster/node/node-store.ts";
import type { NodeStore } from "../../../src/cluster/node/node-store.ts";
import type { Position, SealAnswer } from "../../../src/cluster/protocol/manager-types.ts";
import type { ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import type { GraftOrder, ManagedNode } from "../world/cluster.ts";
import type { Life } from "../world/life.ts";
import { SimPulse } from "../world/pulse.ts";
import { clockOf } from "./clock.ts";
import { describeClaim, describeRow } from "./describe.ts";
import { bendDirectory, nodeFreshnessMs } from "./directory-lies.ts";
import { bendConfig, bendLeases } from "./lies.ts";
import { SimLinks } from "./links.ts";
import type { StoreNode } from "./node.ts";
import { ProcessDisk } from "./process-disk.ts";
import type { StoreCluster } from "./world.ts";

const restartMs = 300;

export class StoreProcess implements ManagedNode {
  readonly machine: StoreNode;
  readonly life: Life;
  readonly world: StoreCluster;
  readonly links: SimLinks;
  readonly pulse: SimPulse;
  store: NodeStore | undefined;
  /** Claims and registrations, in seeds with a directory. */
  names: DirectoryStore | undefined;
  readonly #table = new Map<number, ShardConfig>();
  /** What the watch said before the first read of the table was answered. */
  readonly #early: ShardConfig[] = [];
  #tableRead = false;
  #reading = false;

  constructor(machine: StoreNode, life: Life) {
    this.machine = machine;
    this.life = life;
    this.world = machine.world;
    this.links = new SimLinks(this.world, machine, life);
    this.pulse = new SimPulse(this.world, machine, life, () => undefined);
    this.links.answered = (method, head) => this.world.answered(this, method, head);
  }

  get name(): string {
    return this.machine.name;
  }

  get linked(): readonly MemberId[] {
    return this.links.linked.filter((member) => this.world.nodeOf(member) !== undefined);
  }

  serves(shard: number): boolean {
    return this.store?.journal.serves(shardId(shard)) === true;
  }

  open(): void {
    this.world.busy = true;
    this.#open().catch((error: unknown) => this.#fatal(error));
  }

  async #open(): Promise<void> {
    const { machine, world, life } = this;
    await machine.format();
    const index = await machine.rows.open();
    const { plan } = world;
    const clock = clockOf(world, life);
    const random = new SeededRandom(world.draws.below(2 ** 31));
    const store = await openNodeStore(
      {
        disk: new ProcessDisk(machine.disk, life),
        index,
        clock,
        random,
        logger: this.#logger(),
        member: machine.member,
        onFatal: (error) => this.#fatal(error),
        limits: { inlineBytesMax: 2000, unfoldedMax: 8, pageMessagesMax: 8 },
        logSizes: {
          segmentBytes: plan.segmentBytes,
          windowMs: plan.windowMs,
          windowBytesMax: 1_000_000,
        },
        checkpointEveryMs: plan.checkpointMs,
        diskLimits: {
          mailFreePerMille: 0,
          copyFreePerMille: 0,
          floorBytes: 8_000,
          ballastBytes: 4_000,
        },
      },
      {
        links: this.links,
        registry: this.links.registry,
        incarnation: life.incarnation,
        pulse: this.#leases(),
      },
    );
    if (!life.alive) return;
    this.#serve(store);
  }

  #serve(store: NodeStore): void {
    const { machine, world, life } = this;
    const { opened, journal } = store;
    if (opened.storeId !== machine.copy.store) world.fail("store", `${this.name} has another id`);
    new MailService(opened.store, journal).register(this.links.registry);
    const clock = clockOf(world, life);
    const failover = new FailoverMember({
      me: machine.copy,
      target: journal,
      links: this.links,
      learn: (config) => this.takeConfig(config),
      clock,
      gateways: () => world.gateways.map(({ member }) => member),
      nodes: () => world.nodes.flatMap(({ member }) => (member === machine.member ? [] : [member])),
      degraded: () => false,
    });
    failover.register(this.links.registry);
    journal.onRefresh = () => this.#refreshTable();
    this.store = store;
    if (world.names !== undefined) this.#startDirectory(store);
    for (const { lastLsn, commitMark, applied, shard } of opened.log.shards.values()) {
      world.trace(
        () => `${this.name} recovers shard ${shard}: ${applied} ${commitMark} ${lastLsn}`,
      );
    }
    failover.start();
    const { index, copy } = machine;
    const { incarnation } = life;
    world.coordinator.register({ index, node: copy.node, store: copy.store, incarnation });
    world.coordinator.watch(life, (config) => {
      if (this.#tableRead) this.takeConfig(config);
      else this.#early.push(config);
    });
    this.#refreshTable();
    life.main.every(100, () => {
      if (!this.#tableRead) this.#refreshTable();
    });
  }

  #startDirectory({ opened, journal }: NodeStore): void {
    const { world, life, links } = this;
    const { broken, plan } = world;
    const names = new EngineDirectoryStore(opened.engine, journal);
    this.names = names;
    names.onChange(({ shard, lsn, rows, claims }) => {
      const words = [...claims.map(describeClaim), ...rows.map(describeRow)];
      world.trace(() => `${this.name} applies ${lsn} of shard ${shard}: ${words.join("; ")}`);
    });
    const nextOpId = opIdMaker(new SeededRandom(world.draws.below(2 ** 31)));
    const clock = clockOf(world, life);
    new DirectoryService({
      store: bendDirectory(broken, names, (delayMs, work) => clock.after(delayMs, work)),
      registry: links.registry,
      links,
      primaries: { primary: (shard) => this.#table.get(shard)?.primary.node },
      shardCount: plan.shards,
      clock,
      nextOpId: () => opId(nextOpId()),
      log: this.#logger(),
      freshnessMs: nodeFreshnessMs(broken),
    }).start();
  }

  takeConfig(config: ShardConfig): void {
    if (!this.#tableRead || this.store === undefined) return;
    this.world.busy = true;
    if (config.epoch > (this.#table.get(config.shard)?.epoch ?? 0)) {
      this.#table.set(config.shard, config);
    }
    const epoch = this.store.journal.epochOf(config.shard);
    this.store.journal.setConfig(bendConfig(this.world.broken, config));
    if (this.store.journal.epochOf(config.shard) !== epoch) this.world.point(this.machine);
  }

  seal(shard: number, epoch: Epoch, evenIfHeard: boolean, answer: (a: SealAnswer) => void): void {
    this.world.busy = true;
    if (this.store === undefined) return;
    this.#answer(this.store.journal.seal(shardId(shard), epoch, evenIfHeard), answer);
  }

  handOver(shard: number, epoch: Epoch, answer: (at: Position | undefined) => void): void {
    this.world.busy = true;
    if (this.store === undefined) return;
    this.#answer(this.store.journal.handOver(shardId(shard), epoch), answer);
  }

  ask(shard: number, epoch: Epoch): Position | undefined {
    return this.store?.journal.position(shardId(shard), epoch);
  }

  graft(shard: number, at: GraftOrder, answer: (at: Position | undefined) => void): void {
    this.world.busy = true;
    if (this.store === undefined) return;
    const { epoch, from, throughLsn, throughHash } = at;
    const { journal } = this.store;
    this.#answer(
      journal.graft(shardId(shard), epoch, from, makeLsn(throughLsn), throughHash),
      answer,
    );
  }

  #answer<T>(promise: Promise<T>, answer: (value: T) => void): void {
    promise.then(
      (value) => {
        if (this.life.alive) this.life.main.run(() => answer(value));
      },
      (error: unknown) => this.world.trace(() => `${this.name} gives no answer: ${String(error)}`),
    );
  }

  #refreshTable(): void {
    if (this.#reading) return;
    this.#reading = true;
    this.world.coordinator.read(this.life, (table) => {
      this.#tableRead = true;
      this.#reading = false;
      for (const config of [...table, ...this.#early.splice(0)]) this.takeConfig(config);
    });
    this.life.main.after(300, () => {
      this.#reading = false;
    });
  }

  #leases(): LeaseSource {
    const { pulse, world } = this;
    return bendLeases(world.broken, () => this.life.nowMs, {
      setGrant: (shard, grant) => pulse.setGrant(shard, grant),
      setHold: (shard, hold) => pulse.setHold(shard, hold),
      revoke: (shard, epoch) =>
        new Promise((resolve) => {
          pulse.revoke(shard, epoch, (lastGrantedMs) => {
            world.busy = true;
            resolve({ lastGrantedMs });
          });
        }),
      leaseStartMs: (shard, node) => pulse.leaseStartMs(shard, node),
      lastGrantedMs: (shard) => pulse.lastGrantedMs(shard),
      heardMs: (member) => pulse.heardMs(member),
    });
  }

  /** The process ends, and is started again. */
  #fatal(error: unknown): void {
    if (!this.life.alive) return;
    if (error instanceof AssertionFailure) {
      this.world.failed(error);
      return;
    }
    this.world.trace(() => `${this.name} fails: ${String(error)}`);
    this.world.schedule.after(0, () => {
      if (!this.life.alive) return;
      this.machine.kill(false);
      if (this.world.isDamaged(error)) this.machine.wipe();
      this.world.schedule.after(restartMs, () => this.machine.start());
    });
  }

  #logger(): Logger {
    return this.world.loggerOf(this.name, () => this.life.alive);
  }
}
