// What the directory asks of a mail node's store: claims and registrations of the shards it holds,
// changes of them as committed log entries, and word of every change that was applied.

import type { DirectoryRow, Registration } from "../../mail/account.ts";
import type { AccountId, Epoch, Lsn, OpId, ShardId } from "../../mail/ids.ts";
import type { Quota } from "../../mail/quota.ts";
import type { Claim } from "./claims.ts";

/** Claims to put, as absolute values in one entry. */
export interface ClaimWrite {
  readonly claims: readonly Claim[];
  /** The shard's counter of account ids after this; it never goes back. */
  readonly accountCounter: number;
}

/** What one applied entry changed in the directory; rows of a released name or a deleted account included. */
export interface DirectoryChange {
  readonly shard: ShardId;
  readonly lsn: Lsn;
  readonly rows: readonly DirectoryRow[];
  readonly claims: readonly Claim[];
}

export interface DirectoryStore {
  /** Shards of which this node holds a copy. */
  shards(): readonly ShardId[];
  /** The epoch in which this node serves the shard now; undefined while it doesn't. */
  serving(shard: ShardId): Epoch | undefined;
  /** Everything up to here is applied: reads show it, and listeners have heard of it. */
  appliedLsn(shard: ShardId): Lsn;

  accountCounter(shard: ShardId): Promise<number>;
  claim(shard: ShardId, name: string): Promise<Claim | undefined>;
  /** Claims by name from `after` (exclusive, "" for the first), released ones too, at most `most`. */
  claimsAfter(shard: ShardId, after: string, most: number): Promise<readonly Claim[]>;
  /**
   * Proposes at once; `committed` resolves when every copy has it and it is applied.
   * @throws MailError WRONG_NODE; `committed` rejects when the outcome is unknown.
   */
  writeClaims(
    shard: ShardId,
    opId: OpId,
    write: ClaimWrite,
  ): { readonly lsn: Lsn; readonly committed: Promise<void> };

  /** The registration, a tombstone included. */
  registration(shard: ShardId, account: AccountId): Promise<Registration | undefined>;
  /** Rows by account from `after` (exclusive, 0 for the first), tombstones too, at most `most`. */
  rowsAfter(shard: ShardId, after: number, most: number): Promise<readonly DirectoryRow[]>;
  quota(shard: ShardId, account: AccountId): Promise<Quota>;
  /** Highest UIDVALIDITY ever given in the account, a removed one too; 0 when there is none. */
  highestUidValidity(shard: ShardId, account: AccountId): Promise<number>;

  /**
   * Makes the account with its first mailboxes, whose UIDVALIDITY is above `uidValidityFloor`.
   * Done already: resolves. @throws MailError CONFLICT when the account was deleted (or fenced).
   */
  createAccount(
    shard: ShardId,
    opId: OpId,
    registration: Registration,
    uidValidityFloor: number,
  ): Promise<void>;
  /**
   * Replaces the registration by `change` of it, alone with the account; a second call with the
   * same opId changes nothing. @throws MailError NO_SUCH_ACCOUNT, and what `change` throws
   */
  changeAccount(
    shard: ShardId,
    opId: OpId,
    account: AccountId,
    change: (registration: Registration) => Registration,
  ): Promise<Registration>;
  /**
   * Puts the tombstone in place of the account and drops its mail; where there is no such account
   * the tombstone stands so that it is never made. Resolves with the highest UIDVALIDITY it ever gave.
   */
  removeAccount(shard: ShardId, opId: OpId, tombstone: Registration): Promise<number>;

  /** Runs for each applied entry that changed rows or claims, in lsn order per shard, on every copy. */
  onChange(listener: (change: DirectoryChange) => void): void;
  /** Runs when a shard's copy here was made anew: changes heard before lead nowhere. */
  onRestart?(listener: (shard: ShardId) => void): void;
}
