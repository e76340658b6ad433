// The account engine: applies committed entries (rows, then RAM, then whoever waits), and holds what
// changes and reads work on. Evaluating changes is in one file per change; durability is the journal's.

import { assert } from "../lib/assert.ts";
import type { Clock } from "../lib/clock.ts";
import { MailError } from "../mail/errors.ts";
import { lsn, shardId } from "../mail/ids.ts";
import type { AccountId, OpId, ShardId } from "../mail/ids.ts";
import { AccountLock } from "./account-lock.ts";
import { AccountCache } from "./account-cache.ts";
import { isOverQuota } from "./account-state.ts";
import type { AccountState } from "./account-state.ts";
import { addedRows, changeRows, claimRows, deliverRows, deliveredRow } from "./apply-rows.ts";
import type { BodySource } from "./body-source.ts";
import { decodePayload } from "./entry-codec.ts";
import type { DeliverPayload, Op, Payload } from "./entry-kind.ts";
import type { Entry, Journal } from "./journal.ts";
import type { StoreLimits } from "./limits.ts";
import type { MailboxState, MailboxSummary } from "./mailbox-state.ts";
import { PendingOps } from "./pending-ops.ts";
import { RecentRemovals } from "./recent-removals.ts";
import type { DiskRoom } from "./disk-room.ts";
import type { RegistrationFeed } from "./registration-feed.ts";
import { SpoolUsage } from "./spool-usage.ts";
import type { SearchHints, TextScan } from "./search-hints.ts";
import { spoolRows, unspoolRows } from "./spool-rows.ts";
import { UnconfirmedDeliveries } from "./unconfirmed.ts";
import type { Repairs } from "./repairs.ts";
import type { WriteQueue } from "./write-queue.ts";

export interface EngineParts {
  readonly rows: WriteQueue;
  readonly clock: Clock;
  readonly limits: StoreLimits;
  readonly feed: RegistrationFeed;
  /** Ids for the few changes that no request asks for. */
  readonly nextOpId: () => OpId;
  /** Absent: there is always room. */
  readonly room?: Pick<DiskRoom, "mustTakeMail">;
}

/** On whose behalf: a Principal, or without credVersion an operator, who may touch disabled accounts. */
export interface Access {
  readonly account: AccountId;
  readonly shard: ShardId;
  readonly credVersion?: number;
}

export class Engine {
  readonly rows: WriteQueue;
  readonly clock: Clock;
  readonly limits: StoreLimits;
  readonly feed: RegistrationFeed;
  readonly nextOpId: () => OpId;
  readonly accounts: AccountCache;
  readonly #room: EngineParts["room"];
  readonly unconfirmed: UnconfirmedDeliveries;
  readonly spoolUsage: SpoolUsage;
  readonly pending = new PendingOps();
  readonly removals = new RecentRemovals();
  /** The search index; absent: every message is read through. */
  searchHints: SearchHints | undefined;
  /** Looks through large texts; absent: SEARCH does it itself. */
  textScan: TextScan | undefined;
  /** One change of a shard's names or account list at a time. */
  readonly #shardLocks = new Map<ShardId, AccountLock>();
  /** Time of the newest entry, by shard. */
  readonly #newestMs = new Map<ShardId, number>();
  #journal: Journal | undefined;
  #bodies: BodySource | undefined;
  #repairs: Pick<Repairs, "body"> | undefined;

  constructor(parts: EngineParts) {
    this.rows = parts.rows;
    this.clock = parts.clock;
    this.limits = parts.limits;
    this.feed = parts.feed;
    this.nextOpId = parts.nextOpId;
    this.unconfirmed = new UnconfirmedDeliveries(
      parts.rows,
      parts.clock,
      (one) => this.ageMs(one.shard, one.timeMs) > parts.limits.outcomeKeptMs,
    );
    this.spoolUsage = new SpoolUsage(parts.rows);
    this.#room = parts.room;
    this.accounts = new AccountCache(parts.rows, parts.limits);
  }

  /** Log and journal need `apply` first, for replay; they come in by this, once. */
  attach(journal: Journal, bodies: BodySource): void {
    assert(this.#journal === undefined, "an engine has one journal");
    this.#journal = journal;
    this.#bodies = bodies;
  }

  get bodies(): BodySource {
    assert(this.#bodies !== undefined, "a log is attached before requests come");
    return this.#bodies;
  }

  get journal(): Journal {
    assert(this.#journal !== undefined, "a journal is attached before requests come");
    return this.#journal;
  }

  /** Applies a committed entry; in lsn order per shard, on primaries, secondaries and in replay. */
  readonly apply = (entry: Entry): void => {
    const payload = isPayload(entry.payload)
      ? entry.payload
      : decodePayload(entry.kind, entry.head);
    if (payload === undefined) return;
    const pending = this.pending.take(entry.opId);
    for (const account of pending?.accounts ?? []) account.underWay--;
    switch (payload.kind) {
      case "deliver":
        this.#newestMs.set(entry.shard, payload.deliver.timeMs);
        deliverRows(this.rows, entry, payload.deliver);
        this.#applyDelivery(entry, payload.deliver);
        this.unconfirmed.delivered(entry, payload.deliver);
        break;
      case "change": {
        this.#newestMs.set(entry.shard, payload.change.timeMs);
        changeRows(this.rows, entry, payload.change);
        const ops = payload.change.ops.map((op) =>
          op.kind === "add" ? { ...op, messages: addedRows(entry, op.messages) } : op,
        );
        this.#applyOps(entry, payload.change.account, ops);
        this.#tellIndex(payload.change.account, ops);
        break;
      }
      case "claim":
        claimRows(this.rows, entry, payload.claim);
        this.feed.claimed(entry.shard, entry.lsn, payload.claim.claims);
        break;
      case "spool":
        spoolRows(this.rows, entry, payload.spool);
        this.spoolUsage.spooled(entry.shard, entry.lsn, payload.spool);
        break;
      case "unspool":
        unspoolRows(this.rows, entry, payload.unspool);
        this.spoolUsage.unspooled(entry.shard, payload.unspool);
        break;
      case "confirm":
        this.unconfirmed.confirmed(payload.confirm.fingerprints);
        break;
    }
    for (const account of pending?.accounts ?? []) {
      if (account.underWay === 0) for (const run of account.onSettled.splice(0)) run();
    }
    for (const run of pending?.settled ?? []) run(undefined);
  };

  /**
   * The age of something logged at `timeMs`, by the shard's own entries: a clock that jumps, and a
   * shard that was down for a day, must not make kept outcomes old. 0 before the first entry is seen.
   */
  ageMs(shard: ShardId, timeMs: number): number {
    return (this.#newestMs.get(shard) ?? timeMs) - timeMs;
  }

  shardLock(shard: ShardId): AccountLock {
    let lock = this.#shardLocks.get(shard);
    if (lock === undefined) this.#shardLocks.set(shard, (lock = new AccountLock()));
    return lock;
  }

  /** Who can replace damaged bodies; absent in tools and tests that have no other member. */
  set repairs(repairs: Pick<Repairs, "body">) {
    this.#repairs = repairs;
  }

  /** True when a damaged body was replaced by another member's, or is now known to be lost on all. */
  async mendBody(tag: number, at: number): Promise<boolean> {
    const id = { shard: shardId(tag >>> 16), lsn: lsn(at), part: tag & 0xffff };
    return ((await this.#repairs?.body(id)) ?? "later") !== "later";
  }

  /** @throws MailError DISK_FULL when the disks of the shard's members have no room for new mail. */
  mustTakeMail(shard: ShardId): void {
    this.#room?.mustTakeMail(shard);
  }

  /**
   * Resolves when what is applied may be acknowledged: for outcomes that are found, not made.
   * @throws MailError REPLICA_UNREACHABLE
   */
  async settled(shard: ShardId): Promise<void> {
    await this.journal.settled?.(shard);
  }

  /** @throws MailError WRONG_NODE unless this member may answer for the shard now. */
  mustServe(shard: ShardId): void {
    if (!this.journal.serves(shard)) throw new MailError({ code: "WRONG_NODE", shard });
  }

  /**
   * Runs `use` with the principal's account, which stays in RAM meanwhile, if the request may be
   * answered here and now.
   * @throws MailError WRONG_NODE, NO_SUCH_ACCOUNT, ACCOUNT_DISABLED, STALE_CREDENTIALS
   */
  async withAccount<T>(who: Access, use: (account: AccountState) => Promise<T>): Promise<T> {
    const account = await this.pinned(who);
    try {
      return await use(account);
    } finally {
      account.pins--;
    }
  }

  /** As `withAccount`, for streams: the caller lowers `pins` at the end. */
  async pinned(who: Access): Promise<AccountState> {
    this.mustServe(who.shard);
    const found = this.accounts.pin(who.account);
    const account = found instanceof Promise ? await found : found;
    try {
      return this.check(account, who);
    } catch (error) {
      if (account !== undefined) account.pins--;
      throw error;
    }
  }

  /** Runs `use` with a mailbox's summary, which stays in RAM meanwhile. */
  async withSummary<T>(
    account: AccountState,
    mailbox: MailboxState,
    use: (summary: MailboxSummary) => T | Promise<T>,
  ): Promise<T> {
    const summary = await this.accounts.pinSummary(account, mailbox);
    try {
      return await use(summary);
    } finally {
      summary.pins--;
    }
  }

  /** The same test again, after waiting. */
  check(account: AccountState | undefined, who: Access): AccountState {
    this.mustServe(who.shard);
    if (who.credVersion === undefined) return this.knownAccount(account, who.shard);
    const live = this.liveAccount(account, who.shard);
    if (who.credVersion < live.registration.credVersion) {
      throw new MailError({ code: "STALE_CREDENTIALS" });
    }
    return live;
  }

  /** @throws MailError NO_SUCH_ACCOUNT, WRONG_NODE, ACCOUNT_DISABLED */
  liveAccount(account: AccountState | undefined, shard: ShardId): AccountState {
    const known = this.knownAccount(account, shard);
    if (known.registration.state === "disabled") throw new MailError({ code: "ACCOUNT_DISABLED" });
    return known;
  }

  /** @throws MailError NO_SUCH_ACCOUNT, WRONG_NODE */
  knownAccount(account: AccountState | undefined, shard: ShardId): AccountState {
    if (account === undefined || account.registration.state === "deleted") {
      throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    }
    if (account.shard !== shard) throw new MailError({ code: "WRONG_NODE", shard });
    return account;
  }

  /**
   * This member stopped being, or has just become, the shard's primary: what it had proposed may
   * never be committed. Waiters get REPLICA_UNREACHABLE, listeners end, proposed state is forgotten.
   */
  resetShard(shard: ShardId): void {
    this.pending.reset(shard);
    this.unconfirmed.reset(shard);
    this.spoolUsage.forget(shard);
    for (const account of this.accounts.all()) {
      if (account.shard !== shard) continue;
      account.underWay = 0;
      account.forgetProposed();
      for (const run of account.onSettled.splice(0)) run();
      account.watchers?.fail("the mailbox is moving");
      account.maildrop?.lost({ code: "UNAVAILABLE", why: "the mailbox is moving" });
    }
  }

  /**
   * This node's copy of the shard is about to be wiped and made anew: nothing of it stays in RAM. Once
   * it resolves nobody writes rows of the shard any more. It must not be served.
   */
  async dropShard(shard: ShardId): Promise<void> {
    this.resetShard(shard);
    await this.accounts.dropShard(shard);
    this.unconfirmed.forget(shard);
    this.feed.restart(shard);
  }

  #tellIndex(account: AccountId, ops: readonly Op[]): void {
    if (this.searchHints === undefined) return;
    for (const op of ops) {
      if (op.kind === "gone") this.searchHints.gone(account, op.mailbox);
      if (op.kind !== "add") continue;
      const bytes = op.messages.reduce((sum, { size }) => sum + size, 0);
      this.searchHints.added(account, op.mailbox, op.messages.length, bytes);
    }
  }

  #applyDelivery(entry: Entry, payload: DeliverPayload): void {
    for (const to of payload.recipients) {
      this.searchHints?.added(to.account, to.mailbox, 1, payload.size);
      // Nearly always so on a secondary: its rows are all that there is to change.
      if (!this.accounts.holds(to.account)) continue;
      this.#applyOps(entry, to.account, [
        {
          kind: "add",
          mailbox: to.mailbox,
          modSeq: to.counters.modSeq,
          messages: [deliveredRow(entry, payload, to.uid, to.counters.modSeq)],
        },
        { kind: "counters", mailbox: to.mailbox, counters: to.counters },
        { kind: "quota", use: to.quota },
      ]);
    }
  }

  #applyOps(entry: Entry, id: AccountId, ops: readonly Op[]): void {
    const before = this.accounts.peek(id);
    const wasFull = before !== undefined && isOverQuota(before.registration, before.quota);
    const account = this.accounts.apply(id, ops);
    if (account !== undefined) {
      const isFull = isOverQuota(account.registration, account.quota);
      if (wasFull !== isFull)
        this.feed.changed(entry.shard, entry.lsn, account.registration, isFull);
      if (account.underWay === 0) account.forgetProposed();
    }
    for (const op of ops) {
      if (op.kind === "remove") this.removals.note(id, op.mailbox, op.messages);
      if (op.kind !== "registration") continue;
      const full = account !== undefined && isOverQuota(op.registration, account.quota);
      this.feed.changed(entry.shard, entry.lsn, op.registration, full);
    }
  }
}

/** A payload handed back by the journal is the object that was proposed. */
function isPayload(value: unknown): value is Payload {
  return typeof value === "object" && value !== null && "kind" in value;
}
