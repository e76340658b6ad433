// A mail node with the real store: what survives its processes, that is its disks. The process itself is
// node-process.ts.

import { systemError } from "../../../src/lib/simulated-disk.ts";
import type { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { storeId } from "../../../src/mail/ids.ts";
import type { MemberId, StoreId } from "../../../src/mail/ids.ts";
import type { ReplicaState } from "../../../src/cluster/protocol/replica-state.ts";
import type { Copy } from "../../../src/cluster/protocol/shard-config.ts";
import { NodeMachine } from "../world/cluster.ts";
import type { Life } from "../world/life.ts";
import type { Station } from "../world/network.ts";
import type { FaultKind } from "../world/plan.ts";
import type { SimSocket } from "../world/socket.ts";
import { diskClock } from "./clock.ts";
import { IndexDisk } from "./index-disk.ts";
import { lyingDisk } from "./lies.ts";
import { StoreProcess } from "./node-process.ts";
import type { StoreCluster } from "./world.ts";

const idFile = "STORE";

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

  replica(shard: number): Readonly<ReplicaState> | undefined {
    const replicas = this.process?.store?.journal.replicas() ?? [];
    return replicas.find((one) => one.shard === shard)?.state;
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
    // A bit of the only complete copy would be no single failure, nor of one of two that is left alone.
    if (this.world.nodes.length < 3) return;
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
