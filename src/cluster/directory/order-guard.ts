// Refuses a request about a name that was overtaken by a later one of the same sender: a message
// that was stuck in a dying link must not undo what was settled since. Remembered in RAM, bounded.

import { RecentMap } from "../../lib/recent-map.ts";
import type { Epoch, ShardId } from "../../mail/ids.ts";

/** Who asks: the shard that drives a saga, the epoch it drives it in, and a number that grows there. */
export interface Order {
  readonly shard: ShardId;
  readonly epoch: Epoch;
  readonly number: number;
}

export class OrderGuard {
  readonly #last: RecentMap<string, Order>;

  /** @param least names that are remembered at least. */
  constructor(least = 20_000) {
    this.#last = new RecentMap(least);
  }

  /** False when a later order about the same name was seen from the same shard. */
  admit(name: string, order: Order): boolean {
    const key = `${order.shard} ${name}`;
    const last = this.#last.get(key);
    if (last !== undefined && isBefore(order, last)) return false;
    this.#last.set(key, order);
    return true;
  }
}

function isBefore(order: Order, last: Order): boolean {
  if (order.epoch !== last.epoch) return order.epoch < last.epoch;
  return order.number < last.number;
}
