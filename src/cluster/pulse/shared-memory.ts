// What the pulse thread and the main thread share: times as 32-bit milliseconds and counters, each
// word written by one side with Atomics. The main thread gives out slots; a slot means one thing for
// as long as the worker may write it.

import { shardMax } from "../../mail/ids.ts";
import type { ShardId } from "../../mail/ids.ts";
import type { PulseCounters, PulseDrop } from "./pulse.ts";

export const memberSlotsMax = 1024;
/** Two secondaries for each shard, and as many that are about to be given back. */
export const leaseSlotsMax = 4 * (shardMax + 1);

const drops = [
  "malformed",
  "otherKey",
  "forged",
  "unknownSender",
  "otherReceiver",
  "otherIncarnation",
  "replayed",
] as const satisfies readonly PulseDrop[];

const mainStamp = 0;
const acting = 1;
const loopLag = 2;
const sent = 3;
const received = 4;
const dropped = 5;
const granted = 16;
const heard = granted + shardMax + 1;
const leases = heard + memberSlotsMax;
const words = leases + leaseSlotsMax;

/** Never. Any other word is a time, whole milliseconds modulo 2^32. */
const never = 0;

/**
 * Times are read with the present time at hand, which must be less than 24 days from them: the
 * heartbeat machine forgets leases long before, and the others only look too young then.
 */
export class SharedMemory {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(buffer?: SharedArrayBuffer) {
    this.buffer = buffer ?? new SharedArrayBuffer(words * Int32Array.BYTES_PER_ELEMENT);
    this.#words = new Int32Array(this.buffer);
  }

  /** Main: I am not stuck. */
  stampMain(nowMs: number): void {
    this.#putTime(mainStamp, nowMs);
  }
  mainStampMs(nowMs: number): number {
    return this.#time(mainStamp, nowMs);
  }

  setActing(value: boolean): void {
    Atomics.store(this.#words, acting, value ? 1 : 0);
  }
  acting(): boolean {
    return Atomics.load(this.#words, acting) === 1;
  }

  setLoopLagMs(value: number): void {
    Atomics.store(this.#words, loopLag, Math.round(value));
  }
  loopLagMs(): number {
    return Atomics.load(this.#words, loopLag);
  }

  /** Rounded up: a grant is never taken for older than it is. */
  setGranted(shard: ShardId, atMs: number): void {
    this.#putTime(granted + shard, Math.ceil(atMs));
  }
  grantedMs(shard: ShardId, nowMs: number): number {
    return this.#time(granted + shard, nowMs);
  }

  setHeard(slot: number, atMs: number): void {
    this.#putTime(heard + slot, atMs);
  }
  heardMs(slot: number, nowMs: number): number {
    return this.#time(heard + slot, nowMs);
  }

  /** Rounded down: a lease is never taken for younger than it is. */
  setLease(slot: number, startMs: number): void {
    this.#putTime(leases + slot, startMs);
  }
  clearLease(slot: number): void {
    Atomics.store(this.#words, leases + slot, never);
  }
  leaseStartMs(slot: number, nowMs: number): number {
    return this.#time(leases + slot, nowMs);
  }

  countSent(): void {
    Atomics.add(this.#words, sent, 1);
  }
  countReceived(): void {
    Atomics.add(this.#words, received, 1);
  }
  countDrop(drop: PulseDrop): void {
    Atomics.add(this.#words, dropped + drops.indexOf(drop), 1);
  }
  counters(): PulseCounters {
    const count = (at: number): number => Atomics.load(this.#words, at) >>> 0;
    const of = (drop: PulseDrop): number => count(dropped + drops.indexOf(drop));
    return {
      sent: count(sent),
      received: count(received),
      dropped: {
        malformed: of("malformed"),
        otherKey: of("otherKey"),
        forged: of("forged"),
        unknownSender: of("unknownSender"),
        otherReceiver: of("otherReceiver"),
        otherIncarnation: of("otherIncarnation"),
        replayed: of("replayed"),
      },
    };
  }

  #putTime(at: number, timeMs: number): void {
    const word = Math.floor(timeMs) | 0;
    // The one millisecond that would read as "never" is told as the one before.
    Atomics.store(this.#words, at, word === never ? -1 : word);
  }

  #time(at: number, nowMs: number): number {
    const word = Atomics.load(this.#words, at);
    if (word === never) return -Infinity;
    const whole = Math.floor(nowMs);
    return whole - ((whole - word) | 0);
  }
}
