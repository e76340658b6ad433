// What a shard tells directories: each change of a registration, of "over quota" and of a name's
// claim, numbered by lsn. Keeps nothing: the directory's service remembers what its gateways may miss.

import type { Registration } from "../mail/account.ts";
import type { Lsn, ShardId } from "../mail/ids.ts";
import type { Claim } from "./entry-kind.ts";

export type FeedEvent =
  | {
      readonly kind: "registration";
      readonly shard: ShardId;
      readonly lsn: Lsn;
      readonly registration: Registration;
      readonly overQuota: boolean;
    }
  | { readonly kind: "claim"; readonly shard: ShardId; readonly lsn: Lsn; readonly claim: Claim };

export class RegistrationFeed {
  readonly #listeners = new Set<(event: FeedEvent) => void>();
  readonly #restarts = new Set<(shard: ShardId) => void>();

  /** Runs at each change after it is applied; returns a function that removes the listener. */
  listen(listener: (event: FeedEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Runs when a shard's copy was made anew: what was heard of it before leads nowhere. */
  onRestart(listener: (shard: ShardId) => void): void {
    this.#restarts.add(listener);
  }

  /** The shard's copy is made anew. */
  restart(shard: ShardId): void {
    for (const listener of this.#restarts) listener(shard);
  }

  changed(shard: ShardId, lsn: Lsn, registration: Registration, overQuota: boolean): void {
    this.#tell({ kind: "registration", shard, lsn, registration, overQuota });
  }

  claimed(shard: ShardId, lsn: Lsn, claims: readonly Claim[]): void {
    for (const claim of claims) this.#tell({ kind: "claim", shard, lsn, claim });
  }

  #tell(event: FeedEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
