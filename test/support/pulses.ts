// Pulses on loopback that know each other: real worker threads and UDP sockets in one process.

import { expect } from "vitest";
import { startPulse } from "../../src/cluster/pulse/start-pulse.ts";
import type { Pulse, PulseEvent, PulseOptions, PulsePeer } from "../../src/cluster/pulse/pulse.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { memberId } from "../../src/mail/ids.ts";
import type { ShardId } from "../../src/mail/ids.ts";

interface Running {
  readonly pulse: Pulse;
  readonly events: PulseEvent[];
  readonly options: PulseOptions;
}

/** Members whose name begins with `g` are gateways, all others nodes. */
export class Pulses {
  readonly secret = systemRandom.bytes(32);
  readonly #running = new Map<string, Running>();
  readonly #incarnations = new Map<string, number>();

  async start(name: string, more: Partial<PulseOptions> = {}): Promise<Running> {
    const incarnation = (this.#incarnations.get(name) ?? 0) + 1;
    this.#incarnations.set(name, incarnation);
    const options: PulseOptions = {
      clusterId: "test",
      member: memberId(name),
      role: name.startsWith("g") ? "gateway" : "node",
      incarnation,
      listen: { host: "127.0.0.1", port: 0 },
      keys: [{ id: 0, secret: this.secret }],
      clock: systemClock,
      ...more,
    };
    const pulse = await startPulse(options);
    const events: PulseEvent[] = [];
    pulse.onEvent((event) => events.push(event));
    const running = { pulse, events, options };
    this.#running.set(name, running);
    this.introduce();
    return running;
  }

  /** Tells everyone where the others are; `change` may send them elsewhere. */
  introduce(change: (peer: PulsePeer, at: string) => PulsePeer = (peer) => peer): void {
    for (const [at, { pulse }] of this.#running) {
      const others = [...this.#running].filter(([name]) => name !== at);
      pulse.setPeers(
        others.map(([, { pulse: other, options }]) =>
          change(
            {
              member: options.member,
              role: options.role,
              host: options.listen.host,
              port: other.port,
              incarnation: options.incarnation,
            },
            at,
          ),
        ),
      );
    }
  }

  /** Ends it without a word; the others still list it. */
  async stop(name: string): Promise<void> {
    const running = this.#running.get(name);
    this.#running.delete(name);
    await running?.pulse.stop();
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#running.keys()].map((name) => this.stop(name)));
  }
}

/** Waits for `holds`, at most 8 s. */
export async function until(holds: () => boolean): Promise<void> {
  await expect.poll(holds, { timeout: 8000, interval: 5 }).toBe(true);
}

/** Age of the lease of `node`. */
export function leaseAgeMs(pulse: Pulse, shard: ShardId, node: string): number {
  return systemClock.monotonicMs() - pulse.leaseStartMs(shard, memberId(node));
}

/** Keeps this thread busy. */
export function block(ms: number): void {
  const endMs = systemClock.monotonicMs() + ms;
  while (systemClock.monotonicMs() < endMs);
}
