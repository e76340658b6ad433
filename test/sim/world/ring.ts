// The token ring of one simulated gateway: runs the ring machine in the worker, as cluster/pulse
// does, and tells the main thread who acts and what the others can't reach.

import type { MemberId } from "../../../src/mail/ids.ts";
import { makeRing, nextRingMs, ringView, stepRing } from "../../../src/cluster/protocol/ring.ts";
import type { RingState } from "../../../src/cluster/protocol/ring-state.ts";
import type {
  RingEffect,
  RingEvent,
  RingMessage,
  RingView,
} from "../../../src/cluster/protocol/ring-types.ts";
import type { Life } from "./life.ts";
import { bootOf } from "./lies.ts";
import { checkHolder } from "./ring-checker.ts";
import type { SimSocket } from "./socket.ts";
import type { SimGateway } from "./gateway.ts";
import type { Cluster } from "./cluster.ts";

/** A message from one thread to the other. */
const betweenThreadsMs = 0.05;
const stallCheckMs = 100;
/** A main thread that is stuck for so long manages nothing. */
const stalledMs = 500;

export interface RingEars {
  acting(acting: boolean): void;
  view(view: RingView): void;
}

export class SimRing {
  readonly state: RingState;
  readonly #world: Cluster;
  readonly #machine: SimGateway;
  readonly #life: Life;
  readonly #socket: SimSocket;
  readonly #ears: RingEars;
  #dueMs = Infinity;
  #stalled = false;

  constructor(machine: SimGateway, life: Life, socket: SimSocket, ears: RingEars) {
    this.#world = machine.world;
    this.#machine = machine;
    this.#life = life;
    this.#socket = socket;
    this.#ears = ears;
    this.state = makeRing(machine.member, bootOf(this.#world.broken, life.incarnation), life.nowMs);
    this.#world.coordinator.watchGateways(life, (gateways) => {
      const others = [...gateways].flatMap(([member, boot]) =>
        member === machine.member ? [] : [{ member, boot }],
      );
      this.#post(() => ({ kind: "gateways", gateways: others, nowMs: life.nowMs }));
    });
    life.pulse.every(stallCheckMs, () => this.#checkStall());
    this.#post(() => ({ kind: "tick", nowMs: life.nowMs }));
  }

  /** There is work for a manager, or no more. */
  want(wanted: boolean): void {
    this.#post(() => ({ kind: "want", wanted, nowMs: this.#life.nowMs }));
  }

  reach(unreachable: readonly MemberId[]): void {
    this.#post(() => ({ kind: "reach", unreachable, nowMs: this.#life.nowMs }));
  }

  receive(from: MemberId, message: RingMessage): void {
    this.#step({ kind: "message", from, message, nowMs: this.#life.nowMs });
  }

  describe(): string {
    const { me, phase, ring, order } = this.state;
    return `${me} ${phase} ring ${ring.term} of ${ring.maker}: ${order.join(" ")}`;
  }

  get view(): RingView {
    return ringView(this.state, this.#life.nowMs);
  }

  #post(event: () => RingEvent): void {
    this.#life.pulse.after(betweenThreadsMs, () => this.#step(event()));
  }

  #checkStall(): void {
    const stalled = this.#life.main.blockedMs >= stalledMs;
    if (stalled === this.#stalled) return;
    this.#stalled = stalled;
    this.#step({ kind: "stalled", stalled, nowMs: this.#life.nowMs });
  }

  #step(event: RingEvent): void {
    const out: RingEffect[] = [];
    stepRing(this.state, event, out);
    for (const effect of out) this.#perform(effect);
    this.#arm();
  }

  #perform(effect: RingEffect): void {
    switch (effect.kind) {
      case "send": {
        const to = this.#world.machineOf(effect.to);
        if (to !== undefined) this.#socket.send(to, effect.message);
        return;
      }
      case "acting":
        if (effect.acting) checkHolder(this.#machine, this.state.ring);
        this.#life.main.after(betweenThreadsMs, () => this.#ears.acting(this.state.acting));
        return;
      case "order":
        this.#world.trace(() => `${this.#machine.name} ring ${effect.order.join(" ")}`);
        this.#tell();
        return;
      case "reach":
        this.#tell();
        return;
      default:
        return;
    }
  }

  #tell(): void {
    this.#life.main.after(betweenThreadsMs, () => this.#ears.view(this.view));
  }

  /** One timer, for what is due first. */
  #arm(): void {
    const life = this.#life;
    const nextMs = nextRingMs(this.state);
    if (nextMs >= this.#dueMs || nextMs === Infinity) return;
    this.#dueMs = nextMs;
    life.pulse.after(Math.max(0, nextMs - life.nowMs) + 0.01, () => {
      if (this.#dueMs !== nextMs) return;
      this.#dueMs = Infinity;
      if (life.nowMs >= nextRingMs(this.state)) this.#step({ kind: "tick", nowMs: life.nowMs });
      else this.#arm();
    });
  }
}
