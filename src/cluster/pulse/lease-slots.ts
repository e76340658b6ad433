// Which word of the shared memory holds the lease of which (shard, epoch, secondary). A word given back
// is used again only when the pulse thread has said that it writes it no more: so a lease of one epoch
// is never read as one of another.

import { assert } from "../../lib/assert.ts";
import type { Epoch, MemberId, ShardId } from "../../mail/ids.ts";
import type { Hold } from "../protocol/heartbeat-types.ts";
import { leaseSlotsMax } from "./shared-memory.ts";

interface Assigned {
  readonly epoch: Epoch;
  readonly slots: ReadonlyMap<MemberId, number>;
}

export class LeaseSlots {
  readonly #held = new Map<ShardId, Assigned>();
  readonly #free: number[] = [];
  readonly #retired: { readonly slot: number; readonly number: number }[] = [];
  #used = 0;
  #number = 0;

  /** Slots for a hold's secondaries, in order; kept ones for the same epoch and secondary. */
  assign(
    shard: ShardId,
    hold: Hold | undefined,
  ): { readonly slots: readonly number[]; readonly number: number } {
    this.#number += 1;
    const old = this.#held.get(shard);
    const same = old !== undefined && old.epoch === hold?.epoch ? old.slots : undefined;
    const slots = (hold?.secondaries ?? []).map(
      (node) => [node, same?.get(node) ?? this.#take()] as const,
    );
    const kept = new Set(slots.map(([, slot]) => slot));
    for (const slot of old?.slots.values() ?? []) {
      if (!kept.has(slot)) this.#retired.push({ slot, number: this.#number });
    }
    if (hold === undefined) this.#held.delete(shard);
    else this.#held.set(shard, { epoch: hold.epoch, slots: new Map(slots) });
    return { slots: slots.map(([, slot]) => slot), number: this.#number };
  }

  slotOf(shard: ShardId, node: MemberId): number | undefined {
    return this.#held.get(shard)?.slots.get(node);
  }

  /** The thread has taken hold `number`: slots retired up to it are free, once the caller cleared them. */
  release(number: number): readonly number[] {
    const freed: number[] = [];
    while (this.#retired[0] !== undefined && this.#retired[0].number <= number) {
      freed.push(this.#retired[0].slot);
      this.#retired.shift();
    }
    this.#free.push(...freed);
    return freed;
  }

  #take(): number {
    const slot = this.#free.pop();
    if (slot !== undefined) return slot;
    assert(this.#used < leaseSlotsMax, "there is a slot for every lease");
    this.#used += 1;
    return this.#used - 1;
  }
}
