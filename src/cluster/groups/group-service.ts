// Groups on a mail node: how many members in its shards have read what, and what the keeper needs of
// the engine. Numbers only: who read something is told to nobody.

import { isMailError, MailError } from "../../mail/errors.ts";
import { accountId, shardId, shardMax } from "../../mail/ids.ts";
import type { AccountId, ShardId } from "../../mail/ids.ts";
import { withFlag } from "../../mail/read-state.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import { registrationOf } from "../../store/accounts.ts";
import type { Engine } from "../../store/engine.ts";
import { readersOf } from "../../store/group-state.ts";
import { accountInKey, afterPrefix, shardKey, shardTable } from "../../store/keyspace.ts";
import type { RpcRegistry } from "../link/rpc.ts";
import { asCount, asListOf } from "../node/decode.ts";
import { fieldsOf } from "../directory/group-wire.ts";
import type { KeptGroups } from "./group-keeper.ts";

export const readersMethod = "group.readers";

/** Of a shard's members that have any state: how many have read, and how many have hidden, each message. */
export interface ReaderCounts {
  readonly members: number;
  readonly read: readonly number[];
  readonly hidden: readonly number[];
}

const uidsMax = 10_000;

/** Registers what gateways ask of this node. */
export function registerGroups(registry: RpcRegistry, engine: Engine): void {
  registry.onCall(readersMethod, async ({ head }) => {
    const fields = fieldsOf(head, "readers");
    const shard = shardId(asCount(fields.get("shard"), "shard", shardMax));
    const group = accountId(asCount(fields.get("group"), "group"));
    const uids = asListOf(fields.get("uids"), "uids", (uid) => asCount(uid, "uid"));
    if (uids.length > uidsMax) {
      throw new MailError({ code: "LIMIT", limit: "announcements", most: uidsMax });
    }
    engine.mustServe(shard);
    return { head: await countReaders(engine, shard, group, uids) };
  });
}

async function countReaders(
  engine: Engine,
  shard: ShardId,
  group: AccountId,
  uids: readonly number[],
): Promise<ReaderCounts> {
  const read = new Counter(uids);
  const hidden = new Counter(uids);
  let members = 0;
  for await (const state of readersOf(engine, shard, group)) {
    members++;
    read.add(withFlag(state, "\\Seen"));
    hidden.add(state.hidden);
  }
  engine.mustServe(shard);
  return { members, read: read.counts(), hidden: hidden.counts() };
}

/** Counts intervals by their ends: a member costs its ranges, not its messages. */
class Counter {
  readonly #uids: readonly number[];
  readonly #steps: Int32Array;

  constructor(uids: readonly number[]) {
    this.#uids = uids;
    this.#steps = new Int32Array(uids.length + 1);
  }

  add(set: UidSet): void {
    for (let at = 0; at < set.length; at += 2) {
      this.#step(this.#placeOf(set[at] ?? 0), 1);
      this.#step(this.#placeOf((set[at + 1] ?? 0) + 1), -1);
    }
  }

  counts(): readonly number[] {
    let sum = 0;
    return this.#uids.map((_, at) => (sum += this.#steps[at] ?? 0));
  }

  #step(at: number, by: number): void {
    this.#steps[at] = (this.#steps[at] ?? 0) + by;
  }

  /** Of the first UID that is not below. */
  #placeOf(uid: number): number {
    let low = 0;
    let high = this.#uids.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#uids[middle] ?? 0) < uid) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** What the keeper asks of a node, over its engine and journal. */
export function keptGroups(
  engine: Engine,
  journal: {
    serves(shard: ShardId): boolean;
    replicas(): readonly { readonly shard: ShardId }[];
  },
): KeptGroups {
  return {
    shards: () => journal.replicas().map(({ shard }) => shard),
    serves: (shard) => journal.serves(shard),
    async groupsIn(shard) {
      const prefix = shardKey(shard, shardTable.group);
      const found: AccountId[] = [];
      for await (const rows of engine.rows.range(prefix, afterPrefix(prefix), 1000)) {
        for (const [key] of rows) found.push(accountId(accountInKey(key, 4)));
      }
      return found;
    },
    async registration(shard, group) {
      try {
        return await registrationOf(engine, shard, group);
      } catch (error) {
        // Another primary has it.
        if (isMailError(error, "WRONG_NODE")) return undefined;
        throw error;
      }
    },
  };
}
