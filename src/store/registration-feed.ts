// What a shard tells directories: each change of a registration, of "over quota" and of a name's
// claim, numbered by lsn. Keeps the newest changes so that a listener can go on where it stopped.

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

const keptPerShard = 4096;

interface Kept {
  readonly events: FeedEvent[];
  /** Events with a higher lsn are all here; undefined: nothing seen yet. */
  since: number | undefined;
}

export class RegistrationFeed {
  readonly #listeners = new Set<(event: FeedEvent) => void>();
  readonly #restarts = new Set<(shard: ShardId) => void>();
  readonly #kept = new Map<ShardId, Kept>();

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
    this.#kept.delete(shard);
    for (const listener of this.#restarts) listener(shard);
  }

  changed(shard: ShardId, lsn: Lsn, registration: Registration, overQuota: boolean): void {
    this.#tell({ kind: "registration", shard, lsn, registration, overQuota });
  }

  claimed(shard: ShardId, lsn: Lsn, claims: readonly Claim[]): void {
    for (const claim of claims) this.#tell({ kind: "claim", shard, lsn, claim });
  }

  /** Events of a shard above `lsn`, in order; undefined when they don't reach back so far: take a snapshot. */
  after(shard: ShardId, lsn: number): readonly FeedEvent[] | undefined {
    const kept = this.#kept.get(shard);
    if (kept?.since === undefined || lsn < kept.since) return undefined;
    return kept.events.filter((event) => event.lsn > lsn);
  }

  #tell(event: FeedEvent): void {
    let kept = this.#kept.get(event.shard);
    if (kept === undefined) {
      kept = { events: [], since: event.lsn - 1 };
      this.#kept.set(event.shard, kept);
    }
    kept.events.push(event);
    if (kept.events.length > keptPerShard) kept.since = kept.events.shift()?.lsn;
    for (const listener of this.#listeners) listener(event);
  }
}
