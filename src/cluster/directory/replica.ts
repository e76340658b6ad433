// What a gateway knows of all accounts: applies stream items to the directory on disk, newest version
// wins, and keeps hot rows in RAM. Leaves streams and freshness to gateway-directory.ts.

import type { DirectoryRow } from "../../mail/account.ts";
import { accountId } from "../../mail/ids.ts";
import type { AccountId, ShardId } from "../../mail/ids.ts";
import { claimShard } from "./claims.ts";
import type { ClaimRow } from "./claims.ts";
import { DirectoryBatch } from "./directory-db.ts";
import type { DirectoryDb } from "./directory-db.ts";
import { Lru } from "../../lib/lru.ts";
import type { StreamItem } from "./stream-wire.ts";
import type { Position } from "./wire.ts";

/** Where the sweep of a snapshot stands: what lies before was compared. */
interface Sweep {
  account: number;
  name: string;
}
/** The snapshots under way in one stream. */
export type Sweeps = Map<ShardId, Sweep>;

/** What a name leads to, without regard to freshness. `odd`: claim and row don't fit (yet). */
export type Found =
  | { readonly kind: "row"; readonly row: DirectoryRow }
  | { readonly kind: "nobody" }
  | { readonly kind: "odd" };

export class DirectoryReplica {
  readonly #db: DirectoryDb;
  readonly #shardCount: number;
  readonly #changed: (rows: readonly DirectoryRow[]) => void;
  readonly #rows: Lru<AccountId, DirectoryRow>;
  readonly #claims: Lru<string, AccountId>;
  hits = 0;
  misses = 0;

  /** @param changed runs with rows that look-ups have begun to show */
  constructor(
    db: DirectoryDb,
    shardCount: number,
    cacheMax: number,
    changed: (rows: readonly DirectoryRow[]) => void = () => undefined,
  ) {
    this.#db = db;
    this.#changed = changed;
    this.#shardCount = shardCount;
    this.#rows = new Lru(cacheMax);
    this.#claims = new Lru(cacheMax);
  }

  /** Exactly this name: a user, an alias or `@domain`. @throws DirectoryDamaged */
  find(name: string): Found {
    const account = this.#claim(name);
    if (account === undefined) return { kind: "nobody" };
    const row = this.row(account);
    // A row that hasn't come yet, an alias that is being made or dropped.
    if (row === undefined) return { kind: "odd" };
    // The tombstone is the account's last word, whatever becomes of the name.
    if (row.state === "deleted") return { kind: "nobody" };
    const named = row.name === name || row.aliases.includes(name);
    return named ? { kind: "row", row } : { kind: "odd" };
  }

  /** @throws DirectoryDamaged */
  row(account: AccountId): DirectoryRow | undefined {
    const hot = this.#rows.get(account);
    if (hot !== undefined) {
      this.hits++;
      return hot;
    }
    this.misses++;
    const row = this.#db.row(account);
    if (row !== undefined) this.#rows.set(account, row, 1);
    return row;
  }

  /** Accounts whose rows say `shard`. */
  countOf(shard: ShardId): Promise<number> {
    return this.#db.countOf(shard);
  }

  /** Rows by name, deleted accounts left out. */
  async list(after: string, most: number): Promise<readonly DirectoryRow[]> {
    const accounts = await this.#db.accountsByName(after, most);
    return accounts.flatMap((account) => {
      const row = this.row(account);
      return row === undefined || row.state === "deleted" ? [] : [row];
    });
  }

  /** Groups, deleted ones left out. */
  async groups(): Promise<readonly DirectoryRow[]> {
    return this.#rowsOf(await this.#db.groups());
  }

  /** Those whose rows say that they are members, deleted ones left out. */
  async members(group: AccountId, after: number, most: number): Promise<readonly DirectoryRow[]> {
    return this.#rowsOf(await this.#db.membersOf(group, after, most));
  }

  #rowsOf(accounts: readonly AccountId[]): readonly DirectoryRow[] {
    return accounts.flatMap((account) => {
      const row = this.row(account);
      return row === undefined || row.state === "deleted" ? [] : [row];
    });
  }

  /** Applies one item; one call at a time. Resolves when look-ups show it. `sweeps` is the stream's. */
  async apply(item: Exclude<StreamItem, { kind: "mark" }>, sweeps: Sweeps): Promise<void> {
    const batch = new DirectoryBatch();
    const { shard } = item.at;
    switch (item.kind) {
      case "rows": {
        const rows = this.#putRows(batch, shard, item.rows);
        this.#putClaims(batch, shard, item.claims);
        batch.putPosition(item.at);
        await this.#commit(batch, rows, item.claims);
        return;
      }
      case "accounts": {
        const sweep = sweepOf(sweeps, shard);
        const gone = await this.#goneAccounts(batch, shard, sweep.account, item);
        const rows = this.#putRows(batch, shard, item.rows);
        await this.#commit(batch, [...rows, ...gone], []);
        sweep.account = item.through;
        return;
      }
      case "claims": {
        const sweep = sweepOf(sweeps, shard);
        const listed = new Set(item.claims.map(({ name }) => name));
        const held = await this.#db.claimsOf(shard, sweep.name, item.through);
        const gone = held
          .filter((name) => !listed.has(name))
          .map((name): ClaimRow => ({ name, account: undefined }));
        this.#putClaims(batch, shard, [...gone, ...item.claims]);
        if (item.through === undefined) {
          sweeps.delete(shard);
          batch.putPosition(item.at);
        } else sweep.name = item.through;
        await this.#commit(batch, [], [...gone, ...item.claims]);
        return;
      }
    }
  }

  /** Remembers places that marks told, so that a restart has less to ask for. */
  async savePositions(positions: Iterable<Position>): Promise<void> {
    const batch = new DirectoryBatch();
    for (const position of positions) batch.putPosition(position);
    await this.#db.write(batch);
  }

  #claim(name: string): AccountId | undefined {
    const hot = this.#claims.get(name);
    if (hot !== undefined) return hot;
    const account = this.#db.claim(claimShard(name, this.#shardCount), name);
    if (account !== undefined) this.#claims.set(name, account, 1);
    return account;
  }

  /** Puts the rows that are newer than what is here, and returns them. */
  #putRows(
    batch: DirectoryBatch,
    shard: ShardId,
    rows: readonly DirectoryRow[],
  ): readonly DirectoryRow[] {
    const newest = new Map<AccountId, DirectoryRow>();
    for (const row of rows) {
      if (row.shard !== shard) continue; // The account has left that shard since.
      const known = newest.get(row.account) ?? this.row(row.account);
      if (known !== undefined && known.userVersion > row.userVersion) continue;
      newest.set(row.account, row);
    }
    for (const row of newest.values()) {
      const old = this.row(row.account);
      if (old !== undefined) {
        if (old.shard !== row.shard) batch.delHome(old.shard, old.account);
        if (old.name !== row.name || row.state === "deleted") this.#delName(batch, old);
        batch.delGroups(old);
      }
      batch.putRow(row);
    }
    for (const { name, account, state } of newest.values()) {
      if (state !== "deleted") batch.putName(name, account);
    }
    return [...newest.values()];
  }

  #putClaims(batch: DirectoryBatch, shard: ShardId, claims: readonly ClaimRow[]): void {
    for (const { name, account } of claims) {
      if (claimShard(name, this.#shardCount) !== shard) continue;
      if (account === undefined) batch.delClaim(shard, name);
      else batch.putClaim(shard, name, account);
    }
  }

  /** Rows that say `shard` between the sweep and the end of the piece and that the piece doesn't list. */
  async #goneAccounts(
    batch: DirectoryBatch,
    shard: ShardId,
    after: number,
    piece: Extract<StreamItem, { kind: "accounts" }>,
  ): Promise<readonly DirectoryRow[]> {
    const listed = new Set<number>(piece.rows.map(({ account }) => account));
    const gone: DirectoryRow[] = [];
    for (const account of await this.#db.accountsOf(shard, after, piece.through)) {
      if (listed.has(account)) continue;
      const row = this.row(accountId(account));
      if (row?.shard !== shard) {
        batch.delHome(shard, account);
        continue;
      }
      batch.delRow(row);
      this.#delName(batch, row);
      batch.delGroups(row);
      gone.push(row);
    }
    return gone;
  }

  /** Another account may have the name by now: its row may have come before this one's end. */
  #delName(batch: DirectoryBatch, { name, account }: DirectoryRow): void {
    if (this.#db.nameHolder(name) === account) batch.delName(name);
  }

  async #commit(
    batch: DirectoryBatch,
    rows: readonly DirectoryRow[],
    claims: readonly ClaimRow[],
  ): Promise<void> {
    await this.#db.write(batch);
    // Only now, so that nothing read before the write stays in RAM behind it.
    for (const row of rows) this.#rows.delete(row.account);
    if (rows.length > 0) this.#changed(rows);
    for (const { name } of claims) this.#claims.delete(name);
  }
}

function sweepOf(sweeps: Sweeps, shard: ShardId): Sweep {
  let sweep = sweeps.get(shard);
  if (sweep === undefined) {
    sweep = { account: 0, name: "" };
    sweeps.set(shard, sweep);
  }
  return sweep;
}
