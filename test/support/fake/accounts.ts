// The accounts of the fake mail store: registering them, changing them as an operator would, and
// finding the one on whose behalf a request comes.

import type { AccountState, DirectoryRow } from "../../../src/mail/account.ts";
import { MailError } from "../../../src/mail/errors.ts";
import { makeAccountId, shardId } from "../../../src/mail/ids.ts";
import type { AccountId, ShardId } from "../../../src/mail/ids.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import * as accounts from "./account.ts";
import type { FakeAccount } from "./account.ts";

export interface FakeAccountOptions {
  readonly password?: string;
  /** 0 or absent: unlimited. */
  readonly quotaBytes?: number;
  readonly quotaMessages?: number;
  readonly aliases?: readonly string[];
  readonly shard?: ShardId;
}

/** What a test may change of an account; open sessions are told as in production. */
export interface FakeAccountPatch {
  readonly password?: string;
  readonly state?: AccountState;
  readonly quotaBytes?: number;
  readonly quotaMessages?: number;
}

const specialMailboxes = ["Drafts", "Sent", "Junk", "Trash", "Archive"];

export class FakeAccounts {
  /** Read by the fake directory. */
  readonly accounts = new Map<AccountId, FakeAccount>();
  #accountCount = 0;

  /** Registers `name` (`local@domain`, normalised) with INBOX and the special mailboxes. */
  addAccount(
    name: string,
    options: FakeAccountOptions = {},
  ): { readonly who: Principal; readonly row: DirectoryRow } {
    const shard = options.shard ?? shardId(1);
    const row: DirectoryRow = {
      account: makeAccountId(shard, ++this.#accountCount),
      shard,
      name,
      aliases: options.aliases ?? [],
      state: "active",
      credentials: { hash: "" },
      credVersion: 1,
      userVersion: 1,
      overQuota: false,
    };
    const account: FakeAccount = {
      row,
      password: options.password ?? "secret",
      quotaBytes: options.quotaBytes ?? 0,
      quotaMessages: options.quotaMessages ?? 0,
      mailboxes: new Map(),
      subscriptions: new Set(["INBOX", ...specialMailboxes]),
      watchers: new Set(),
      annotations: new Map(),
      nextMailboxId: 1,
      nextUidValidity: 1_700_000_000 + this.#accountCount,
      maildrop: undefined,
    };
    accounts.addMailbox(account, "INBOX");
    for (const special of specialMailboxes) accounts.addMailbox(account, special, `\\${special}`);
    this.accounts.set(row.account, account);
    return { who: { account: row.account, shard, credVersion: 1 }, row };
  }

  /** Changes an account; a new password or state ends its open sessions. Returns the new row. */
  updateAccount(id: AccountId, patch: FakeAccountPatch): DirectoryRow {
    const account = this.accounts.get(id);
    if (account === undefined) throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    const revoked = patch.password !== undefined || patch.state !== undefined;
    account.password = patch.password ?? account.password;
    account.quotaBytes = patch.quotaBytes ?? account.quotaBytes;
    account.quotaMessages = patch.quotaMessages ?? account.quotaMessages;
    account.row = {
      ...account.row,
      state: patch.state ?? account.row.state,
      credVersion: account.row.credVersion + (revoked ? 1 : 0),
      userVersion: account.row.userVersion + 1,
    };
    if (revoked) {
      accounts.tell(account, { kind: "revoked" });
      const disabled = account.row.state === "disabled";
      account.maildrop?.lost({ code: disabled ? "ACCOUNT_DISABLED" : "STALE_CREDENTIALS" });
    }
    return account.row;
  }

  /** @throws MailError NO_SUCH_ACCOUNT, ACCOUNT_DISABLED, STALE_CREDENTIALS, WRONG_NODE */
  protected accountOf(who: Principal): FakeAccount {
    const account = this.accounts.get(who.account);
    if (account === undefined) throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    const { row } = account;
    if (row.shard !== who.shard) throw new MailError({ code: "WRONG_NODE", shard: who.shard });
    if (row.state === "deleted") throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    if (row.state === "disabled") throw new MailError({ code: "ACCOUNT_DISABLED" });
    if (who.credVersion < row.credVersion) throw new MailError({ code: "STALE_CREDENTIALS" });
    return account;
  }
}
