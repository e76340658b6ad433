// Shards of a directory in RAM, as all nodes' copies at once: who is primary, what is applied. Entries
// can be lost, left undecided, or committed while their answer is lost. For tests of the directory.

import { Buffer } from "node:buffer";
import type { Registration } from "../../../src/mail/account.ts";
import { MailError } from "../../../src/mail/errors.ts";
import { epoch, lsn, shardId } from "../../../src/mail/ids.ts";
import type { AccountId, Epoch, Lsn, MemberId, OpId, ShardId } from "../../../src/mail/ids.ts";
import type { Quota } from "../../../src/mail/quota.ts";
import type { Claim } from "../../../src/cluster/directory/claims.ts";
import type {
  ClaimWrite,
  DirectoryChange,
  DirectoryStore,
} from "../../../src/cluster/directory/directory-store.ts";
import { directoryRow } from "../../../src/cluster/directory/registration-patch.ts";

interface Account {
  registration: Registration;
  highestUidValidity: number;
  readonly done: Set<OpId>;
}

interface Shard {
  epoch: Epoch;
  lsn: Lsn;
  primary: MemberId | undefined;
  counter: number;
  readonly claims: Map<string, Claim>;
  readonly accounts: Map<AccountId, Account>;
}

/** What becomes of the next entries: `lost` never applies, `silent` applies without an answer. */
export type Fate = "commit" | "lost" | "silent";

export class MemoryShards {
  readonly #shards = new Map<ShardId, Shard>();
  readonly #listeners = new Set<(change: DirectoryChange) => void>();
  /** Decides each entry's fate; may crash nodes before (`when` "before") or after it applied. */
  fate: (shard: ShardId, when: "before" | "after") => Fate = () => "commit";
  /** Entries committed so far. */
  commits = 0;

  constructor(primaries: readonly MemberId[]) {
    for (const [index, primary] of primaries.entries()) {
      this.#shards.set(shardId(index), {
        epoch: epoch(1),
        lsn: lsn(0),
        primary,
        counter: 0,
        claims: new Map(),
        accounts: new Map(),
      });
    }
  }

  primary(shard: ShardId): MemberId | undefined {
    return this.#at(shard).primary;
  }

  all(): readonly ShardId[] {
    return [...this.#shards.keys()];
  }

  /** A new epoch with that primary, or none. */
  promote(shard: ShardId, primary: MemberId | undefined): void {
    const state = this.#at(shard);
    state.primary = primary;
    state.epoch = epoch(state.epoch + 1);
  }

  /** All claims and accounts, for checks. */
  claims(): readonly Claim[] {
    return [...this.#shards.values()].flatMap(({ claims }) => [...claims.values()]);
  }
  registrations(): readonly Registration[] {
    return [...this.#shards.values()].flatMap(({ accounts }) =>
      Array.from(accounts.values(), ({ registration }) => registration),
    );
  }
  uidValidity(account: AccountId): number {
    for (const { accounts } of this.#shards.values()) {
      const found = accounts.get(account);
      if (found !== undefined) return found.highestUidValidity;
    }
    return 0;
  }

  /** The view of one node. */
  store(me: MemberId): DirectoryStore {
    return {
      shards: () => [...this.#shards.keys()],
      serving: (shard) => {
        const state = this.#at(shard);
        return state.primary === me ? state.epoch : undefined;
      },
      appliedLsn: (shard) => this.#at(shard).lsn,
      accountCounter: (shard) => later(this.#at(shard).counter),
      claim: (shard, name) => later(this.#at(shard).claims.get(name)),
      claimsAfter: (shard, after, most) =>
        later(
          [...this.#at(shard).claims.values()]
            .filter(({ name }) => Buffer.compare(Buffer.from(name), Buffer.from(after)) > 0)
            .toSorted((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))
            .slice(0, most),
        ),
      writeClaims: (shard, _opId, write) => this.#writeClaims(me, shard, write),
      registration: (shard, account) => later(this.#at(shard).accounts.get(account)?.registration),
      rowsAfter: (shard, after, most) =>
        later(
          [...this.#at(shard).accounts.values()]
            .filter(({ registration: { account, name } }) => account > after && name !== "")
            .toSorted((a, b) => a.registration.account - b.registration.account)
            .slice(0, most)
            .map(({ registration }) => directoryRow(registration, shard, false)),
        ),
      quota: (shard, account) => later(quotaOf(this.#at(shard).accounts.get(account))),
      highestUidValidity: (_shard, account) => later(this.uidValidity(account)),
      createAccount: (shard, opId, registration, floor) =>
        this.#createAccount(me, shard, opId, registration, floor),
      changeAccount: (shard, opId, account, change) =>
        this.#changeAccount(me, shard, opId, account, change),
      removeAccount: (shard, _opId, tombstone) => this.#removeAccount(me, shard, tombstone),
      onChange: (listener) => {
        this.#listeners.add(listener);
      },
    };
  }

  #writeClaims(
    me: MemberId,
    shard: ShardId,
    write: ClaimWrite,
  ): { readonly lsn: Lsn; readonly committed: Promise<void> } {
    return this.#log(me, shard, (state) => {
      state.counter = write.accountCounter;
      for (const claim of write.claims) state.claims.set(claim.name, claim);
      return { rows: [], claims: write.claims };
    });
  }

  async #createAccount(
    me: MemberId,
    shard: ShardId,
    opId: OpId,
    registration: Registration,
    floor: number,
  ): Promise<void> {
    const known = this.#at(shard).accounts.get(registration.account);
    if (known !== undefined) {
      if (known.registration.state !== "deleted") return;
      throw new MailError({ code: "CONFLICT", why: "fenced" });
    }
    await this.#log(me, shard, (state) => {
      const highestUidValidity = Math.max(floor + 1, 1000);
      const account = { registration, highestUidValidity, done: new Set([opId]) };
      state.accounts.set(registration.account, account);
      return { rows: [directoryRow(registration, shard, false)], claims: [] };
    }).committed;
  }

  async #changeAccount(
    me: MemberId,
    shard: ShardId,
    opId: OpId,
    account: AccountId,
    change: (registration: Registration) => Registration,
  ): Promise<Registration> {
    const known = this.#at(shard).accounts.get(account);
    if (known === undefined || known.registration.state === "deleted") {
      throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    }
    if (known.done.has(opId)) return known.registration;
    const next = change(known.registration);
    await this.#log(me, shard, () => {
      known.registration = next;
      known.done.add(opId);
      return { rows: [directoryRow(next, shard, false)], claims: [] };
    }).committed;
    return next;
  }

  async #removeAccount(me: MemberId, shard: ShardId, tombstone: Registration): Promise<number> {
    const known = this.#at(shard).accounts.get(tombstone.account);
    if (known?.registration.state !== "deleted") {
      await this.#log(me, shard, (state) => {
        const highestUidValidity = known?.highestUidValidity ?? 0;
        const account = { registration: tombstone, highestUidValidity, done: new Set<OpId>() };
        state.accounts.set(tombstone.account, account);
        return { rows: [directoryRow(tombstone, shard, false)], claims: [] };
      }).committed;
    }
    return known?.highestUidValidity ?? 0;
  }

  #log(
    me: MemberId,
    shard: ShardId,
    apply: (state: Shard) => Pick<DirectoryChange, "rows" | "claims">,
  ): { readonly lsn: Lsn; readonly committed: Promise<void> } {
    const state = this.#at(shard);
    if (state.primary !== me) throw new MailError({ code: "WRONG_NODE", shard });
    const at = lsn(state.lsn + 1);
    return { lsn: at, committed: this.#commit(me, shard, state, apply) };
  }

  async #commit(
    me: MemberId,
    shard: ShardId,
    state: Shard,
    apply: (state: Shard) => Pick<DirectoryChange, "rows" | "claims">,
  ): Promise<void> {
    const inEpoch = state.epoch;
    await Promise.resolve();
    const fate = this.fate(shard, "before");
    // An entry is only ever cut with its epoch.
    if (fate === "lost") this.promote(shard, me);
    if (fate === "lost" || state.primary !== me || state.epoch !== inEpoch) {
      throw new MailError({ code: "REPLICA_UNREACHABLE", shard });
    }
    const change = apply(state);
    state.lsn = lsn(state.lsn + 1);
    this.commits++;
    for (const listener of this.#listeners) listener({ shard, lsn: state.lsn, ...change });
    if (this.fate(shard, "after") === "silent" || fate === "silent" || state.primary !== me) {
      throw new MailError({ code: "REPLICA_UNREACHABLE", shard });
    }
  }

  #at(shard: ShardId): Shard {
    const state = this.#shards.get(shard);
    if (state === undefined) throw new MailError({ code: "WRONG_NODE", shard });
    return state;
  }
}

function later<T>(value: T): Promise<T> {
  return Promise.resolve(value);
}

function quotaOf(account: Account | undefined): Quota {
  return {
    usedBytes: 0,
    usedMessages: 0,
    limitBytes: account?.registration.quotaBytes ?? 0,
    limitMessages: account?.registration.quotaMessages ?? 0,
  };
}
