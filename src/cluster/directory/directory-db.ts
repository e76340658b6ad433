// The gateway's directory on disk: a LevelDB of rows and claims that may be deleted at any time, as
// the mail nodes can always fill it again. Knows keys and bytes, not which row is newer.

import { randomBytes } from "node:crypto";
import type { DirectoryRow } from "../../mail/account.ts";
import { accountId, shardId } from "../../mail/ids.ts";
import type { AccountId, ShardId } from "../../mail/ids.ts";
import { crc32c } from "../../lib/crc32c.ts";
import { packValue, unpackValue } from "../link/wire-value.ts";
import type { DirectoryFiles, DirectoryLevel, Operation } from "./directory-files.ts";
import { asAccount, decodePosition, decodeRow, encodePosition, encodeRow } from "./wire.ts";
import type { Position } from "./wire.ts";

/** A value that failed its checksum: the folder can't be trusted any more. */
export class DirectoryDamaged extends Error {
  override readonly name = "DirectoryDamaged";
}

export interface DirectoryIdentity {
  readonly clusterId: string;
  readonly shardCount: number;
}

/** First byte of a key. */
const space = {
  meta: 0x4d,
  /** shard → position up to which everything of it is here. */
  position: 0x50,
  /** account → row. */
  row: 0x52,
  /** shard, account → empty: which rows say that shard. */
  home: 0x48,
  /** claim shard, name → account. */
  claim: 0x43,
  /** name → account, of accounts that are not deleted. */
  name: 0x4e,
  /** account → empty: it is a group. */
  group: 0x47,
  /** group, account → empty: the account is a member. */
  member: 0x49,
} as const;

const format = 1;
const empty = new Uint8Array(0);

/** Changes that become visible together. */
export class DirectoryBatch {
  readonly operations: Operation[] = [];

  putRow(row: DirectoryRow): void {
    this.#put(rowKey(row.account), encodeRow(row));
    this.operations.push({ type: "put", key: homeKey(row.shard, row.account), value: empty });
    for (const key of groupKeys(row)) this.operations.push({ type: "put", key, value: empty });
  }
  /** What the row said of groups. */
  delGroups(row: DirectoryRow): void {
    for (const key of groupKeys(row)) this.#del(key);
  }
  delRow(row: DirectoryRow): void {
    this.#del(rowKey(row.account));
    this.delHome(row.shard, row.account);
  }
  delHome(shard: ShardId, account: number): void {
    this.#del(homeKey(shard, account));
  }
  putName(name: string, account: AccountId): void {
    this.#put(nameKey(name), account);
  }
  delName(name: string): void {
    this.#del(nameKey(name));
  }
  putClaim(shard: ShardId, name: string, account: AccountId): void {
    this.#put(claimKey(shard, name), account);
  }
  delClaim(shard: ShardId, name: string): void {
    this.#del(claimKey(shard, name));
  }
  putPosition(position: Position): void {
    this.#put(shardKey(space.position, position.shard), encodePosition(position));
  }
  delPosition(shard: ShardId): void {
    this.#del(shardKey(space.position, shard));
  }

  #put(key: Uint8Array, value: unknown): void {
    this.operations.push({ type: "put", key, value: seal(key, value) });
  }
  #del(key: Uint8Array): void {
    this.operations.push({ type: "del", key });
  }
}

export class DirectoryDb {
  readonly #db: DirectoryLevel;
  readonly #meta: readonly [number, string, number];
  /** True when what is here may lack changes below its positions: start from nothing. */
  readonly suspect: boolean;

  private constructor(
    db: DirectoryLevel,
    meta: readonly [number, string, number],
    suspect: boolean,
  ) {
    this.#db = db;
    this.#meta = meta;
    this.suspect = suspect;
  }

  /** Opens it; what is no directory of this cluster, or broken, is made anew. */
  static async open(files: DirectoryFiles, identity: DirectoryIdentity): Promise<DirectoryDb> {
    try {
      return await DirectoryDb.#tryOpen(files, identity);
    } catch (error) {
      if (isLocked(error)) throw error;
      await files.remove();
      return DirectoryDb.#tryOpen(files, identity);
    }
  }

  static async #tryOpen(files: DirectoryFiles, identity: DirectoryIdentity): Promise<DirectoryDb> {
    const db = files.level();
    await db.open();
    try {
      const meta = [format, identity.clusterId, identity.shardCount] as const;
      const key = metaKey();
      const found = db.getSync(key);
      const boot = files.bootId();
      let suspect = false;
      if (found !== undefined) {
        const value = unseal(key, found);
        const [fields, holder] = Array.isArray(value) ? (value as readonly unknown[]) : [];
        if (JSON.stringify(fields) !== JSON.stringify(meta)) {
          throw new DirectoryDamaged("the folder is another cluster's directory");
        }
        // Unsynced writes survive a dead process, but after a power loss not as a prefix.
        suspect = holder !== "closed" && holder !== boot;
      }
      // For the next process, too: it may find this boot's name before everything is here again.
      if (suspect) await forgetPositions(db);
      const unique = boot ?? randomBytes(16).toString("hex");
      await db.put(key, seal(key, [meta, unique]), { sync: true });
      return new DirectoryDb(db, meta, suspect);
    } catch (error) {
      await db.close();
      throw error;
    }
  }

  /** @throws DirectoryDamaged */
  row(account: AccountId): DirectoryRow | undefined {
    const key = rowKey(account);
    const value = this.#db.getSync(key);
    return value === undefined ? undefined : decoded(() => decodeRow(unseal(key, value)));
  }

  /** @throws DirectoryDamaged */
  claim(shard: ShardId, name: string): AccountId | undefined {
    const key = claimKey(shard, name);
    const value = this.#db.getSync(key);
    return value === undefined ? undefined : decoded(() => asAccount(unseal(key, value), name));
  }

  /** Whose row was put under this name last, of those that are not deleted. @throws DirectoryDamaged */
  nameHolder(name: string): AccountId | undefined {
    const key = nameKey(name);
    const value = this.#db.getSync(key);
    return value === undefined ? undefined : decoded(() => asAccount(unseal(key, value), name));
  }

  async positions(): Promise<readonly Position[]> {
    const found: Position[] = [];
    for await (const [key, value] of this.#db.iterator(rangeOf(space.position))) {
      found.push(decoded(() => decodePosition(unseal(key, value))));
    }
    return found;
  }

  /** Accounts whose rows say `shard`, above `after`, up to and with `through`. */
  async accountsOf(shard: ShardId, after: number, through: number): Promise<readonly number[]> {
    const range = { gt: homeKey(shard, after), lte: homeKey(shard, through) };
    const found: number[] = [];
    for await (const key of this.#db.keys(range)) {
      const bytes = Buffer.from(key.buffer, key.byteOffset, key.byteLength);
      found.push(bytes.readUInt32BE(3) * 2 ** 32 + bytes.readUInt32BE(7));
    }
    return found;
  }

  /** Claimed names of `shard` above `after`, up to and with `through`, or all behind. */
  async claimsOf(
    shard: ShardId,
    after: string,
    through: string | undefined,
  ): Promise<readonly string[]> {
    const upper =
      through === undefined
        ? { lt: shardKey(space.claim, shardId(shard + 1)) }
        : { lte: claimKey(shard, through) };
    const found: string[] = [];
    for await (const key of this.#db.keys({ gt: claimKey(shard, after), ...upper })) {
      found.push(Buffer.from(key.subarray(3)).toString());
    }
    return found;
  }

  /** Accounts by name from `after` (exclusive), at most `most`. */
  async accountsByName(after: string, most: number): Promise<readonly AccountId[]> {
    const end: Uint8Array = Uint8Array.of(space.name + 1);
    const range = { gt: nameKey(after), lt: end, limit: most };
    const found: AccountId[] = [];
    for await (const [key, value] of this.#db.iterator(range)) {
      found.push(decoded(() => asAccount(unseal(key, value), "name")));
    }
    return found;
  }

  async groups(): Promise<readonly AccountId[]> {
    const found: AccountId[] = [];
    for await (const key of this.#db.keys(rangeOf(space.group))) found.push(accountIn(key, 1));
    return found;
  }

  async memberCount(group: AccountId): Promise<number> {
    return this.#count({
      gte: memberKey(group, 0),
      lte: memberKey(group, Number.MAX_SAFE_INTEGER),
    });
  }

  /** Accounts whose rows say `shard`. */
  countOf(shard: ShardId): Promise<number> {
    return this.#count({
      gte: homeKey(shard, 0),
      lte: homeKey(shard, Number.MAX_SAFE_INTEGER),
    });
  }

  async userCount(): Promise<number> {
    return (await this.#count(rangeOf(space.name))) - (await this.#count(rangeOf(space.group)));
  }

  async #count(range: { gte: Uint8Array; lt?: Uint8Array; lte?: Uint8Array }): Promise<number> {
    let count = 0;
    const keys = this.#db.keys(range);
    try {
      for (;;) {
        const some = await keys.nextv(1000);
        count += some.length;
        if (some.length === 0) return count;
      }
    } finally {
      await keys.close();
    }
  }

  /** Members of a group by account from `after` (exclusive), at most `most`. */
  async membersOf(group: AccountId, after: number, most: number): Promise<readonly AccountId[]> {
    const range = {
      gt: memberKey(group, after),
      lte: memberKey(group, Number.MAX_SAFE_INTEGER),
      limit: most,
    };
    const found: AccountId[] = [];
    for await (const key of this.#db.keys(range)) found.push(accountIn(key, 9));
    return found;
  }

  async write(batch: DirectoryBatch): Promise<void> {
    if (batch.operations.length > 0) await this.#db.batch(batch.operations);
  }

  /** Everything written is on disk and the folder says so. */
  async close(): Promise<void> {
    if (this.#db.status !== "open") return;
    const key = metaKey();
    await this.#db.put(key, seal(key, [this.#meta, "closed"]), { sync: true });
    await this.#db.close();
  }
}

/** Durable with the next synced write. */
async function forgetPositions(db: DirectoryLevel): Promise<void> {
  const keys: Uint8Array[] = [];
  for await (const key of db.keys(rangeOf(space.position))) keys.push(key);
  if (keys.length > 0) await db.batch(keys.map((key) => ({ type: "del" as const, key })));
}

function seal(key: Uint8Array, value: unknown): Uint8Array {
  const payload = packValue(value);
  const out = Buffer.allocUnsafe(4 + payload.length);
  out.writeUInt32BE(crc32c(payload, crc32c(key)));
  out.set(payload, 4);
  return out;
}

/** @throws DirectoryDamaged */
function unseal(key: Uint8Array, value: Uint8Array): unknown {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (bytes.length < 5 || bytes.readUInt32BE(0) !== crc32c(bytes.subarray(4), crc32c(key))) {
    throw new DirectoryDamaged("a record of the directory failed its checksum");
  }
  return unpackValue(bytes.subarray(4));
}

/** Whatever a record of ours can't be read for, it is damage. */
function decoded<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof DirectoryDamaged) throw cause;
    throw new DirectoryDamaged("a record of the directory can't be read", { cause });
  }
}

function metaKey(): Uint8Array {
  return Uint8Array.of(space.meta);
}

function shardKey(first: number, shard: ShardId): Buffer {
  const key = Buffer.allocUnsafe(3);
  key[0] = first;
  key.writeUInt16BE(shard, 1);
  return key;
}

function rowKey(account: number): Buffer {
  const key = Buffer.allocUnsafe(9);
  key[0] = space.row;
  writeAccount(key, 1, account);
  return key;
}

function homeKey(shard: ShardId, account: number): Buffer {
  const key = Buffer.allocUnsafe(11);
  key[0] = space.home;
  key.writeUInt16BE(shard, 1);
  writeAccount(key, 3, account);
  return key;
}

function claimKey(shard: ShardId, name: string): Buffer {
  return Buffer.concat([shardKey(space.claim, shard), Buffer.from(name)]);
}

/** Keys that say what the row says of groups; none of a deleted account. */
function groupKeys({ account, group, memberships = [], state }: DirectoryRow): Uint8Array[] {
  if (state === "deleted") return [];
  const keys: Uint8Array[] = memberships.map((one) => memberKey(one.group, account));
  if (group === undefined) return keys;
  const key = Buffer.allocUnsafe(9);
  key[0] = space.group;
  writeAccount(key, 1, account);
  return [...keys, key];
}

function memberKey(group: number, account: number): Buffer {
  const key = Buffer.allocUnsafe(17);
  key[0] = space.member;
  writeAccount(key, 1, group);
  writeAccount(key, 9, account);
  return key;
}

function accountIn(key: Uint8Array, at: number): AccountId {
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.byteLength);
  return accountId(bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4));
}

function nameKey(name: string): Uint8Array {
  return Buffer.concat([Uint8Array.of(space.name), Buffer.from(name)]);
}

function writeAccount(key: Buffer, at: number, account: number): void {
  key.writeUInt32BE(Math.floor(account / 2 ** 32), at);
  key.writeUInt32BE(account % 2 ** 32, at + 4);
}

function rangeOf(first: number): { gte: Uint8Array; lt: Uint8Array } {
  return { gte: Uint8Array.of(first), lt: Uint8Array.of(first + 1) };
}

/** Another process holds the folder: that is no damage. */
function isLocked(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && "code" in cause && cause.code === "LEVEL_LOCKED";
}
