// The pulse thread's work: one UDP socket, the heartbeat machine, at gateways the ring machine, and
// one timer for whatever is due next. Does what the machines say, in order; decides nothing itself.

import { createSocket } from "node:dgram";
import type { Socket } from "node:dgram";
import { once } from "node:events";
import { isIPv6 } from "node:net";
import { unreachable } from "../../lib/assert.ts";
import type { MemberId, ShardId } from "../../mail/ids.ts";
import { makeHeartbeat, nextBeatMs, silentPartners, stepHeartbeat } from "../protocol/heartbeat.ts";
import type { HeartbeatState } from "../protocol/heartbeat.ts";
import type { HeartbeatEffect, HeartbeatEvent, Vitals } from "../protocol/heartbeat-types.ts";
import { makeRing, nextRingMs, ringView, stepRing } from "../protocol/ring.ts";
import type { RingState } from "../protocol/ring-state.ts";
import type { RingEffect, RingEvent } from "../protocol/ring-types.ts";
import { ClockWatch } from "./clock-watch.ts";
import { PeerBook } from "./peer-book.ts";
import type { PulseMessage } from "./packet-codec.ts";
import { PacketSeal } from "./packet-seal.ts";
import { SharedMemory } from "./shared-memory.ts";
import type { FromThread, ThreadStart, ToThread } from "./thread-messages.ts";

/** Wall and monotonic clock are compared, and the main thread looked after, so often. */
const checkMs = 50;
const viewEveryMs = 100;
/** The main thread stamps every 100 ms; up to twice that is no lag. */
const stampSlackMs = 200;
/** A main thread that is stuck for so long manages nothing. */
const stalledMs = 500;

export class PulseLoop {
  readonly #start: ThreadStart;
  readonly #tell: (message: FromThread) => void;
  readonly #memory: SharedMemory;
  readonly #seal: PacketSeal;
  readonly #socket: Socket;
  readonly #peers: PeerBook;
  readonly #clock: ClockWatch;
  readonly #heartbeat: HeartbeatState;
  readonly #ring: RingState | undefined;
  /** Where leases of what is held now are written. */
  readonly #slots = new Map<ShardId, ReadonlyMap<MemberId, number>>();
  readonly #vitals = new Map<MemberId, Vitals>();
  readonly #linksDown = new Set<MemberId>();
  #ownVitals: Omit<Vitals, "loopLagMs"> = { fsyncP99Ms: 0, diskFreePerMille: 1000, damaged: 0 };
  #timer: NodeJS.Timeout | undefined;
  #nextCheckMs = 0;
  #nextViewMs = 0;
  #stalled = false;
  #closed = false;

  constructor(start: ThreadStart, tell: (message: FromThread) => void) {
    const { member, incarnation, role } = start;
    this.#start = start;
    this.#tell = tell;
    this.#memory = new SharedMemory(start.memory);
    this.#seal = new PacketSeal(start.clusterId, { member, incarnation }, start.keys);
    this.#socket = createSocket({ type: isIPv6(start.listen.host) ? "udp6" : "udp4" });
    this.#peers = new PeerBook(isIPv6(start.listen.host));
    this.#clock = new ClockWatch(start.clockOffsetMs);
    const nowMs = this.#clock.nowMs();
    this.#heartbeat = makeHeartbeat(member, nowMs, start.heartbeat);
    const ring = role === "gateway" ? makeRing(member, incarnation, nowMs, start.ring) : undefined;
    this.#ring = ring;
  }

  /** Binds the socket and says `started`. @throws when the address is taken. */
  async run(): Promise<void> {
    const { host, port } = this.#start.listen;
    this.#socket.bind({ address: host, port });
    await once(this.#socket, "listening");
    this.#socket.on("error", (error) => this.#fail(error));
    this.#socket.on("message", (datagram) => this.#guard(() => this.#onDatagram(datagram)));
    this.#tell({ kind: "started", port: this.#socket.address().port });
    this.#guard(() => this.#tick());
  }

  take(message: ToThread): void {
    this.#guard(() => {
      this.#onMain(message);
      this.#schedule();
    });
  }

  #onMain(message: ToThread): void {
    const nowMs = this.#clock.nowMs();
    switch (message.kind) {
      case "peers":
        return this.#onPeers(message);
      case "grant":
        return this.#stepHeartbeat({ nowMs, ...message });
      case "hold": {
        const { shard, hold, slots, number } = message;
        const secondaries = hold?.secondaries ?? [];
        this.#slots.set(shard, new Map(secondaries.map((node, at) => [node, slots[at] ?? 0])));
        this.#stepHeartbeat({ kind: "hold", shard, hold, nowMs });
        return this.#tell({ kind: "held", number });
      }
      case "revoke":
        return this.#onRevoke(message);
      case "want":
        return this.#stepRing({ nowMs, ...message });
      case "link":
        if (message.up) this.#linksDown.delete(message.node);
        else this.#linksDown.add(message.node);
        return this.#reportReach(nowMs);
      case "load":
        return this.#stepRing({ nowMs, ...message });
      case "tableRevision":
        return this.#stepRing(message);
      case "vitals":
        this.#ownVitals = message.vitals;
        return;
      case "keys":
        return this.#seal.setKeys(message.keys);
      case "stop":
        return this.#close();
      default:
        return unreachable(message);
    }
  }

  #onPeers({ peers, slots }: Extract<ToThread, { kind: "peers" }>): void {
    const nowMs = this.#clock.nowMs();
    this.#peers.set(peers, slots);
    this.#seal.setSenders(peers);
    if (this.#ring === undefined) return;
    const nodes = peers.filter(({ role }) => role === "node").map(({ member }) => member);
    for (const node of this.#linksDown) {
      if (!nodes.includes(node)) this.#linksDown.delete(node);
    }
    this.#stepHeartbeat({ kind: "watch", members: nodes, nowMs });
    const gateways = peers
      .filter(({ role }) => role === "gateway")
      .map(({ member, incarnation }) => ({ member, boot: incarnation }));
    this.#stepRing({ kind: "gateways", gateways, nowMs });
    this.#reportReach(nowMs);
  }

  #onRevoke({ shard, epoch, id }: Extract<ToThread, { kind: "revoke" }>): void {
    const out: HeartbeatEffect[] = [];
    const nowMs = this.#clock.nowMs();
    stepHeartbeat(this.#heartbeat, { kind: "revoke", shard, epoch, nowMs }, out);
    for (const effect of out) {
      if (effect.kind !== "revoked") this.#doHeartbeat(effect);
      else this.#tell({ kind: "revoked", id, lastGrantedMs: effect.lastGrantedMs });
    }
  }

  #onDatagram(datagram: Buffer): void {
    const opened = this.#seal.open(datagram);
    if (!opened.ok) return this.#memory.countDrop(opened.drop);
    this.#memory.countReceived();
    const { from, message } = opened;
    const nowMs = this.#clock.nowMs();
    const slot = this.#peers.slotOf(from);
    if (slot !== undefined) this.#memory.setHeard(slot, nowMs);
    if (message.kind === "beat" || message.kind === "beatAck") {
      this.#stepHeartbeat({ kind: "message", from, message, nowMs });
    } else {
      this.#stepRing({ kind: "message", from, message, nowMs });
    }
    this.#schedule();
  }

  #tick(): void {
    const nowMs = this.#clock.nowMs();
    if (nowMs >= this.#nextCheckMs) this.#check(nowMs);
    this.#stepHeartbeat({ kind: "tick", nowMs });
    this.#stepRing({ kind: "tick", nowMs });
    if (nowMs >= this.#nextViewMs) this.#tellView(nowMs);
    this.#schedule();
  }

  #check(nowMs: number): void {
    this.#nextCheckMs = nowMs + checkMs;
    const gapMs = this.#clock.jumpMs();
    if (gapMs !== undefined) {
      this.#stepHeartbeat({ kind: "clockJump", nowMs });
      this.#tell({ kind: "event", event: { kind: "clockJump", gapMs } });
    }
    const sinceMs = nowMs - this.#memory.mainStampMs(nowMs);
    const loopLagMs = sinceMs > stampSlackMs ? Math.min(sinceMs, 2 ** 31 - 1) : 0;
    this.#memory.setLoopLagMs(loopLagMs);
    this.#stepHeartbeat({ kind: "vitals", vitals: { loopLagMs, ...this.#ownVitals } });
    const stalled = loopLagMs >= stalledMs;
    if (stalled === this.#stalled) return;
    this.#stalled = stalled;
    this.#stepRing({ kind: "stalled", stalled, nowMs });
  }

  #stepHeartbeat(event: HeartbeatEvent): void {
    const out: HeartbeatEffect[] = [];
    stepHeartbeat(this.#heartbeat, event, out);
    for (const effect of out) this.#doHeartbeat(effect);
  }

  #doHeartbeat(effect: HeartbeatEffect): void {
    switch (effect.kind) {
      case "send":
        return this.#send(effect.to, effect.message);
      case "lease": {
        const slot = this.#slots.get(effect.shard)?.get(effect.node);
        if (slot === undefined) return;
        if (effect.startMs === undefined) this.#memory.clearLease(slot);
        else this.#memory.setLease(slot, effect.startMs);
        return;
      }
      case "granted":
        return this.#memory.setGranted(effect.shard, effect.nowMs);
      case "silent":
      case "heard": {
        const { member } = effect;
        const heardMs = effect.kind === "silent" ? effect.heardMs : undefined;
        const event =
          effect.kind === "silent"
            ? ({ kind: "silent", member, heardMs } as const)
            : ({ kind: "heard", member } as const);
        this.#tell({ kind: "event", event });
        return this.#reportReach(this.#clock.nowMs());
      }
      case "vitals":
        return this.#onVitals(effect.member, effect.vitals);
      case "revoked":
        return;
      default:
        return unreachable(effect);
    }
  }

  #onVitals(member: MemberId, vitals: Vitals): void {
    const old = this.#vitals.get(member);
    if (old !== undefined && sameVitals(old, vitals)) return;
    this.#vitals.set(member, vitals);
    this.#tell({ kind: "event", event: { kind: "vitals", member, vitals } });
  }

  #reportReach(nowMs: number): void {
    const unreachableNodes = new Set([...silentPartners(this.#heartbeat), ...this.#linksDown]);
    this.#stepRing({ kind: "reach", unreachable: [...unreachableNodes], nowMs });
  }

  #stepRing(event: RingEvent): void {
    if (this.#ring === undefined) return;
    const out: RingEffect[] = [];
    stepRing(this.#ring, event, out);
    for (const effect of out) this.#doRing(effect);
  }

  #doRing(effect: RingEffect): void {
    switch (effect.kind) {
      case "send":
        return this.#send(effect.to, effect.message);
      case "acting":
        this.#memory.setActing(effect.acting);
        return this.#tell({
          kind: "event",
          event: { kind: "acting", acting: effect.acting },
        });
      case "order":
      case "reach":
      case "skipped":
        this.#nextViewMs = 0;
        return;
      default:
        return unreachable(effect);
    }
  }

  #tellView(nowMs: number): void {
    this.#nextViewMs = nowMs + viewEveryMs;
    if (this.#ring === undefined) return;
    this.#tell({ kind: "ring", view: ringView(this.#ring, nowMs) });
  }

  #send(to: MemberId, message: PulseMessage): void {
    const peer = this.#peers.get(to);
    if (peer === undefined || this.#closed) return;
    // The socket may keep the bytes until the address is known to be one: it gets its own copy.
    const datagram = Buffer.from(this.#seal.seal(peer, message));
    this.#memory.countSent();
    // An unreachable network is a lost packet: the machines send again.
    this.#socket.send(datagram, peer.port, peer.address, () => undefined);
  }

  /** One timer, for whatever is due first. */
  #schedule(): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    const ringMs = this.#ring === undefined ? Infinity : nextRingMs(this.#ring);
    const viewMs = this.#ring === undefined ? Infinity : this.#nextViewMs;
    const nextMs = Math.min(ringMs, viewMs, nextBeatMs(this.#heartbeat), this.#nextCheckMs);
    const waitMs = Math.max(0, Math.ceil(nextMs - this.#clock.nowMs()));
    this.#timer = setTimeout(() => this.#guard(() => this.#tick()), waitMs);
  }

  #guard(run: () => void): void {
    if (this.#closed) return;
    try {
      run();
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #fail(error: Error): void {
    if (this.#closed) return;
    this.#tell({ kind: "failed", error });
    this.#close();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#memory.setActing(false);
    this.#peers.close();
    this.#socket.close();
  }
}

function sameVitals(a: Vitals, b: Vitals): boolean {
  return (
    a.loopLagMs === b.loopLagMs &&
    a.fsyncP99Ms === b.fsyncP99Ms &&
    a.diskFreePerMille === b.diskFreePerMille &&
    a.damaged === b.damaged
  );
}
