// Which bodies are still owned, and where they lie now: the engine's answers to the log when it
// rewrites segments, and to the blob store when it removes files nobody refers to.

import { accountId, lsn as makeLsn, shardId } from "../mail/ids.ts";
import type { AccountId } from "../mail/ids.ts";
import type { WriteQueue } from "./write-queue.ts";
import type { Location } from "./journal.ts";
import {
  accountInKey,
  afterPrefix,
  blobPrefix,
  bodyOfBlobKey,
  bodyPrefix,
  bodyTable,
  space,
  staticKey,
} from "./keyspace.ts";
import { LiveBytes } from "./log/garbage.ts";
import type { BodyId, GarbageOwner, StoredBody } from "./log/types.ts";
import { openRow } from "./row.ts";
import { putPlace, readPlace } from "./rows.ts";
import type { BodyPlace } from "./rows.ts";

/** One body's rows: its place, who owns it, and whose static rows it left behind. */
interface BodyRows {
  readonly part: number;
  place: BodyPlace | undefined;
  readonly owners: AccountId[];
  readonly traces: AccountId[];
  readonly keys: Buffer[];
}

export class BodyGarbage implements GarbageOwner {
  readonly #queue: WriteQueue;

  constructor(queue: WriteQueue) {
    this.#queue = queue;
  }

  /** Bodies go by account, so that a mailbox's become neighbours. Rows of dead ones are dropped. */
  async liveOrder(bodies: readonly StoredBody[]): Promise<readonly (number | undefined)[]> {
    const orders: (number | undefined)[] = [];
    for (const body of bodies) orders.push(await this.#orderOf(body));
    return orders;
  }

  async relocate(body: BodyId, from: Location, to: Location): Promise<void> {
    for (const { part, place } of await this.#rowsOf(body.shard, body.lsn)) {
      if (place?.kind !== "segment" || !sameLocation(place.location, from)) continue;
      putPlace(this.#queue, body.shard * 2 ** 16 + part, body.lsn, { ...place, location: to });
    }
  }

  /** True while a body refers to the blob. */
  async blobIsUsed(name: string): Promise<boolean> {
    const prefix = blobPrefix(name);
    for await (const rows of this.#queue.range(prefix, afterPrefix(prefix), 1)) {
      if (rows.length > 0) return true;
    }
    return false;
  }

  /** Drops the rows of blob bodies without owners; their files go at the blob store's next sweep. */
  async dropDeadBlobs(signal: AbortSignal): Promise<number> {
    let dropped = 0;
    const prefix = Buffer.from([space.blob]);
    for await (const rows of this.#queue.range(prefix, afterPrefix(prefix))) {
      for (const [key] of rows) {
        signal.throwIfAborted();
        const { shard, lsn, part } = bodyOfBlobKey(key);
        const found = (await this.#rowsOf(shardId(shard), makeLsn(lsn))).find(
          (each) => each.part === part,
        );
        if (found === undefined || found.owners.length > 0) continue;
        this.#drop(shard, lsn, found);
        this.#queue.del(key);
        dropped++;
      }
    }
    return dropped;
  }

  /** Bytes of owned bodies in each segment, counted from the rows. */
  async measure(signal: AbortSignal): Promise<LiveBytes> {
    const live = new LiveBytes();
    let location: Location | undefined;
    const prefix = Buffer.from([space.body]);
    for await (const rows of this.#queue.range(prefix, afterPrefix(prefix))) {
      signal.throwIfAborted();
      for (const [key, value] of rows) {
        if (key[11] === bodyTable.location) {
          const place = readPlace(openRow(key, value));
          location = place.kind === "segment" ? place.location : undefined;
        } else if (location !== undefined && key.readUInt32BE(20) !== 0) {
          live.add(location);
          location = undefined; // Counted once, however many own it.
        }
      }
    }
    return live;
  }

  async #orderOf(body: StoredBody): Promise<number | undefined> {
    const rows = await this.#rowsOf(body.shard, body.lsn);
    const here = rows.filter(
      ({ place }) => place?.kind === "segment" && sameLocation(place.location, body.location),
    );
    const owners = here.flatMap((each) => each.owners);
    if (owners.length > 0) return Math.min(...owners);
    for (const dead of here) this.#drop(body.shard, body.lsn, dead);
    return undefined;
  }

  #drop(shard: number, lsn: number, body: BodyRows): void {
    const tag = shard * 2 ** 16 + body.part;
    for (const account of body.traces) this.#queue.del(staticKey(account, tag, lsn));
    for (const key of body.keys) this.#queue.del(key);
  }

  async #rowsOf(shard: BodyId["shard"], lsn: BodyId["lsn"]): Promise<BodyRows[]> {
    const prefix = bodyPrefix(shard, lsn);
    const bodies = new Map<number, BodyRows>();
    for await (const rows of this.#queue.range(prefix, afterPrefix(prefix))) {
      for (const [key, value] of rows) {
        const part = key.readUInt16BE(9);
        let body = bodies.get(part);
        if (body === undefined) {
          body = { part, place: undefined, owners: [], traces: [], keys: [] };
          bodies.set(part, body);
        }
        body.keys.push(key);
        if (key[11] === bodyTable.location) body.place = readPlace(openRow(key, value));
        else {
          const account = accountId(accountInKey(key, 12));
          if (key.readUInt32BE(20) === 0) body.traces.push(account);
          else body.owners.push(account);
        }
      }
    }
    return [...bodies.values()];
  }
}

function sameLocation(a: Location, b: Location): boolean {
  return a.segment === b.segment && a.offset === b.offset;
}
