// The worker with heartbeats and leases of one simulated process: runs the heartbeat machine, and
// keeps what the main thread reads from shared memory. Order and delays are those of cluster/pulse.

import type { Epoch, MemberId, ShardId } from "../../../src/mail/ids.ts";
import { shardId } from "../../../src/mail/ids.ts";
import {
  makeHeartbeat,
  silentPartners,
  stepHeartbeat,
} from "../../../src/cluster/protocol/heartbeat.ts";
import type {
  Grant,
  HeartbeatEffect,
  HeartbeatEvent,
  HeartbeatMessage,
  Hold,
} from "../../../src/cluster/protocol/heartbeat-types.ts";
import type { Life } from "./life.ts";
import type { Cluster } from "./cluster.ts";
import type { Machine } from "./machine.ts";
import type { PulseMessage } from "../../../src/cluster/pulse/packet-codec.ts";
import type { RingMessage } from "../../../src/cluster/protocol/ring-types.ts";
import { SimSocket } from "./socket.ts";

const tickMs = 50;
const clockGapMs = 100;

export class SimPulse {
  readonly socket: SimSocket;
  /** What is the ring's. */
  onRing: ((from: MemberId, message: RingMessage) => void) | undefined;
  readonly #world: Cluster;
  readonly #life: Life;
  readonly #state: ReturnType<typeof makeHeartbeat>;
  readonly #leases = new Map<string, { readonly epoch: Epoch; readonly startMs: number }>();
  readonly #holds = new Map<number, Epoch>();
  readonly #granted = new Map<number, number>();
  readonly #heard = new Map<MemberId, number>();
  readonly #revokes: ((lastGrantedMs: number) => void)[] = [];
  readonly #onReach: (member: MemberId, heard: boolean) => void;
  #lastWallMs: number;
  #lastMs: number;

  constructor(
    world: Cluster,
    machine: Machine,
    life: Life,
    onReach: (member: MemberId, heard: boolean) => void,
  ) {
    this.#world = world;
    this.socket = new SimSocket(world, machine, life, (from, message) => this.#take(from, message));
    this.#life = life;
    this.#onReach = onReach;
    this.#state = makeHeartbeat(machine.member, life.nowMs);
    this.#lastWallMs = life.wallMs;
    this.#lastMs = life.nowMs;
    life.pulse.after(world.draws.between(0, tickMs), () => {
      life.pulse.every(tickMs, () => this.#tick());
    });
  }

  watch(members: readonly MemberId[]): void {
    this.#post(() => ({ kind: "watch", members, nowMs: this.#life.nowMs }));
  }

  setGrant(shard: number, grant: Grant | undefined): void {
    this.#post(() => ({ kind: "grant", shard: shardId(shard), grant, nowMs: this.#life.nowMs }));
  }

  /** Leases of an earlier epoch are void when this returns. */
  setHold(shard: number, hold: Hold | undefined): void {
    if (hold === undefined) this.#holds.delete(shard);
    else this.#holds.set(shard, hold.epoch);
    this.#post(() => ({ kind: "hold", shard: shardId(shard), hold, nowMs: this.#life.nowMs }));
  }

  revoke(shard: number, epoch: Epoch, done: (lastGrantedMs: number) => void): void {
    if (this.#world.broken === "sealStopsGrants") {
      done(this.lastGrantedMs(shard));
      return;
    }
    this.#life.pulse.run(() => {
      this.#revokes.push((lastGrantedMs) => this.#life.main.run(() => done(lastGrantedMs)));
      this.#step({ kind: "revoke", shard: shardId(shard), epoch, nowMs: this.#life.nowMs });
    });
  }

  leaseStartMs(shard: number, node: MemberId): number {
    const lease = this.#leases.get(`${shard} ${node}`);
    return lease !== undefined && lease.epoch === this.#holds.get(shard)
      ? lease.startMs
      : -Infinity;
  }

  lastGrantedMs(shard: number): number {
    return this.#granted.get(shard) ?? -Infinity;
  }

  heardMs(member: MemberId): number {
    return this.#heard.get(member) ?? -Infinity;
  }

  /** Watched members that have not been heard for SUSPECT. */
  get silent(): readonly MemberId[] {
    return silentPartners(this.#state);
  }

  #take(from: MemberId, message: PulseMessage): void {
    const { nowMs } = this.#life;
    this.#heard.set(from, nowMs);
    if (message.kind === "beat" || message.kind === "beatAck") {
      this.#step({ kind: "message", from, message, nowMs });
    } else this.onRing?.(from, message);
  }

  #post(event: () => HeartbeatEvent): void {
    this.#life.pulse.run(() => this.#step(event()));
  }

  #tick(): void {
    const { wallMs, nowMs } = this.#life;
    const gapMs = wallMs - this.#lastWallMs - (nowMs - this.#lastMs);
    this.#lastWallMs = wallMs;
    this.#lastMs = nowMs;
    if (Math.abs(gapMs) > clockGapMs) this.#step({ kind: "clockJump", nowMs });
    this.#step({ kind: "tick", nowMs });
  }

  #step(event: HeartbeatEvent): void {
    const out: HeartbeatEffect[] = [];
    stepHeartbeat(this.#state, event, out);
    for (const effect of out) this.#perform(effect);
  }

  #perform(effect: HeartbeatEffect): void {
    switch (effect.kind) {
      case "send":
        return this.#send(effect.to, effect.message);
      case "lease": {
        const key = `${effect.shard} ${effect.node}`;
        const { epoch, startMs } = effect;
        if (startMs === undefined) this.#leases.delete(key);
        else this.#leases.set(key, { epoch, startMs });
        return;
      }
      case "granted":
        this.#granted.set(effect.shard, effect.nowMs);
        return;
      case "revoked":
        this.#revokes.shift()?.(effect.lastGrantedMs);
        return;
      case "silent":
      case "heard": {
        const { member, kind } = effect;
        this.#life.main.run(() => this.#onReach(member, kind === "heard"));
        return;
      }
      default:
        return;
    }
  }

  #send(to: MemberId, sent: HeartbeatMessage): void {
    const world = this.#world;
    const peer = world.machineOf(to);
    if (peer === undefined) return;
    const careless = world.broken === "epochOfHeartbeat" && sent.kind === "beatAck";
    const message = careless ? { ...sent, refused: noShards } : sent;
    this.socket.send(peer, message);
  }
}

const noShards: readonly ShardId[] = [];
