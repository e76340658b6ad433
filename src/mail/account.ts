// Accounts as every layer sees them: the registration (hard state, on the mail nodes, paper DS5)
// and its summary, the directory row that every gateway holds (paper DS3, DS4).

import type { GroupSettings, Membership } from "./group.ts";
import type { AccountId, ShardId } from "./ids.ts";

/**
 * Verifiers of a password. `argon2id` is a PHC string (`$argon2id$v=19$…`); imports may bring other
 * PHC or crypt strings, which are replaced by argon2id at the next good login.
 */
export interface Credentials {
  readonly hash: string;
}

/** `active`; `disabled` refuses logins (and mail, 550 5.2.1); `deleted` is a tombstone. */
export type AccountState = "active" | "disabled" | "deleted";

/** Registration: what a mail node keeps for an account, apart from its mail. */
export interface Registration {
  readonly account: AccountId;
  /** The primary name, `local@domain`, normalised (NFC, lower case, domain as A-label). */
  readonly name: string;
  readonly aliases: readonly string[];
  readonly state: AccountState;
  readonly credentials: Credentials;
  /** Raised by every change of password or state; older sessions are refused. */
  readonly credVersion: number;
  /** Raised by every change of the record; the highest wins everywhere. */
  readonly userVersion: number;
  /** 0: unlimited. */
  readonly quotaBytes: number;
  readonly quotaMessages: number;
  /** Full name, phone and the like. Stays in the mail tier (paper DS5), never in the directory. */
  readonly profile: Readonly<Record<string, string>>;
  readonly createdMs: number;
  /** Present: the account is a group; nobody logs in to it. */
  readonly group?: GroupSettings;
  /** Groups that the account is a member of; absent: none but the built-in one. */
  readonly memberships?: readonly Membership[];
  /** How many ids of views were given out, so that none is used again; absent: none. */
  readonly viewsGiven?: number;
}

/** Summary of an account in every gateway's directory. */
export interface DirectoryRow {
  readonly account: AccountId;
  /** The shard that holds the account now. */
  readonly shard: ShardId;
  readonly name: string;
  readonly aliases: readonly string[];
  readonly state: AccountState;
  readonly credentials: Credentials;
  readonly credVersion: number;
  readonly userVersion: number;
  /** True while the account can take no more mail. */
  readonly overQuota: boolean;
  /** Present: a group. */
  readonly group?: GroupSettings;
  readonly memberships?: readonly Membership[];
}

/** A directory look-up. `unsure`: the directory can't say no yet (stream not complete and fresh): 451. */
export type NameLookup =
  | { readonly kind: "found"; readonly row: DirectoryRow }
  | { readonly kind: "none" }
  | { readonly kind: "unsure" };
