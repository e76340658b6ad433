// Waiting at a gateway until a shard's primary serves it: one question a shard is under way, however
// many requests wait. A new primary answers it the moment it may serve.

import type { ShardId } from "../../mail/ids.ts";
import type { Peer } from "../link/rpc.ts";
import type { ShardConfig } from "../protocol/shard-config.ts";
import { encodeShardAt, failoverMethods } from "./failover-wire.ts";

const askMs = 6000;

export class ServingWatch {
  readonly #asked = new Map<ShardId, { readonly node: Peer; readonly done: Promise<void> }>();

  /** Resolves when the primary serves, says that it won't, or can't be asked. Never rejects. */
  served(config: ShardConfig, peer: Peer): Promise<void> {
    const { shard, epoch, primary } = config;
    const asked = this.#asked.get(shard);
    if (asked?.node === peer) return asked.done;
    const head = encodeShardAt({ shard, epoch, at: primary });
    const forget = (): void => {
      if (this.#asked.get(shard)?.done === done) this.#asked.delete(shard);
    };
    const { signal } = new AbortController();
    const done: Promise<void> = peer
      .call(failoverMethods.serving, head, { signal, deadlineMs: askMs })
      .then(forget, forget);
    this.#asked.set(shard, { node: peer, done });
    return done;
  }
}
