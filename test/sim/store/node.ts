// A mail node with the real store: segment log, recovery, replicated journal, engine, full copies and
// mail service, over a simulated disk, simulated links and the simulated pulse.

import type { Logger } from "pino";
import { AssertionFailure } from "../../../src/lib/assert.ts";
import { SeededRandom } from "../../../src/lib/random.ts";
import { systemError } from "../../../src/lib/simulated-disk.ts";
import type { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { lsn as makeLsn, shardId, storeId } from "../../../src/mail/ids.ts";
import type { Epoch, MemberId, StoreId } from "../../../src/mail/ids.ts";
import { FailoverMember } from "../../../src/cluster/node/failover-member.ts";
import type { LeaseSource } from "../../../src/cluster/node/lease-source.ts";
import { MailService } from "../../../src/cluster/node/mail-service.ts";
import { openNodeStore } from "../../../src/cluster/node/node-store.ts";
import type { NodeStore } from "../../../src/cluster/node/node-store.ts";
import type { Position, SealAnswer } from "../../../src/cluster/protocol/manager-types.ts";
import type { Copy, ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import { NodeMachine } from "../world/cluster.ts";
import type { GraftOrder, ManagedNode } from "../world/cluster.ts";
import type { Life } from "../world/life.ts";
import type { Station } from "../world/network.ts";
import type { FaultKind } from "../world/plan.ts";
import { SimPulse } from "../world/pulse.ts";
import type { SimSocket } from "../world/socket.ts";
import { clockOf, diskClock } from "./clock.ts";
import { IndexDisk } from "./index-disk.ts";
import { bendConfig, bendLeases, lyingDisk } from "./lies.ts";
import { SimLinks } from "./links.ts";
import { ProcessDisk } from "./process-disk.ts";
import type { StoreCluster } from "./world.ts";

const idFile = "STORE";
const restartMs = 300;

export class StoreNode extends NodeMachine {
  declare readonly world: StoreCluster;
  process: StoreProcess | undefined;
  disk: SimulatedDisk;
  rows = new IndexDisk();
  /** Data folders that were lost: what had been durable there. */
  readonly lost: { readonly disk: SimulatedDisk; readonly rows: IndexDisk }[] = [];
  #store: StoreId;
  #sickUntilMs = 0;
  #failUntilMs = 0;
  #formatted = false;

  constructor(world: StoreCluster, index: number, member: MemberId, rate: number) {
    super(world, index, member, rate);
    this.#store = this.#newStore();
    this.disk = this.#newDisk();
  }

  get copy(): Copy {
    return { node: this.member, store: this.#store };
  }

  get socket(): SimSocket | undefined {
    return this.process?.pulse.socket;
  }

  get ready(): boolean {
    return this.process?.store !== undefined;
  }

  linkChanged(to: Station, up: boolean): void {
    const member = this.world.memberAt(to.index);
    if (member !== undefined) this.process?.links.changed(member, up);
  }

  wipe(): void {
    this.world.trace(() => `${this.name} loses its data folder`);
    this.lost.push({ disk: this.disk, rows: this.rows });
    this.disk = this.#newDisk();
    this.rows = new IndexDisk();
    this.#formatted = false;
    if (this.world.broken !== "wipedIsAnother") this.#store = this.#newStore();
  }

  sicken(untilMs: number): void {
    this.#sickUntilMs = untilMs;
  }

  override spoil(kind: FaultKind, untilMs: number): void {
    const { disk, world } = this;
    if (kind === "failedSync") this.#failUntilMs = untilMs;
    if (kind === "fullDisk") {
      disk.freeBytes().then(
        ({ free, total }) => {
          disk.capacityBytes = total - free + 20_000;
        },
        () => undefined,
      );
      world.schedule.after(untilMs - world.schedule.nowMs, () => {
        disk.capacityBytes = Number.POSITIVE_INFINITY;
      });
    }
    if (kind === "bitFlip") this.#flip();
  }

  heal(): void {
    this.#sickUntilMs = 0;
    this.#failUntilMs = 0;
    this.disk.capacityBytes = Number.POSITIVE_INFINITY;
  }

  /** The data folder has its name before the first process finds it. */
  async format(): Promise<void> {
    if (this.#formatted) return;
    this.#formatted = true;
    // The operator's doing, and none of the disk's faults.
    const { fault, delayMs } = this.disk;
    this.disk.fault = undefined;
    this.disk.delayMs = undefined;
    const file = await this.disk.open(idFile, "write");
    await file.writev([Buffer.from(`${this.#store}\n`)], 0);
    await file.sync();
    await file.close();
    await this.disk.syncFolder(".");
    this.disk.fault = fault;
    this.disk.delayMs = delayMs;
  }

  protected begin(life: Life): void {
    this.process = new StoreProcess(this, life);
    this.process.open();
  }

  protected end(silent: boolean): void {
    this.process = undefined;
    // A process that is killed leaves the page cache; without power it is gone.
    this.disk.crash(silent ? "random" : "keep");
    this.rows.crash(silent, this.world.draws);
  }

  /** One bit of what lies in the log for some time. */
  #flip(): void {
    const { draws } = this.world;
    const segments = [...this.disk.durable()].filter(([path]) => path.endsWith(".seg"));
    const segment = draws.pick(segments);
    if (segment === undefined || segment[1].length < 2000) return;
    // A bit of the only complete copy would be no single failure.
    if (!this.#isSpare() || this.world.flipped(this)) return;
    const [path, bytes] = segment;
    const at = 100 + draws.below(Math.floor(bytes.length / 2) - 100);
    this.world.trace(() => `${this.name} has a bit flipped in ${path} at ${at}`);
    this.disk.flipBit(path, at, draws.below(8));
  }

  #isSpare(): boolean {
    return [...this.world.coordinator.table.values()].every(({ primary, secondaries }) =>
      [primary, ...secondaries.filter(({ full }) => full)].some(
        ({ node, store }) => node !== this.member && this.world.nodeOf(node)?.copy.store === store,
      ),
    );
  }

  #newStore(): StoreId {
    return storeId(this.world.nextStore().toString(16).padStart(32, "0"));
  }

  #newDisk(): SimulatedDisk {
    const { world } = this;
    const seed = world.draws.below(2 ** 31);
    const disk = lyingDisk(world.broken, { seed, clock: diskClock(world, this) });
    const { syncMs, syncJitterMs, slow, slowMsMax } = world.plan.disk;
    disk.delayMs = (kind) => {
      if (kind !== "sync") return 0;
      const usual = syncMs + world.draws.skewed(0, syncJitterMs);
      if (world.schedule.nowMs < this.#sickUntilMs) return usual + world.draws.between(50, 1500);
      return world.draws.chance(slow) ? usual + world.draws.skewed(0, slowMsMax) : usual;
    };
    disk.fault = (kind, path) => {
      if (world.schedule.nowMs >= this.#failUntilMs || (kind !== "sync" && kind !== "write")) {
        return undefined;
      }
      this.#failUntilMs = 0;
      return systemError("EIO", path);
    };
    return disk;
  }
}

export class StoreProcess implements ManagedNode {
  readonly machine: StoreNode;
  readonly life: Life;
  readonly world: StoreCluster;
  readonly links: SimLinks;
  readonly pulse: SimPulse;
  store: NodeStore | undefined;
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

  takeConfig(config: ShardConfig): void {
    if (!this.#tableRead || this.store === undefined) return;
    this.world.busy = true;
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
