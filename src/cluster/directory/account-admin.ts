// What an operator may do with accounts, from any gateway. Each change is acknowledged when it is
// committed in the shards concerned and every gateway's directory has it (or can't be trusted any more).

import type { DirectoryRow, Registration } from "../../mail/account.ts";
import type { Quota } from "../../mail/quota.ts";
import type { AppPassword } from "./app-password.ts";

export interface NewAccount {
  /** `local@domain`, any case; the domain must be one of ours. `@domain` is allowed as an alias only (catch-all). */
  readonly name: string;
  readonly aliases?: readonly string[];
  /** Either a password in clear, which is hashed here … */
  readonly password?: string;
  /** … or a hash to take over: PHC argon2id/argon2i/bcrypt-style or crypt(3) text as `importableHash` accepts. */
  readonly hash?: string;
  /** 0 or absent: unlimited. */
  readonly quotaBytes?: number;
  readonly quotaMessages?: number;
  readonly profile?: Readonly<Record<string, string>>;
}

/** Absent fields stay as they are. */
export interface AccountPatch {
  readonly password?: string;
  readonly hash?: string;
  readonly disabled?: boolean;
  readonly aliases?: readonly string[];
  readonly quotaBytes?: number;
  readonly quotaMessages?: number;
  readonly profile?: Readonly<Record<string, string>>;
}

export interface AccountDetails {
  readonly registration: Omit<Registration, "credentials">;
  readonly appPasswords: readonly AppPassword[];
  readonly shard: number;
  readonly quota: Quota;
}

export interface AccountAdmin {
  /** @throws MailError NAME_TAKEN, INVALID (bad name or foreign domain), UNAVAILABLE */
  create(account: NewAccount, signal: AbortSignal): Promise<DirectoryRow>;
  /** One result per account, in order; what went wrong stands in `error`. At most 1000 a call. */
  importBatch(
    accounts: readonly NewAccount[],
    signal: AbortSignal,
  ): Promise<readonly { readonly name: string; readonly error?: string }[]>;
  /** @throws MailError NO_SUCH_ACCOUNT, NAME_TAKEN (an alias) */
  update(name: string, patch: AccountPatch, signal: AbortSignal): Promise<DirectoryRow>;
  /** @throws MailError NO_SUCH_ACCOUNT */
  remove(name: string, signal: AbortSignal): Promise<void>;
  /** @throws MailError NO_SUCH_ACCOUNT */
  show(name: string, signal: AbortSignal): Promise<AccountDetails>;
  /**
   * Makes one more password for one of the user's programs; it is told once.
   * @throws MailError NO_SUCH_ACCOUNT, INVALID (label), NAME_TAKEN (label), LIMIT, CONFLICT
   */
  addAppPassword(name: string, label: string, signal: AbortSignal): Promise<string>;
  /** Ends the user's sessions. @throws MailError NO_SUCH_ACCOUNT, INVALID (no such label), CONFLICT */
  removeAppPassword(name: string, label: string, signal: AbortSignal): Promise<void>;
  /** Rows by name from `after` (exclusive), at most `most`. */
  list(after: string, most: number): Promise<readonly DirectoryRow[]>;
}
