// Somebody at a gateway who does one thing after the other, with pauses, until abandoned.

import type { Client } from "../world/cluster.ts";
import type { GatewayProcess } from "../world/gateway.ts";
import type { StoreCluster } from "./world.ts";

const notYetMs = 50;
/** I13: without faults nothing takes longer. */
const longestMs = 5000;

export abstract class OneByOne implements Client {
  protected readonly world: StoreCluster;
  protected readonly gateway: GatewayProcess;
  #abandoned = false;

  constructor(world: StoreCluster, gateway: GatewayProcess) {
    this.world = world;
    this.gateway = gateway;
  }

  /** Begins the next thing; undefined while there is nothing to do it with. */
  protected abstract begin(): Promise<unknown> | undefined;

  abandon(): void {
    this.#abandoned = true;
  }

  next(): void {
    const { draws, quiet, schedule, plan } = this.world;
    if (this.#abandoned || quiet) return;
    const { main } = this.gateway.life;
    const sinceMs = schedule.nowMs;
    const doing = this.begin();
    if (doing === undefined) {
      main.after(notYetMs, () => this.next());
      return;
    }
    this.world.busy = true;
    doing.then(
      () => {
        if (plan.faultless && schedule.nowMs - sinceMs > longestMs) {
          this.world.failed(new Error("I13: a request took more than 5 s without a fault"));
        }
        main.after(draws.skewed(1, plan.thinkMs), () => this.next());
      },
      (error: unknown) => this.world.failed(error),
    );
  }
}
