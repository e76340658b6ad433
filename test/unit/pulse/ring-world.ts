// Many ring machines on one simulated network with loss, duplicates, delays and kills: what
// ring-random.test.ts looks at. Time is events; a seed gives the same run again.

import type { MemberId } from "../../../src/mail/ids.ts";
import { memberId } from "../../../src/mail/ids.ts";
import { SeededRandom } from "../../../src/lib/random.ts";
import { makeRing, nextRingMs, ringView, stepRing } from "../../../src/cluster/protocol/ring.ts";
import type { RingState } from "../../../src/cluster/protocol/ring-state.ts";
import type {
  RingEffect,
  RingEvent,
  RingMessage,
  RingView,
} from "../../../src/cluster/protocol/ring-types.ts";

export interface Weather {
  /** 0..1 */
  readonly loss: number;
  readonly duplicates: number;
  readonly delayMs: number;
  /** Packets that are late by up to so much more, one in ten: they overtake each other. */
  readonly lateMs: number;
}

export const calm: Weather = { loss: 0, duplicates: 0, delayMs: 0.5, lateMs: 0 };

interface Packet {
  readonly atMs: number;
  readonly from: MemberId;
  readonly to: MemberId;
  readonly toBoot: number;
  readonly message: RingMessage;
}

interface Gateway {
  readonly state: RingState;
  readonly boot: number;
}

export class RingWorld {
  nowMs = 1000;
  weather: Weather = calm;
  readonly random: SeededRandom;
  readonly live = new Map<MemberId, Gateway>();
  readonly registered = new Map<MemberId, number>();
  /** Pairs `a>b` whose packets are lost. */
  readonly cut = new Set<string>();
  /** Effects that are no packets, by member, since the last look. */
  readonly said: { member: MemberId; effect: RingEffect; atMs: number }[] = [];
  packets: Packet[] = [];
  sent = 0;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
  }

  start(name: string): void {
    const member = memberId(name);
    const boot = (this.registered.get(member) ?? 0) + 1;
    this.registered.set(member, boot);
    this.live.set(member, { state: makeRing(member, boot, this.nowMs), boot });
    this.tellGateways();
  }

  kill(name: MemberId): void {
    this.live.delete(name);
  }

  forget(name: MemberId): void {
    this.registered.delete(name);
    this.tellGateways();
  }

  step(member: MemberId, event: RingEvent): void {
    const gateway = this.live.get(member);
    if (gateway === undefined) return;
    const out: RingEffect[] = [];
    stepRing(gateway.state, event, out);
    for (const effect of out) {
      if (effect.kind === "send") this.#post(member, effect.to, effect.message);
      else this.said.push({ member, effect, atMs: this.nowMs });
    }
  }

  /** Lets time pass; `look` runs after every event. */
  run(forMs: number, look: () => void = () => undefined): void {
    const endMs = this.nowMs + forMs;
    for (;;) {
      const next = this.#next();
      if (next.atMs > endMs) break;
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.run();
      look();
    }
    this.nowMs = endMs;
  }

  /** Milliseconds until `holds`, or undefined after `limitMs`. */
  until(holds: () => boolean, limitMs: number): number | undefined {
    const fromMs = this.nowMs;
    while (!holds()) {
      if (this.nowMs - fromMs >= limitMs) return undefined;
      this.run(1);
    }
    return this.nowMs - fromMs;
  }

  view(member: MemberId): RingView | undefined {
    const gateway = this.live.get(member);
    return gateway === undefined ? undefined : ringView(gateway.state, this.nowMs);
  }

  /** True when all live gateways are on one ring, and nobody else. */
  whole(): boolean {
    const wanted = [...this.live.keys()].toSorted().join();
    const rings = new Set<string>();
    for (const { state } of this.live.values()) {
      if (state.phase === "gather" || state.order.join() !== wanted) return false;
      rings.add(`${state.ring.term} ${state.ring.maker}`);
    }
    return rings.size === 1;
  }

  holders(): readonly RingState[] {
    return [...this.live.values()].map(({ state }) => state).filter((s) => s.phase === "hold");
  }

  tellGateways(): void {
    const gateways = [...this.registered].map(([member, boot]) => ({ member, boot }));
    for (const member of this.live.keys()) {
      this.step(member, { kind: "gateways", gateways, nowMs: this.nowMs });
    }
  }

  #next(): { atMs: number; run: () => void } {
    let next = { atMs: Infinity, run: (): void => undefined };
    for (const [member, { state }] of this.live) {
      const atMs = nextRingMs(state);
      if (atMs >= next.atMs) continue;
      next = { atMs, run: () => this.step(member, { kind: "tick", nowMs: this.nowMs }) };
    }
    let first: Packet | undefined;
    for (const packet of this.packets) {
      if (first === undefined || packet.atMs < first.atMs) first = packet;
    }
    if (first === undefined || first.atMs > next.atMs) return next;
    return { atMs: first.atMs, run: () => this.#deliver(first) };
  }

  #deliver(packet: Packet): void {
    this.packets = this.packets.filter((one) => one !== packet);
    const { from, to, toBoot, message } = packet;
    if (this.live.get(to)?.boot !== toBoot) return;
    this.step(to, { kind: "message", from, message, nowMs: this.nowMs });
  }

  #post(from: MemberId, to: MemberId, message: RingMessage): void {
    this.sent += 1;
    const { loss, duplicates, delayMs, lateMs } = this.weather;
    const copies = this.random.chance(duplicates) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (this.random.chance(loss) || this.cut.has(`${from}>${to}`)) continue;
      const late = this.random.chance(0.1) ? (this.random.below(1000) / 1000) * lateMs : 0;
      const toBoot = this.registered.get(to) ?? 0;
      this.packets.push({ atMs: this.nowMs + delayMs + late, from, to, toBoot, message });
    }
  }
}
