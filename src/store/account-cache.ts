// Accounts and summaries in RAM: loaded when first asked for, kept while in use, then until memory is
// needed. What is applied while something loads is applied to it again, so loading never blocks apply.

import { background } from "../lib/background.ts";
import { MailError, isMailError } from "../mail/errors.ts";
import { mailboxId } from "../mail/ids.ts";
import type { AccountId, MailboxId, ShardId } from "../mail/ids.ts";
import { AccountState } from "./account-state.ts";
import { applyToAccount, applyToSummary } from "./apply-ram.ts";
import { fold, loadSummary } from "./blocks.ts";
import { readCounters } from "./entry-codec.ts";
import { emptyCounters } from "./entry-kind.ts";
import type { Counters, MailboxRow, Op, QuotaUse } from "./entry-kind.ts";
import { accountKey, table } from "./keyspace.ts";
import type { StoreLimits } from "./limits.ts";
import { mending } from "./mending.ts";
import { makePages, wantsPages } from "./make-pages.ts";
import { MailboxState } from "./mailbox-state.ts";
import type { LoadingSummary, MailboxSummary } from "./mailbox-state.ts";
import { openRow } from "./row.ts";
import { readMailbox, readQuota, readRegistrationRow } from "./rows.ts";
import type { RegistrationRow } from "./rows.ts";
import type { WriteQueue } from "./write-queue.ts";

interface LoadingAccount {
  promise: Promise<AccountState | undefined>;
  readonly missed: (readonly Op[])[];
  /** Callers that wait for it, each with a pin. */
  pins: number;
}

export class AccountCache {
  readonly #queue: WriteQueue;
  readonly #limits: StoreLimits;
  /** In order of last use. */
  readonly #accounts = new Map<AccountId, AccountState>();
  readonly #loading = new Map<AccountId, LoadingAccount>();
  /** Loaded summaries in order of last use. */
  readonly #summaries = new Map<MailboxState, AccountState>();
  #summaryBytes = 0;
  readonly #sizes = new Map<MailboxState, number>();
  /** What runs in the background, and tells it to end. */
  readonly #jobs = new Set<Promise<void>>();
  readonly #stopping = new AbortController();

  constructor(queue: WriteQueue, limits: StoreLimits) {
    this.#queue = queue;
    this.#limits = limits;
  }

  get summaryBytes(): number {
    return this.#summaryBytes;
  }

  get loadedAccounts(): number {
    return this.#accounts.size;
  }

  /** The account when it is in RAM. */
  peek(id: AccountId): AccountState | undefined {
    return this.#accounts.get(id);
  }

  /** True when `apply` has something to change: the account is in RAM, or on its way there. */
  holds(id: AccountId): boolean {
    return this.#accounts.has(id) || this.#loading.has(id);
  }

  all(): IterableIterator<AccountState> {
    return this.#accounts.values();
  }

  /**
   * The account, read from disk when needed; undefined when this node has none of this id. It stays
   * in RAM until the caller lowers its `pins` again.
   */
  pin(id: AccountId): AccountState | undefined | Promise<AccountState | undefined> {
    const known = this.#accounts.get(id);
    if (known !== undefined) {
      this.#accounts.delete(id);
      this.#accounts.set(id, known);
      known.pins++;
      return known;
    }
    let loading = this.#loading.get(id);
    if (loading === undefined) {
      loading = { promise: Promise.resolve(undefined), missed: [], pins: 0 };
      this.#loading.set(id, loading);
      loading.promise = this.#load(id, loading).finally(() => this.#loading.delete(id));
    }
    loading.pins++;
    return loading.promise;
  }

  /**
   * The mailbox's messages, read from disk when needed; they stay in RAM until the caller lowers
   * `pins` again. @throws MailError MAILBOX_GONE
   */
  async pinSummary(account: AccountState, mailbox: MailboxState): Promise<MailboxSummary> {
    if (mailbox.summary !== undefined) {
      if (this.#summaries.delete(mailbox)) this.#summaries.set(mailbox, account);
      mailbox.summary.pins++;
      return mailbox.summary;
    }
    let { loading } = mailbox;
    if (loading === undefined) {
      loading = { missed: [], pins: 0, promise: undefined };
      mailbox.loading = loading;
      account.pins++;
      loading.promise = this.#loadSummary(account, mailbox, loading).finally(() => {
        mailbox.loading = undefined;
        account.pins--;
      });
    }
    loading.pins++;
    const summary = await loading.promise;
    if (summary === undefined || mailbox.gone) {
      throw new MailError({ code: "MAILBOX_GONE", mailbox: mailbox.id });
    }
    return summary;
  }

  /** A committed change: now if the account is in RAM, again after loading if it is on its way. */
  apply(id: AccountId, ops: readonly Op[]): AccountState | undefined {
    const account = this.#accounts.get(id);
    if (account !== undefined) applyToAccount(account, ops);
    else this.#loading.get(id)?.missed.push(ops);
    return account;
  }

  /** Folds when enough changes have gathered, and makes room; called now and then after changes. */
  tidy(account: AccountState, mailbox: MailboxState): void {
    const { summary } = mailbox;
    const { modSeq } = mailbox.counters;
    if (summary !== undefined) {
      this.#measure(mailbox, summary);
      mailbox.foldedNear = modSeq;
      if (modSeq - summary.foldModSeq > this.#limits.unfoldedMax || summary.isLongReplay) {
        fold(this.#queue, account.id, mailbox.id, summary, modSeq);
      }
      if (wantsPages(summary, this.#limits.pageMessagesMax))
        this.#run("pages", this.#makePages(account, mailbox, summary));
    } else if (modSeq - mailbox.foldedNear > this.#limits.unfoldedMax && !mailbox.gone) {
      // Much mail and no reader: loading folds it, so that the next SELECT isn't slow.
      mailbox.foldedNear = modSeq;
      this.#run("fold of a mailbox", this.#loadToFold(account, mailbox));
    }
    this.#evict();
  }

  /** Forgets all accounts that are not in use; those in use stay. */
  forgetIdle(): void {
    for (const account of this.#accounts.values()) if (account.idle) this.#forget(account);
  }

  /**
   * Forgets a shard's accounts, in use or not: their rows are about to go. Once it resolves nobody who
   * still holds one writes rows for it. The shard must not be served.
   */
  dropShard(shard: ShardId): Promise<void> {
    return this.#dropAll((account) => account.shard === shard);
  }

  /** As `dropShard`, for one account whose rows are about to be replaced. */
  dropAccount(id: AccountId): Promise<void> {
    return this.#dropAll((account) => account.id === id);
  }

  async #dropAll(isMeant: (account: AccountState) => boolean): Promise<void> {
    await Promise.allSettled([...this.#loading.values()].map(({ promise }) => promise));
    for (const account of this.#accounts.values()) {
      if (!isMeant(account)) continue;
      for (const mailbox of account.mailboxes.values()) {
        mailbox.gone = true;
        mailbox.summary = undefined;
        this.#unlist(mailbox);
      }
      this.#accounts.delete(account.id);
    }
    await Promise.allSettled(this.#jobs);
  }

  /** Ends what runs in the background; resolves when it has ended. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.allSettled(this.#jobs);
  }

  async #load(id: AccountId, loading: LoadingAccount): Promise<AccountState | undefined> {
    for (;;) {
      const account = await mending(this.#queue, () => readAccount(this.#queue, id));
      if (account === undefined) {
        if (loading.missed.length === 0) return undefined;
        // Created while we looked: look again, it is in the queue now.
        loading.missed.length = 0;
        continue;
      }
      for (const ops of loading.missed) applyToAccount(account, ops);
      account.forgetProposed();
      account.pins += loading.pins;
      this.#accounts.set(id, account);
      this.#evict();
      return account;
    }
  }

  async #loadSummary(
    account: AccountState,
    mailbox: MailboxState,
    loading: LoadingSummary,
  ): Promise<MailboxSummary> {
    const summary = await mending(this.#queue, () =>
      loadSummary(this.#queue, account.id, mailbox.id),
    );
    for (const op of loading.missed) applyToSummary(summary, op);
    summary.pins += loading.pins;
    if (mailbox.gone) return summary;
    mailbox.summary = summary;
    this.#summaries.set(mailbox, account);
    this.tidy(account, mailbox);
    return summary;
  }

  #run(name: string, job: Promise<void>): void {
    this.#jobs.add(job);
    background(
      name,
      job.finally(() => this.#jobs.delete(job)),
    );
  }

  async #makePages(
    account: AccountState,
    mailbox: MailboxState,
    summary: MailboxSummary,
  ): Promise<void> {
    account.pins++;
    summary.pins++;
    try {
      const { signal } = this.#stopping;
      const { pageMessagesMax } = this.#limits;
      await makePages(this.#queue, account, mailbox, summary, pageMessagesMax, signal);
    } finally {
      summary.pins--;
      account.pins--;
    }
  }

  async #loadToFold(account: AccountState, mailbox: MailboxState): Promise<void> {
    try {
      const summary = await this.pinSummary(account, mailbox);
      summary.pins--;
    } catch (error) {
      if (!isMailError(error, "MAILBOX_GONE")) throw error;
    }
  }

  #measure(mailbox: MailboxState, summary: MailboxSummary): void {
    const bytes = summary.columns.bytes;
    this.#summaryBytes += bytes - (this.#sizes.get(mailbox) ?? 0);
    this.#sizes.set(mailbox, bytes);
  }

  #evict(): void {
    if (this.#summaryBytes > this.#limits.summaryBytesMax) {
      for (const [mailbox, account] of this.#summaries) {
        if (mailbox.gone || this.#dropSummary(account, mailbox)) this.#unlist(mailbox);
        if (this.#summaryBytes <= this.#limits.summaryBytesMax) break;
      }
    }
    let surplus = this.#accounts.size - this.#limits.accountsMax;
    if (surplus <= 0) return;
    for (const account of this.#accounts.values()) {
      if (surplus <= 0) return;
      if (!account.idle) continue;
      this.#forget(account);
      surplus--;
    }
  }

  #dropSummary(account: AccountState, mailbox: MailboxState): boolean {
    const { summary } = mailbox;
    if (summary === undefined) return true;
    if (summary.pins > 0) return false;
    if (mailbox.counters.modSeq > summary.foldModSeq) {
      fold(this.#queue, account.id, mailbox.id, summary, mailbox.counters.modSeq);
    }
    mailbox.summary = undefined;
    return true;
  }

  #unlist(mailbox: MailboxState): void {
    this.#summaries.delete(mailbox);
    this.#summaryBytes -= this.#sizes.get(mailbox) ?? 0;
    this.#sizes.delete(mailbox);
  }

  #forget(account: AccountState): void {
    for (const mailbox of account.mailboxes.values()) {
      if (mailbox.loading !== undefined || (mailbox.summary?.pins ?? 0) > 0) return;
    }
    for (const mailbox of account.mailboxes.values()) {
      this.#dropSummary(account, mailbox);
      this.#unlist(mailbox);
    }
    this.#accounts.delete(account.id);
  }
}

/** The account's small rows: all tables before the messages' own. */
async function readAccount(queue: WriteQueue, id: AccountId): Promise<AccountState | undefined> {
  const found: RegistrationRow[] = [];
  let next = { nextMailboxId: 1, lastUidValidity: 0 };
  let quota: QuotaUse = { bytes: 0, messages: 0 };
  const mailboxes: MailboxRow[] = [];
  const counters = new Map<MailboxId, Counters>();
  const subscriptions: string[] = [];
  const visit = (key: Buffer, value: Buffer): void => {
    const reader = openRow(key, value);
    switch (key[9]) {
      case table.registration:
        found.push(readRegistrationRow(reader));
        break;
      case table.account:
        next = { nextMailboxId: reader.varint(), lastUidValidity: reader.varint() };
        break;
      case table.quota:
        quota = readQuota(reader);
        break;
      case table.mailbox:
        mailboxes.push(readMailbox(key, reader));
        break;
      case table.counters:
        counters.set(mailboxId(key.readUInt32BE(10)), readCounters(reader));
        break;
      case table.subscription:
        subscriptions.push(key.toString("utf8", 10));
        break;
      default:
        break;
    }
  };
  const ranges = [
    [accountKey(id, table.registration), accountKey(id, table.keywords)],
    [accountKey(id, table.subscription), accountKey(id, table.static)],
  ] as const;
  for (const [from, to] of ranges) {
    for await (const rows of queue.range(from, to)) {
      for (const [key, value] of rows) visit(key, value);
    }
  }
  const [row] = found;
  if (row === undefined) return undefined;
  const account = new AccountState(row.shard, row.registration, next, quota);
  for (const mailbox of mailboxes) {
    const state = new MailboxState(mailbox, counters.get(mailbox.id) ?? emptyCounters);
    account.mailboxes.set(mailbox.id, state);
    account.byName.set(mailbox.name, state);
  }
  for (const name of subscriptions) account.subscriptions.add(name);
  return account;
}
