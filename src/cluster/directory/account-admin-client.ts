// Operators' changes of accounts at a gateway: checks names, hashes passwords, picks a shard for new
// accounts and orders the change at the right primary, again across a failover under the same
// operation id. Leaves the change itself to directory-service.ts on the nodes.

import type { Clock } from "../../lib/clock.ts";
import type { DirectoryRow } from "../../mail/account.ts";
import { isMailError, MailError } from "../../mail/errors.ts";
import type { AccountId, OpId, ShardId } from "../../mail/ids.ts";
import type { Links } from "../link/rpc.ts";
import { asArray, asCount, asListOf, asOptional } from "../node/decode.ts";
import { accountName, aliasNames } from "./account-names.ts";
import type { AccountAdmin, AccountDetails, AccountPatch, NewAccount } from "./account-admin.ts";
import { appPasswordOf, appPasswordsMax, isAppLabel, makeAppPassword } from "./app-password.ts";
import { askPrimary, orderPrimary, untilAnswered } from "./calls.ts";
import { formatVerifiers, parseVerifiers } from "./verifiers.ts";
import type { Primaries } from "./calls.ts";
import { claimShard } from "./claims.ts";
import type { GatewayDirectory } from "./gateway-directory.ts";
import { HashQueue } from "./hash-queue.ts";
import { importableCredentials, makeCredentials } from "./make-credentials.ts";
import type { CredentialParameters } from "./make-credentials.ts";
import type { Placement } from "./placement.ts";
import type { RegistrationPatch } from "./registration-patch.ts";
import {
  accountField,
  asShard,
  decodeQuota,
  decodeRegistration,
  decodeRow,
  fieldsOf,
  method,
  shardField,
} from "./wire.ts";

export interface AccountAdminOptions {
  readonly directory: GatewayDirectory;
  readonly links: Links;
  readonly primaries: Primaries;
  readonly placement: Placement;
  readonly shardCount: number;
  readonly domains: readonly string[];
  readonly clock: Clock;
  readonly nextOpId: () => OpId;
  readonly hash: CredentialParameters;
  /** Longest that a change is repeated while its shard can't answer. */
  readonly retryMs?: number;
}

const importMax = 1000;
const importAtOnce = 256;
const hashesAtOnce = 2;
const hashesWaiting = 2000;
/** One order, with the wait until every gateway knows. */

export class AccountAdminClient implements AccountAdmin {
  readonly #options: AccountAdminOptions;
  readonly #hashes = new HashQueue(hashesAtOnce, hashesWaiting);

  constructor(options: AccountAdminOptions) {
    this.#options = options;
  }

  async create(account: NewAccount, signal: AbortSignal): Promise<DirectoryRow> {
    return decodeRow(await this.#create(account, {}, signal));
  }

  /** Orders it; `more` goes with the order. */
  async #create(account: NewAccount, more: object, signal: AbortSignal): Promise<unknown> {
    const { domains, shardCount, nextOpId, placement } = this.#options;
    const name = accountName(account.name, domains);
    const aliases = aliasNames(account.aliases ?? [], name, domains);
    const hash = await this.#hashOf(account, signal);
    if (hash === undefined) throw invalid(`${name} wants a password or a hash`);
    const placed = placement.choose();
    if (placed === undefined) {
      throw new MailError({ code: "UNAVAILABLE", why: "no shard has a primary" });
    }
    try {
      const head = {
        opId: nextOpId(),
        name,
        shard: placed.shard,
        aliases,
        hash,
        quotaBytes: account.quotaBytes ?? 0,
        quotaMessages: account.quotaMessages ?? 0,
        profile: account.profile ?? {},
        ...more,
      };
      const home = claimShard(name, shardCount);
      return await orderPrimary(this.#options, home, method.create, head, signal);
    } finally {
      placed.done();
    }
  }

  async importBatch(
    accounts: readonly NewAccount[],
    signal: AbortSignal,
  ): Promise<readonly { readonly name: string; readonly error?: string }[]> {
    if (accounts.length > importMax) {
      throw new MailError({ code: "LIMIT", limit: "accounts in an import", most: importMax });
    }
    const results: { name: string; error?: string }[] = accounts.map(({ name }) => ({ name }));
    const touched = new Map<ShardId, number>();
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < accounts.length) {
        const index = next++;
        const account = accounts[index];
        const result = results[index];
        if (account === undefined || result === undefined) return;
        try {
          for (const [shard, at] of touchedIn(await this.#create(account, { later: true }, signal)))
            touched.set(shard, Math.max(at, touched.get(shard) ?? 0));
        } catch (error) {
          if (!isMailError(error)) throw error;
          result.error = wordsOf(error);
        }
      }
    };
    const workers = Math.min(importAtOnce, accounts.length);
    await Promise.all(Array.from({ length: workers }, worker));
    await this.#settle(touched, results, signal);
    return results;
  }

  /** Waits once for all that was made: until every gateway knows it. */
  async #settle(
    touched: ReadonlyMap<ShardId, number>,
    results: readonly { error?: string }[],
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await Promise.all(
        Array.from(touched, ([shard, lsn]) =>
          orderPrimary(this.#options, shard, method.settled, { shard, lsn }, signal),
        ),
      );
    } catch (error) {
      if (!isMailError(error)) throw error;
      for (const result of results) result.error ??= `made, but ${wordsOf(error)}`;
    }
  }

  async update(name: string, patch: AccountPatch, signal: AbortSignal): Promise<DirectoryRow> {
    const { domains, nextOpId, shardCount } = this.#options;
    const row = await this.#current(name, signal);
    const hash = await this.#hashOf(patch, signal);
    const names =
      patch.aliases === undefined ? undefined : aliasNames(patch.aliases, row.name, domains);
    const change: RegistrationPatch = {
      hash,
      disabled: patch.disabled,
      aliases: names,
      quotaBytes: patch.quotaBytes,
      quotaMessages: patch.quotaMessages,
      profile: patch.profile,
    };
    if (names === undefined) return this.#patch(row, change, signal);
    const { account } = row;
    const head = { opId: nextOpId(), name: row.name, account, patch: change };
    const home = claimShard(row.name, shardCount);
    return decodeRow(await orderPrimary(this.#options, home, method.change, head, signal));
  }

  /** Stores a better hash of the password that `row.credentials` has; sessions stay. @throws MailError CONFLICT */
  async replaceHash(row: DirectoryRow, hash: string, signal: AbortSignal): Promise<void> {
    await this.#patch(row, { hash, sameAsHash: row.credentials.hash }, signal);
  }

  async remove(name: string, signal: AbortSignal): Promise<void> {
    const { name: primary, account } = await this.#current(name, signal);
    const head = { opId: this.#options.nextOpId(), name: primary, account };
    const home = claimShard(primary, this.#options.shardCount);
    await orderPrimary(this.#options, home, method.remove, head, signal);
  }

  async show(name: string, signal: AbortSignal): Promise<AccountDetails> {
    const { account, shard } = await this.#place(name, signal);
    const answer = fieldsOf(
      await orderPrimary(this.#options, shard, method.details, { shard, account }, signal),
      "account",
    );
    const { credentials, ...registration } = decodeRegistration(answer.get("registration"));
    const appPasswords = parseVerifiers(credentials.hash).apps.flatMap(
      (verifier) => appPasswordOf(verifier) ?? [],
    );
    return { registration, appPasswords, shard, quota: decodeQuota(answer.get("quota")) };
  }

  async addAppPassword(name: string, label: string, signal: AbortSignal): Promise<string> {
    const row = await this.#primaryRow(name, signal);
    const before = parseVerifiers(row.credentials.hash);
    if (!isAppLabel(label)) throw invalid("a label has 1 to 32 letters, digits, `.`, `_` or `-`");
    if (before.apps.some((app) => appPasswordOf(app)?.label === label)) {
      throw new MailError({ code: "NAME_TAKEN", name: label });
    }
    if (before.apps.length >= appPasswordsMax) {
      throw new MailError({ code: "LIMIT", limit: "app passwords", most: appPasswordsMax });
    }
    const { password, verifier } = makeAppPassword(label, this.#options.clock.nowMs());
    const hash = formatVerifiers({ ...before, apps: [...before.apps, verifier] });
    await this.#patch(row, { hash, sameAsHash: row.credentials.hash }, signal);
    return password;
  }

  async removeAppPassword(name: string, label: string, signal: AbortSignal): Promise<void> {
    const row = await this.#primaryRow(name, signal);
    const before = parseVerifiers(row.credentials.hash);
    const apps = before.apps.filter((app) => appPasswordOf(app)?.label !== label);
    if (apps.length === before.apps.length) throw invalid(`there is no app password ${label}`);
    const patch = { sameAsHash: row.credentials.hash, endSessions: true };
    await this.#patch(row, { ...patch, hash: formatVerifiers({ ...before, apps }) }, signal);
  }

  /** Not what the directory has, which may be old. @throws MailError NO_SUCH_ACCOUNT */
  async #primaryRow(name: string, signal: AbortSignal): Promise<DirectoryRow> {
    const row = await this.currentRow(await this.#current(name, signal), signal);
    if (row === undefined) throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    return row;
  }

  list(after: string, most: number): Promise<readonly DirectoryRow[]> {
    return this.#options.directory.list(after, most);
  }

  /** The account's row as its primary has it; the directory learns it. Undefined: it is not there. */
  async currentRow(
    row: Pick<DirectoryRow, "account" | "shard">,
    signal: AbortSignal,
  ): Promise<DirectoryRow | undefined> {
    const { account, shard } = row;
    const answer = await askPrimary(this.#options, shard, method.row, { shard, account }, signal);
    const current = asOptional(fieldsOf(answer, "row").get("row"), "row", decodeRow);
    if (current !== undefined) await this.#options.directory.learn(current);
    return current;
  }

  async #patch(
    row: DirectoryRow,
    patch: RegistrationPatch,
    signal: AbortSignal,
  ): Promise<DirectoryRow> {
    const { account, shard } = row;
    const head = { opId: this.#options.nextOpId(), account, shard, patch };
    return decodeRow(await orderPrimary(this.#options, shard, method.patch, head, signal));
  }

  /** @throws MailError NO_SUCH_ACCOUNT */
  async #current(name: string, signal: AbortSignal): Promise<DirectoryRow> {
    const place = await this.#place(name, signal);
    if (place.row !== undefined) return place.row;
    const row = await untilAnswered(
      this.#options.clock,
      () => this.currentRow(place, signal),
      signal,
    );
    if (row === undefined || row.state === "deleted")
      throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    return row;
  }

  /** Where the account with this name lives: as the directory says, else as the name's shard says. */
  async #place(
    text: string,
    signal: AbortSignal,
  ): Promise<{
    readonly account: AccountId;
    readonly shard: ShardId;
    readonly row?: DirectoryRow;
  }> {
    const { directory, domains, shardCount } = this.#options;
    const name = accountName(text, domains);
    const found = directory.lookupNow(name);
    if (found.kind === "found" && (found.row.name === name || found.row.aliases.includes(name))) {
      return { account: found.row.account, shard: found.row.shard, row: found.row };
    }
    const home = claimShard(name, shardCount);
    const answer = fieldsOf(
      await orderPrimary(this.#options, home, method.find, { shard: home, name }, signal),
      "claim",
    );
    if (!answer.has("account")) throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    return { account: accountField(answer), shard: shardField(answer, "target") };
  }

  async #hashOf(
    given: { readonly password?: string; readonly hash?: string },
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { password, hash } = given;
    if (password !== undefined && hash !== undefined) {
      throw invalid("give a password or a hash, not both");
    }
    if (hash !== undefined) {
      const why = importableCredentials(hash);
      if (why !== undefined) throw invalid(`hash: ${why}`);
      return hash;
    }
    if (password === undefined) return undefined;
    if (password === "" || Buffer.byteLength(password) > 1024) {
      throw invalid("a password has 1 to 1024 bytes");
    }
    return this.#hashes.run(() => makeCredentials(password, this.#options.hash), signal);
  }
}

/** The shards that must be settled behind an order, and up to where. */
function touchedIn(answer: unknown): readonly (readonly [ShardId, number])[] {
  return asListOf(fieldsOf(answer, "account").get("touched"), "shards", (one) => {
    const [shard, lsn] = asArray(one, "shard");
    return [asShard(shard, "shard"), asCount(lsn, "lsn")] as const;
  });
}

function wordsOf(error: MailError): string {
  const { failure } = error;
  switch (failure.code) {
    case "INVALID":
    case "CONFLICT":
      return failure.why;
    case "NAME_TAKEN":
      return `${failure.name} is taken`;
    case "UNAVAILABLE":
      return `not now: ${failure.why}`;
    default:
      return error.message;
  }
}

function invalid(why: string): MailError {
  return new MailError({ code: "INVALID", why });
}
