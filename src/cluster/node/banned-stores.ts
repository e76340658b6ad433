// Data folders that must never serve again: a copy of one of their shards was replaced by force, so
// what they hold contradicts what clients have been shown since. Kept in the coordinator for good.

import { asNumber, asRecord, asString, DecodeError } from "../../lib/decode.ts";
import { memberId, shardId } from "../../mail/ids.ts";
import type { MemberId, ShardId, StoreId } from "../../mail/ids.ts";

const bannedPrefix = "banned/";

export interface BannedStore {
  readonly node: MemberId;
  /** The first shard that was promoted without it. */
  readonly shard: ShardId;
  /** Unix milliseconds. */
  readonly atMs: number;
}

export function bannedKey(store: StoreId): string {
  return bannedPrefix + store;
}

export function encodeBanned(banned: BannedStore): string {
  return JSON.stringify(banned);
}

/** What the owner of a banned folder is told. A value that is not understood bans, too. */
export function bannedText(value: string): string {
  let facts = "";
  try {
    const { node, shard, atMs } = decodeBanned(value);
    const day = new Date(atMs).toISOString();
    facts = `: on ${day} shard ${shard} was promoted by force without ${node}`;
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
  }
  return (
    `this data folder may not be used any more${facts}. ` +
    "Move it away and start this node with an empty one: it counts as a new node then. " +
    "`pabal salvage` takes mail out of the old folder"
  );
}

/** @throws {DecodeError} */
export function decodeBanned(text: string): BannedStore {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new DecodeError("a banned store should be JSON", { cause });
  }
  const value = asRecord(parsed, "banned store");
  return {
    node: memberId(asString(value["node"], "node")),
    shard: shardId(asNumber(value["shard"], "shard")),
    atMs: asNumber(value["atMs"], "atMs"),
  };
}
