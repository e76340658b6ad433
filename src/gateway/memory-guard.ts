// When a gateway's memory is nearly used up: new connections are refused and the oldest idle ones that
// nobody has logged in on are let go, before the process is killed with everybody's sessions. One
// guard is shared by the listeners of all protocols; what they say to the client is their business.

import { getHeapStatistics } from "node:v8";
import type { Clock } from "../lib/clock.ts";

export interface MemoryGuardOptions {
  readonly clock: Clock;
  /** How much of the memory limit is in use, 0 to 1. */
  readonly usedShare: () => number;
}

/** protocols.md: over 80 % of the memory limit. */
const fullShare = 0.8;
/** Measuring costs a system call: a burst of connections shares one. */
const measuredForMs = 250;
/** Let go at each look, so that a burst of arrivals does not empty the house at once. */
const evictionsPerLook = 64;

/** A connection without a login. */
export interface Evictable {
  /** Ends politely and soon, if it only waits for its client; else returns false and goes on. */
  evict(): boolean;
}

export class MemoryGuard {
  readonly #options: MemoryGuardOptions;
  /** In order of arrival. */
  readonly #unauthenticated = new Set<Evictable>();
  #measuredAtMs = Number.NEGATIVE_INFINITY;
  #full = false;

  constructor(options: MemoryGuardOptions) {
    this.#options = options;
  }

  /** True when a new connection must be refused; the oldest idle ones without a login go then. */
  refuses(): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#measuredAtMs >= measuredForMs) {
      this.#measuredAtMs = nowMs;
      this.#full = this.#options.usedShare() > fullShare;
      if (this.#full) this.#letGo();
    }
    return this.#full;
  }

  /** A connection was accepted. `leave` it at its login and at its end. */
  enter(connection: Evictable): void {
    this.#unauthenticated.add(connection);
  }

  leave(connection: Evictable): void {
    this.#unauthenticated.delete(connection);
  }

  #letGo(): void {
    let left = evictionsPerLook;
    for (const connection of this.#unauthenticated) {
      if (left === 0) return;
      if (!connection.evict()) continue;
      this.#unauthenticated.delete(connection);
      left--;
    }
  }
}

/**
 * A guard over this process: resident memory against the control group's limit, or `configuredBytes`
 * when that is less; the heap against V8's limit; whichever is fuller.
 */
export function processMemoryGuard(clock: Clock, configuredBytes?: number): MemoryGuard {
  // Node says 0, undefined or a number beyond all memory when there is no limit.
  const constrained = process.constrainedMemory() || Number.MAX_SAFE_INTEGER;
  const limitBytes = Math.min(configuredBytes ?? Number.MAX_SAFE_INTEGER, constrained);
  const heapLimit = getHeapStatistics().heap_size_limit;
  return new MemoryGuard({
    clock,
    usedShare: () => {
      const { rss, heapUsed } = process.memoryUsage();
      return Math.max(rss / limitBytes, heapUsed / heapLimit);
    },
  });
}
