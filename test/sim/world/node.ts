// A simulated mail node: what survives its processes. The process itself is node-process.ts.

import { storeId } from "../../../src/mail/ids.ts";
import type { MemberId } from "../../../src/mail/ids.ts";
import type { ReplicaState } from "../../../src/cluster/protocol/replica-state.ts";
import type { Copy } from "../../../src/cluster/protocol/shard-config.ts";
import { Disk } from "./disk.ts";
import type { DiskFaults } from "./disk.ts";
import type { Life } from "./life.ts";
import { NodeMachine } from "./cluster.ts";
import type { Station } from "./network.ts";
import { NodeProcess } from "./node-process.ts";
import type { SimSocket } from "./socket.ts";
import type { World } from "./world.ts";

export class SimNode extends NodeMachine {
  declare readonly world: World;
  readonly disk: Disk;
  /** So many entries below the applied one can still be fed from the log. */
  readonly logWindow: number;
  process: NodeProcess | undefined;

  constructor(
    world: World,
    index: number,
    member: MemberId,
    rate: number,
    faults: DiskFaults,
    logWindow: number,
  ) {
    super(world, index, member, rate);
    this.disk = new Disk(world.draws, faults, world.nextStore());
    this.logWindow = logWindow;
  }

  get copy(): Copy {
    return { node: this.member, store: storeId(String(this.disk.store)) };
  }

  get socket(): SimSocket | undefined {
    return this.process?.pulse.socket;
  }

  replica(shard: number): Readonly<ReplicaState> | undefined {
    return this.process?.shell(shard)?.state;
  }

  linkChanged(to: Station, up: boolean): void {
    this.process?.linkChanged(to, up);
  }

  protected begin(life: Life): void {
    this.process = new NodeProcess(this, life);
    this.process.open();
  }

  protected end(): void {
    this.process?.log.crash();
    this.process = undefined;
  }

  sicken(untilMs: number): void {
    this.disk.sickUntilMs = untilMs;
  }

  heal(): void {
    this.disk.sickUntilMs = 0;
    this.disk.faults = { ...this.disk.faults, slow: 0 };
  }

  override prune(shard: number): void {
    const shell = this.process?.shell(shard);
    if (shell !== undefined) shell.window.prunedLsn = shell.state.appliedLsn;
  }

  /** Its data folder is lost while it is down. */
  wipe(): void {
    this.world.trace(() => `${this.name} loses its data folder`);
    const keeps = this.world.broken === "wipedIsAnother";
    this.disk.wipe(keeps ? this.disk.store : this.world.nextStore());
  }
}
