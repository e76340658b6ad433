// AccountAdmin in RAM, for tests of the admin API and of the command line.

import type {
  AccountAdmin,
  AccountPatch,
  NewAccount,
} from "../../src/cluster/directory/account-admin.ts";
import type { DirectoryRow } from "../../src/mail/account.ts";
import { isMailError, MailError, type MailFailure } from "../../src/mail/errors.ts";
import { accountId, shardId } from "../../src/mail/ids.ts";

interface FakeAccount {
  row: DirectoryRow;
  password: string | undefined;
  quotaBytes: number;
  quotaMessages: number;
  profile: Readonly<Record<string, string>>;
}

export class FakeAccountAdmin implements AccountAdmin {
  readonly accounts = new Map<string, FakeAccount>();
  /** When set, every call fails with it. */
  failure: MailFailure | Error | undefined;
  /** Sizes of the import batches so far. */
  readonly batches: number[] = [];
  readonly appLabels = new Map<string, Set<string>>();
  #next = 1;

  create(account: NewAccount): Promise<DirectoryRow> {
    return this.#run(() => this.#create(account));
  }

  importBatch(
    accounts: readonly NewAccount[],
  ): Promise<readonly { readonly name: string; readonly error?: string }[]> {
    return this.#run(() => {
      this.batches.push(accounts.length);
      return accounts.map((account) => {
        try {
          this.#create(account);
          return { name: account.name };
        } catch (error) {
          if (!isMailError(error, "NAME_TAKEN")) throw error;
          return { name: account.name, error: `${account.name} is taken` };
        }
      });
    });
  }

  update(name: string, patch: AccountPatch): Promise<DirectoryRow> {
    return this.#run(() => {
      const found = this.#find(name);
      const { row } = found;
      found.row = {
        ...row,
        aliases: patch.aliases ?? row.aliases,
        state: patch.disabled === undefined ? row.state : patch.disabled ? "disabled" : "active",
        userVersion: row.userVersion + 1,
      };
      found.password = patch.password ?? found.password;
      found.quotaBytes = patch.quotaBytes ?? found.quotaBytes;
      found.quotaMessages = patch.quotaMessages ?? found.quotaMessages;
      return found.row;
    });
  }

  remove(name: string): Promise<void> {
    return this.#run(() => {
      this.#find(name);
      this.accounts.delete(name);
    });
  }

  show(name: string): ReturnType<AccountAdmin["show"]> {
    return this.#run(() => {
      const { row, quotaBytes, quotaMessages, profile } = this.#find(name);
      const { shard, credentials: _hidden, overQuota: _derived, ...shared } = row;
      return {
        shard,
        appPasswords: [...(this.appLabels.get(name) ?? [])].map((label) => ({
          label,
          createdMs: 0,
        })),
        registration: { ...shared, quotaBytes, quotaMessages, profile, createdMs: 0 },
        quota: {
          usedBytes: 3 * 1024 * 1024,
          usedMessages: 2,
          limitBytes: quotaBytes,
          limitMessages: quotaMessages,
        },
      };
    });
  }

  addAppPassword(name: string, label: string): Promise<string> {
    return this.#run(() => {
      this.#find(name);
      const labels = this.appLabels.get(name) ?? new Set();
      if (labels.has(label)) throw new MailError({ code: "NAME_TAKEN", name: label });
      this.appLabels.set(name, labels.add(label));
      return "abcd-efgh-ijkm-npqr-stuv";
    });
  }

  removeAppPassword(name: string, label: string): Promise<void> {
    return this.#run(() => {
      this.#find(name);
      if (this.appLabels.get(name)?.delete(label) !== true) {
        throw new MailError({ code: "INVALID", why: `there is no app password ${label}` });
      }
    });
  }

  list(after: string, most: number): Promise<readonly DirectoryRow[]> {
    return this.#run(() =>
      [...this.accounts.values()]
        .map(({ row }) => row)
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .filter(({ name }) => name > after)
        .slice(0, most),
    );
  }

  #create({ name, password, hash, ...rest }: NewAccount): DirectoryRow {
    if (!/^[^@\s]+@[^@\s]+$/.test(name)) {
      throw new MailError({ code: "INVALID", why: `${name} is no address` });
    }
    if (this.accounts.has(name)) throw new MailError({ code: "NAME_TAKEN", name });
    const row: DirectoryRow = {
      account: accountId(this.#next++),
      shard: shardId(3),
      name,
      aliases: rest.aliases ?? [],
      state: "active",
      credentials: { hash: hash ?? "$argon2id$never-to-be-seen" },
      credVersion: 1,
      userVersion: 1,
      overQuota: false,
    };
    this.accounts.set(name, {
      row,
      password,
      quotaBytes: rest.quotaBytes ?? 0,
      quotaMessages: rest.quotaMessages ?? 0,
      profile: rest.profile ?? {},
    });
    return row;
  }

  #find(name: string): FakeAccount {
    const found = this.accounts.get(name);
    if (found === undefined) throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    return found;
  }

  async #run<T>(work: () => T): Promise<T> {
    await Promise.resolve();
    if (this.failure instanceof Error) throw this.failure;
    if (this.failure !== undefined) throw new MailError(this.failure);
    return work();
  }
}
