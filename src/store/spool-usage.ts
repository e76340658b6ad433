// How much waits in each shard's spool: counted from its rows when first asked for, then kept up by
// entries. Knows no limits.

import type { ShardId } from "../mail/ids.ts";
import type { SpoolPayload, UnspoolPayload } from "./entry-kind.ts";
import { afterPrefix, spoolKey } from "./keyspace.ts";
import { readSpoolRow } from "./spool-rows.ts";
import type { WriteQueue } from "./write-queue.ts";

/** What a shard's spool holds. */
export interface SpoolUse {
  readonly recipients: number;
  readonly bytes: number;
}

interface HeldEntry {
  readonly recipients: Set<number>;
  readonly bytes: number;
}

interface HeldShard {
  readonly entries: Map<number, HeldEntry>;
  recipients: number;
  bytes: number;
  /** What went while the rows were being counted; undefined: they are counted. */
  removed: Set<string> | undefined;
}

/** How much waits in each shard's spool, kept up by entries once it was counted. */
export class SpoolUsage {
  readonly #rows: WriteQueue;
  readonly #shards = new Map<ShardId, HeldShard>();

  constructor(rows: WriteQueue) {
    this.#rows = rows;
  }

  /** Undefined: not counted, see `count`. */
  of(shard: ShardId): SpoolUse | undefined {
    const held = this.#shards.get(shard);
    return held?.removed === undefined ? held : undefined;
  }

  /** Of all shards that are counted. */
  get total(): SpoolUse {
    const total = { recipients: 0, bytes: 0 };
    for (const { recipients, bytes } of this.#shards.values()) {
      total.recipients += recipients;
      total.bytes += bytes;
    }
    return total;
  }

  /** Counts a shard's rows, unless that was done. What is applied meanwhile is counted in. */
  async count(shard: ShardId): Promise<SpoolUse> {
    const known = this.of(shard);
    if (known !== undefined) return known;
    const removed = new Set<string>();
    const held: HeldShard = { entries: new Map(), recipients: 0, bytes: 0, removed };
    this.#shards.set(shard, held);
    const prefix = spoolKey(shard);
    for await (const rows of this.#rows.range(prefix, afterPrefix(prefix))) {
      for (const [key, value] of rows) {
        const { lsn, at, bytes } = readSpoolRow(key, value);
        if (!removed.has(`${lsn} ${at}`)) add(held, lsn, at, bytes);
      }
    }
    held.removed = undefined;
    return held;
  }

  /** The shard's rows may have been exchanged: count again. */
  forget(shard: ShardId): void {
    this.#shards.delete(shard);
  }

  spooled(shard: ShardId, lsn: number, payload: SpoolPayload): void {
    const held = this.#shards.get(shard);
    if (held === undefined) return;
    let at = 0;
    for (const { recipients } of payload.parts)
      for (let left = recipients.length; left > 0; left--)
        add(held, lsn, at++, payload.part.length);
  }

  unspooled(shard: ShardId, payload: UnspoolPayload): void {
    const held = this.#shards.get(shard);
    if (held === undefined) return;
    for (const { lsn, at } of payload.rows) {
      held.removed?.add(`${lsn} ${at}`);
      const entry = held.entries.get(lsn);
      if (entry?.recipients.delete(at) !== true) continue;
      held.recipients -= 1;
      if (entry.recipients.size > 0) continue;
      held.entries.delete(lsn);
      held.bytes -= entry.bytes;
    }
  }
}

function add(held: HeldShard, lsn: number, at: number, bytes: number): void {
  let entry = held.entries.get(lsn);
  if (entry === undefined) {
    entry = { recipients: new Set(), bytes };
    held.entries.set(lsn, entry);
    held.bytes += bytes;
  }
  if (entry.recipients.has(at)) return;
  entry.recipients.add(at);
  held.recipients += 1;
}
