// A simulated machine of the cluster: what survives its processes (name, place on the network, the
// quality of its clock) and how a process on it is started, killed and stopped.

import type { MemberId } from "../../../src/mail/ids.ts";
import { Life } from "./life.ts";
import type { Station } from "./network.ts";
import type { SimSocket } from "./socket.ts";
import type { Cluster } from "./cluster.ts";

export abstract class Machine implements Station {
  readonly world: Cluster;
  readonly index: number;
  readonly name: string;
  readonly member: MemberId;
  /** Of its monotonic clock against true time. */
  readonly #rate: number;
  life: Life | undefined;
  /** Of its newest process; 0 before the first one. */
  incarnation = 0;
  /** Never comes back. */
  gone = false;

  constructor(world: Cluster, index: number, member: MemberId, rate: number) {
    this.world = world;
    this.index = index;
    this.name = member;
    this.member = member;
    this.#rate = rate;
  }

  abstract readonly socket: SimSocket | undefined;
  abstract linkChanged(to: Station, up: boolean): void;
  /** A new process: everything volatile begins anew. */
  protected abstract begin(life: Life): void;
  protected abstract end(silent: boolean): void;

  get alive(): boolean {
    return this.life?.alive === true;
  }

  start(): void {
    if (this.alive || this.gone) return;
    const { world } = this;
    // Without the coordinator there is no incarnation: the process waits for it.
    if (!world.coordinator.isReachable(this.index)) {
      world.schedule.after(200, () => this.start());
      return;
    }
    const incarnation = world.coordinator.nextIncarnation(this.index);
    const offsetMs = world.draws.between(0, 1e6);
    const life = new Life(world.schedule, this.index, incarnation, this.#rate, offsetMs);
    this.life = life;
    this.incarnation = incarnation;
    world.lives += 1;
    world.trace(() => `${this.name} starts, incarnation ${incarnation}`);
    this.begin(life);
  }

  /** kill -9; `silent`: the power went, nobody is told. */
  kill(silent: boolean): void {
    const { life } = this;
    if (life?.alive !== true) return;
    this.world.trace(() => `${this.name} ${silent ? "loses power" : "is killed"}`);
    life.alive = false;
    this.life = undefined;
    this.end(silent);
    this.world.network.ended(this, silent);
    const { incarnation } = life;
    this.world.schedule.after(3000, () => {
      this.world.coordinator.unregister(this.index, incarnation);
    });
  }
}
