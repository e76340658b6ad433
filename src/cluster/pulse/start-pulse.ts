// The main thread's end of the pulse: starts the thread, gives out slots of the shared memory, and
// answers from it what the data path asks. What the thread does is in pulse-loop.ts.

import type { Worker } from "node:worker_threads";
import { unreachable } from "../../lib/assert.ts";
import { MailError } from "../../mail/errors.ts";
import type { Epoch, MemberId, ShardId } from "../../mail/ids.ts";
import { heartbeatTimes } from "../protocol/heartbeat-types.ts";
import type { Grant, Hold, Vitals } from "../protocol/heartbeat-types.ts";
import { ringTimes } from "../protocol/ring-types.ts";
import type { RingLoad, RingView } from "../protocol/ring-types.ts";
import { hrtimeMs } from "./clock-watch.ts";
import { LeaseSlots } from "./lease-slots.ts";
import type {
  Pulse,
  PulseCounters,
  PulseEvent,
  PulseKey,
  PulseOptions,
  PulsePeer,
} from "./pulse.ts";
import { memberSlotsMax, SharedMemory } from "./shared-memory.ts";
import { startThread } from "./start-thread.ts";
import type { FromThread, ThreadStart, ToThread } from "./thread-messages.ts";

const stampEveryMs = 100;
const startMs = 10_000;

/**
 * Starts the pulse of this process.
 * @throws {MailError} UNAVAILABLE when the UDP address can't be had.
 */
export async function startPulse(options: PulseOptions): Promise<Pulse> {
  const pulse = new ThreadPulse(options);
  try {
    await pulse.started;
  } catch (cause) {
    await pulse.stop();
    const { host, port } = options.listen;
    const why = `pulse on UDP ${host} port ${port} can't start: ${String(cause)}`;
    throw new MailError({ code: "UNAVAILABLE", why }, { cause });
  }
  return pulse;
}

interface Waiter {
  readonly resolve: (answer: { readonly lastGrantedMs: number }) => void;
  readonly reject: (error: MailError) => void;
}

class ThreadPulse implements Pulse {
  readonly started: Promise<void>;
  readonly #clock: PulseOptions["clock"];
  readonly #memory = new SharedMemory();
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  readonly #stamp: NodeJS.Timeout;
  readonly #listeners = new Set<(event: PulseEvent) => void>();
  readonly #memberSlots = new Map<MemberId, number>();
  readonly #leases = new LeaseSlots();
  readonly #revocations = new Map<number, Waiter>();
  readonly #vitals = new Map<MemberId, Vitals>();
  readonly #loads = new Map<MemberId, { readonly boot: number; readonly seq: number }>();
  #revocation = 0;
  #view: RingView | undefined;
  #port = 0;
  #stopped = false;

  constructor(options: PulseOptions) {
    const { clock, heartbeat, ring, ...rest } = options;
    this.#clock = clock;
    const start: ThreadStart = {
      ...rest,
      heartbeat: { ...heartbeatTimes, ...heartbeat },
      ring: { ...ringTimes, ...ring },
      memory: this.#memory.buffer,
      clockOffsetMs: clock.monotonicMs() - hrtimeMs(),
    };
    this.#memory.stampMain(clock.monotonicMs());
    this.#stamp = setInterval(() => {
      this.#memory.stampMain(clock.monotonicMs());
    }, stampEveryMs).unref();
    const worker = startThread(start);
    this.#worker = worker;
    this.#exited = new Promise((resolve) => {
      worker.once("exit", () => resolve());
    });
    this.started = new Promise((resolve, reject) => {
      const limit = setTimeout(() => reject(new Error("no answer of the thread")), startMs);
      worker.on("message", (message: FromThread) => {
        if (message.kind === "started") {
          clearTimeout(limit);
          resolve();
        }
        this.#onThread(message);
      });
      worker.on("error", (error) => {
        clearTimeout(limit);
        reject(error);
        this.#fail(error);
      });
      worker.on("exit", () => {
        clearTimeout(limit);
        reject(new Error("the thread ended"));
        this.#fail(new Error("the pulse thread ended"));
      });
    });
    worker.unref();
  }

  get port(): number {
    return this.#port;
  }

  setPeers(peers: readonly PulsePeer[]): void {
    for (const { member } of peers) {
      // A slot stays its member's for good, so that a late write can't speak for another one.
      const slot = this.#memberSlots.size;
      if (!this.#memberSlots.has(member) && slot < memberSlotsMax) {
        this.#memberSlots.set(member, slot);
      }
    }
    const slots = peers.map(({ member }) => this.#memberSlots.get(member) ?? -1);
    this.#post({ kind: "peers", peers, slots });
  }

  setKeys(keys: readonly PulseKey[]): void {
    this.#post({ kind: "keys", keys });
  }

  setGrant(shard: ShardId, grant: Grant | undefined): void {
    this.#post({ kind: "grant", shard, grant });
  }

  setHold(shard: ShardId, hold: Hold | undefined): void {
    const { slots, number } = this.#leases.assign(shard, hold);
    this.#post({ kind: "hold", shard, hold, slots, number });
  }

  revoke(shard: ShardId, epoch: Epoch): Promise<{ readonly lastGrantedMs: number }> {
    if (this.#stopped) return Promise.reject(stopped());
    this.#revocation += 1;
    const id = this.#revocation;
    this.#post({ kind: "revoke", shard, epoch, id });
    return new Promise((resolve, reject) => {
      this.#revocations.set(id, { resolve, reject });
    });
  }

  leaseStartMs(shard: ShardId, node: MemberId): number {
    const slot = this.#leases.slotOf(shard, node);
    if (slot === undefined) return -Infinity;
    return this.#memory.leaseStartMs(slot, this.#clock.monotonicMs());
  }

  lastGrantedMs(shard: ShardId): number {
    return this.#memory.grantedMs(shard, this.#clock.monotonicMs());
  }

  heardMs(member: MemberId): number {
    const slot = this.#memberSlots.get(member);
    return slot === undefined ? -Infinity : this.#memory.heardMs(slot, this.#clock.monotonicMs());
  }

  onEvent(listener: (event: PulseEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  ring(): RingView | undefined {
    return this.#view;
  }

  acting(): boolean {
    return this.#memory.acting();
  }

  wantToken(wanted: boolean): void {
    this.#post({ kind: "want", wanted });
  }

  setLink(node: MemberId, up: boolean): void {
    this.#post({ kind: "link", node, up });
  }

  setLoad(load: RingLoad): void {
    // Every reply carries figures, most of them the same ones again.
    const { member, boot, seq } = load;
    const last = this.#loads.get(member);
    if (last !== undefined && last.boot === boot && last.seq >= seq) return;
    this.#loads.set(member, { boot, seq });
    this.#post({ kind: "load", load });
  }

  setTableRevision(revision: number): void {
    this.#post({ kind: "tableRevision", revision });
  }

  setVitals(vitals: Omit<Vitals, "loopLagMs">): void {
    this.#post({ kind: "vitals", vitals });
  }

  vitals(member: MemberId): Vitals | undefined {
    return this.#vitals.get(member);
  }

  loopLagMs(): number {
    return this.#memory.loopLagMs();
  }

  counters(): PulseCounters {
    return this.#memory.counters();
  }

  async stop(): Promise<void> {
    this.#end();
    this.#worker.postMessage({ kind: "stop" } satisfies ToThread);
    // A thread that does not end by itself is ended.
    const limit = setTimeout(() => void this.#worker.terminate(), 1000);
    await this.#exited;
    clearTimeout(limit);
  }

  #post(message: ToThread): void {
    if (!this.#stopped) this.#worker.postMessage(message);
  }

  #onThread(message: FromThread): void {
    switch (message.kind) {
      case "started":
        this.#port = message.port;
        return;
      case "held":
        for (const slot of this.#leases.release(message.number)) this.#memory.clearLease(slot);
        return;
      case "revoked":
        this.#revocations.get(message.id)?.resolve({ lastGrantedMs: message.lastGrantedMs });
        this.#revocations.delete(message.id);
        return;
      case "event":
        if (message.event.kind === "vitals") {
          this.#vitals.set(message.event.member, message.event.vitals);
        }
        return this.#emit(message.event);
      case "ring":
        this.#view = message.view;
        return this.#emit({ kind: "ring" });
      case "failed":
        return this.#fail(message.error);
      default:
        return unreachable(message);
    }
  }

  #fail(error: Error): void {
    if (this.#stopped) return;
    this.#end();
    this.#emit({ kind: "failed", error });
  }

  /** Whoever waits for the thread hears that it won't answer; what it granted is then unknown. */
  #end(): void {
    this.#stopped = true;
    clearInterval(this.#stamp);
    this.#memory.setActing(false);
    for (const { reject } of this.#revocations.values()) reject(stopped());
    this.#revocations.clear();
  }

  #emit(event: PulseEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

function stopped(): MailError {
  return new MailError({ code: "UNAVAILABLE", why: "the pulse has stopped" });
}
