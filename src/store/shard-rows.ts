// Which rows of the index belong to one shard, for copies and wipes: ranges that carry the shard's
// number, and those of its accounts. The table of keys is keyspace.ts.

import { accountId } from "../mail/ids.ts";
import type { AccountId, ShardId } from "../mail/ids.ts";
import {
  accountInKey,
  accountKey,
  afterPrefix,
  bodyOfBlobKey,
  bodyTable,
  shardAccountKey,
  shardKey,
  shardTable,
  space,
  table,
} from "./keyspace.ts";
import { openRow, rowIsSound } from "./row.ts";
import { readRegistrationRow } from "./rows.ts";
import type { WriteQueue } from "./write-queue.ts";

/** First bytes of keys whose next two are the shard; bodies have places of this node's among them. */
export const numberedSpaces = [space.shard, space.claim, space.spool, space.unconfirmed] as const;
/** First bytes of keys whose next eight are an account. */
export const accountSpaces = [space.account, space.gone] as const;

export function shardPrefix(which: number, shard: ShardId): Buffer {
  const prefix = Buffer.allocUnsafe(3);
  prefix[0] = which;
  prefix.writeUInt16BE(shard, 1);
  return prefix;
}

export function accountPrefix(which: number, account: AccountId): Buffer {
  const prefix = Buffer.from(accountKey(account, 0).subarray(0, 9));
  prefix[0] = which;
  return prefix;
}

/** Start of the list of a shard's accounts. */
export function accountList(shard: ShardId): Buffer {
  return shardKey(shard, shardTable.account);
}

/** True when a row with this key may come in a copy of the shard. */
export function mayBelong(key: Buffer, shard: ShardId): boolean {
  const first = key[0];
  if (first === undefined || key.length < 4) return false;
  if (first === space.body) {
    return key[11] === bodyTable.owner && key.readUInt16BE(1) === shard;
  }
  if (accountSpaces.some((each) => each === first)) return key.length >= 10;
  return numberedSpaces.some((each) => each === first) && key.readUInt16BE(1) === shard;
}

/**
 * Deletes all rows of a shard, durably, also what a wipe that broke off has left. `others`: the other
 * shards of this node, which may claim an account whose own row is gone.
 */
export async function wipeShard(
  rows: WriteQueue,
  shard: ShardId,
  others: readonly ShardId[],
  signal: AbortSignal,
): Promise<void> {
  for await (const account of accountsHere(rows, shard, others)) {
    signal.throwIfAborted();
    for (const which of accountSpaces) await clear(rows, accountPrefix(which, account));
  }
  const blobs = Buffer.of(space.blob);
  for await (const batch of rows.range(blobs, afterPrefix(blobs))) {
    signal.throwIfAborted();
    for (const [key] of batch) if (bodyOfBlobKey(key).shard === shard) rows.del(key);
    if (rows.full) await rows.room();
  }
  await clear(rows, shardPrefix(space.body, shard));
  // The list of accounts goes last: what is left of one after a crash is found by it.
  await rows.flush();
  for (const which of numberedSpaces) await clear(rows, shardPrefix(which, shard));
  await rows.flush();
}

function clear(rows: WriteQueue, prefix: Buffer): Promise<void> {
  return rows.clear(prefix, afterPrefix(prefix));
}

/** The accounts that live in the shard, by all that may say so; each at least once. */
async function* accountsHere(
  rows: WriteQueue,
  shard: ShardId,
  others: readonly ShardId[],
): AsyncGenerator<AccountId> {
  const list = accountList(shard);
  for await (const batch of rows.range(list, afterPrefix(list))) {
    for (const [key] of batch) {
      const account = accountId(accountInKey(key, 4));
      if (((await homeOf(rows, account)) ?? shard) === shard) yield account;
    }
  }
  // An account that is in no list, or has no registration, is what something broken off has left.
  const all: Buffer = Buffer.of(space.account);
  const end = afterPrefix(all);
  for (let from: Buffer = all; ; ) {
    const key = await firstKey(rows, from, end);
    if (key === undefined) return;
    const account = accountId(accountInKey(key, 1));
    const home = await homeOf(rows, account);
    const here = home === undefined ? !(await isListed(rows, account, others)) : home === shard;
    if (here) yield account;
    from = afterPrefix(accountPrefix(space.account, account));
  }
}

/** The shard that an account's registration names; undefined when it is missing or damaged. */
async function homeOf(rows: WriteQueue, account: AccountId): Promise<ShardId | undefined> {
  const key = accountKey(account, table.registration);
  const value = await rows.get(key);
  if (value === undefined || !rowIsSound(key, value)) return undefined;
  return readRegistrationRow(openRow(key, value)).shard;
}

async function isListed(
  rows: WriteQueue,
  account: AccountId,
  shards: readonly ShardId[],
): Promise<boolean> {
  const found = await rows.getMany(shards.map((shard) => shardAccountKey(shard, account)));
  return found.some((value) => value !== undefined);
}

async function firstKey(rows: WriteQueue, from: Buffer, end: Buffer): Promise<Buffer | undefined> {
  for await (const batch of rows.range(from, end, 1)) return batch[0]?.[0];
  return undefined;
}
