// DirectoryStore over the account engine and the replicated journal of a mail node. Only translates:
// rules of names are claim-desk.ts's, of registrations registration-patch.ts's.

import { withDeadline } from "../../lib/deadline.ts";
import type { DirectoryRow, Registration } from "../../mail/account.ts";
import { accountId, lsn } from "../../mail/ids.ts";
import type { AccountId, Epoch, Lsn, OpId, ShardId } from "../../mail/ids.ts";
import { MailError } from "../../mail/errors.ts";
import { scheduledMailbox } from "../../mail/group.ts";
import type { Quota } from "../../mail/quota.ts";
import {
  createAccount,
  deleteAccount,
  fenceAccount,
  firstMailboxes,
  registrationOf,
} from "../../store/accounts.ts";
import type { FirstMailbox } from "../../store/accounts.ts";
import { isOverQuota } from "../../store/account-state.ts";
import { claimOf } from "../../store/claims.ts";
import type { Engine } from "../../store/engine.ts";
import { readClaim } from "../../store/claim-codec.ts";
import { encodeClaims } from "../../store/entry-codec.ts";
import { entryKind } from "../../store/entry-kind.ts";
import type { Claim as StoredClaim } from "../../store/entry-kind.ts";
import {
  accountInKey,
  accountKey,
  afterPrefix,
  claimKey,
  shardAccountKey,
  shardKey,
  shardTable,
  table,
} from "../../store/keyspace.ts";
import { changeExclusively } from "../../store/propose.ts";
import type { FeedEvent } from "../../store/registration-feed.ts";
import { openRow } from "../../store/row.ts";
import { readQuota, readRegistrationRow } from "../../store/rows.ts";
import type { Claim } from "./claims.ts";
import type { ClaimWrite, DirectoryChange, DirectoryStore } from "./directory-store.ts";
import { directoryRow } from "./registration-patch.ts";

/** What of the replicated journal is needed. */
export interface ReplicaView {
  serves(shard: ShardId): boolean;
  epochOf(shard: ShardId): Epoch | undefined;
  replicas(): readonly {
    readonly shard: ShardId;
    readonly state: { readonly appliedLsn: Lsn };
  }[];
}

const changeMs = 10_000;
const groupMailboxes: readonly FirstMailbox[] = [{ name: "INBOX" }, { name: scheduledMailbox }];

export class EngineDirectoryStore implements DirectoryStore {
  readonly #engine: Engine;
  readonly #replicas: ReplicaView;
  readonly #mailboxes: readonly FirstMailbox[];
  /** The newest change that listeners have heard of. */
  readonly #heard = new Map<ShardId, Lsn>();
  readonly #listeners = new Set<(change: DirectoryChange) => void>();

  constructor(
    engine: Engine,
    replicas: ReplicaView,
    mailboxes: readonly FirstMailbox[] = firstMailboxes,
  ) {
    this.#engine = engine;
    this.#replicas = replicas;
    this.#mailboxes = mailboxes;
    engine.feed.listen((event) => this.#heardOf(event));
    engine.feed.onRestart((shard) => this.#heard.delete(shard));
  }

  shards(): readonly ShardId[] {
    return this.#replicas.replicas().map(({ shard }) => shard);
  }

  serving(shard: ShardId): Epoch | undefined {
    return this.#replicas.serves(shard) ? this.#replicas.epochOf(shard) : undefined;
  }

  appliedLsn(shard: ShardId): Lsn {
    const replica = this.#replicas.replicas().find((each) => each.shard === shard);
    // The journal counts an entry as applied a moment after the engine has told of it.
    return lsn(Math.max(replica?.state.appliedLsn ?? 0, this.#heard.get(shard) ?? 0));
  }

  async accountCounter(shard: ShardId): Promise<number> {
    const key = shardKey(shard, shardTable.accountCounter);
    const value = await this.#engine.rows.get(key);
    return value === undefined ? 0 : openRow(key, value).varint();
  }

  claim(shard: ShardId, name: string): Promise<Claim | undefined> {
    return claimOf(this.#engine, shard, name);
  }

  async claimsAfter(shard: ShardId, after: string, most: number): Promise<readonly Claim[]> {
    const end = afterPrefix(claimKey(shard, ""));
    const rows = await this.#firstRows(justAfter(claimKey(shard, after)), end, most);
    return rows.map(([key, value]) => {
      const reader = openRow(key, value);
      reader.varint(); // The lsn of its last change.
      return readClaim(reader);
    });
  }

  writeClaims(
    shard: ShardId,
    opId: OpId,
    { claims, accountCounter }: ClaimWrite,
  ): { readonly lsn: Lsn; readonly committed: Promise<void> } {
    const claim = { claims: claims.map(asStored), accountCounter };
    const head = encodeClaims(claim);
    const payload = { kind: "claim", claim };
    return this.#engine.journal.propose({ shard, opId, kind: entryKind.claim, head, payload });
  }

  registration(shard: ShardId, account: AccountId): Promise<Registration | undefined> {
    return registrationOf(this.#engine, shard, account);
  }

  async rowsAfter(shard: ShardId, after: number, most: number): Promise<readonly DirectoryRow[]> {
    const found: DirectoryRow[] = [];
    let from = justAfter(shardAccountKey(shard, accountId(after)));
    const end = afterPrefix(shardKey(shard, shardTable.account));
    while (found.length < most) {
      const keys = await this.#firstRows(from, end, most);
      for (const [key] of keys) {
        const row = await this.#row(shard, accountId(accountInKey(key, 4)));
        if (row !== undefined && found.length < most) found.push(row);
      }
      const last = keys.at(-1)?.[0];
      if (last === undefined || keys.length < most) break;
      from = justAfter(last);
    }
    return found;
  }

  async quota(shard: ShardId, account: AccountId): Promise<Quota> {
    const registration = await this.registration(shard, account);
    const use = await this.#use(account);
    return {
      usedBytes: use.bytes,
      usedMessages: use.messages,
      limitBytes: registration?.quotaBytes ?? 0,
      limitMessages: registration?.quotaMessages ?? 0,
    };
  }

  async highestUidValidity(_shard: ShardId, account: AccountId): Promise<number> {
    const key = accountKey(account, table.account);
    const value = await this.#engine.rows.get(key);
    if (value === undefined) return 0;
    const reader = openRow(key, value);
    reader.varint(); // The next mailbox id.
    return reader.varint();
  }

  async createAccount(
    shard: ShardId,
    opId: OpId,
    registration: Registration,
    uidValidityFloor: number,
  ): Promise<void> {
    const { account, name, aliases, credentials, quotaBytes, quotaMessages, profile, group } =
      registration;
    const request = {
      opId,
      retry: true,
      shard,
      account,
      name,
      aliases,
      credentials,
      quotaBytes,
      quotaMessages,
      profile,
      mailboxes: group === undefined ? this.#mailboxes : groupMailboxes,
      ...(group === undefined ? {} : { group }),
      uidValidityFloor,
    };
    const made = await this.#soon((signal) => createAccount(this.#engine, request, signal));
    if (made.state === "deleted") {
      throw new MailError({ code: "CONFLICT", why: "the account was deleted" });
    }
  }

  async changeAccount(
    shard: ShardId,
    opId: OpId,
    account: AccountId,
    change: (registration: Registration) => Registration,
  ): Promise<Registration> {
    await this.#soon((signal) =>
      changeExclusively(
        this.#engine,
        { account, shard },
        { opId, retry: true },
        "none",
        (state) =>
          Promise.resolve({
            ops: [{ kind: "registration", registration: change(state.registration) }],
            outcome: { kind: "none" },
          }),
        signal,
      ),
    );
    const now = await this.registration(shard, account);
    if (now === undefined) throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    return now;
  }

  async removeAccount(shard: ShardId, opId: OpId, tombstone: Registration): Promise<number> {
    const { account } = tombstone;
    const change = { opId, retry: true };
    await this.#soon(async (signal) => {
      // "exists": it is there and must go; "never": it is a tombstone, or has just become one.
      if ((await fenceAccount(this.#engine, { ...change, shard, account }, signal)) === "exists") {
        await deleteAccount(this.#engine, { account, shard }, change, signal);
      }
    });
    return this.highestUidValidity(shard, account);
  }

  onChange(listener: (change: DirectoryChange) => void): void {
    this.#listeners.add(listener);
  }

  onRestart(listener: (shard: ShardId) => void): void {
    this.#engine.feed.onRestart(listener);
  }

  #soon<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return withDeadline(this.#engine.clock, changeMs, [], work);
  }

  #heardOf(event: FeedEvent): void {
    const { shard } = event;
    this.#heard.set(shard, event.lsn);
    const change: DirectoryChange =
      event.kind === "claim"
        ? { shard, lsn: event.lsn, rows: [], claims: [event.claim] }
        : {
            shard,
            lsn: event.lsn,
            // A fence has no name, and no gateway has ever heard of its account.
            rows:
              event.registration.name === ""
                ? []
                : [directoryRow(event.registration, shard, event.overQuota)],
            claims: [],
          };
    for (const listener of this.#listeners) listener(change);
  }

  async #row(shard: ShardId, account: AccountId): Promise<DirectoryRow | undefined> {
    const key = accountKey(account, table.registration);
    const value = await this.#engine.rows.get(key);
    if (value === undefined) return undefined;
    const { shard: home, registration } = readRegistrationRow(openRow(key, value));
    if (home !== shard || registration.name === "") return undefined;
    const use = await this.#use(account);
    return directoryRow(registration, shard, isOverQuota(registration, use));
  }

  async #use(account: AccountId): Promise<{ readonly bytes: number; readonly messages: number }> {
    const key = accountKey(account, table.quota);
    const value = await this.#engine.rows.get(key);
    return value === undefined ? { bytes: 0, messages: 0 } : readQuota(openRow(key, value));
  }

  async #firstRows(from: Buffer, end: Buffer, most: number): Promise<readonly [Buffer, Buffer][]> {
    for await (const rows of this.#engine.rows.range(from, end, most)) return rows;
    return [];
  }
}

function asStored({ task, ...claim }: Claim): StoredClaim {
  return task === undefined ? claim : { ...claim, task };
}

function justAfter(key: Buffer): Buffer {
  return Buffer.concat([key, Buffer.of(0)]);
}
