// One account in RAM: registration, quota, mailboxes by id and name, subscriptions, watchers, the
// lock and what is under way. Leaves loading and eviction to account-cache.ts.

import type { Registration } from "../mail/account.ts";
import { MailError } from "../mail/errors.ts";
import type { MailFailure } from "../mail/errors.ts";
import type { AccountId, MailboxId, OpId, ShardId } from "../mail/ids.ts";
import type { Quota } from "../mail/quota.ts";
import { AccountLock } from "./account-lock.ts";
import type { Op, QuotaUse } from "./entry-kind.ts";
import type { MailboxState } from "./mailbox-state.ts";
import type { Watchers } from "./watchers.ts";

/** Who has the account's maildrop. */
export interface MaildropHolder {
  /** Absent when nobody will ask for it again. */
  readonly holder: OpId | undefined;
  /** Called when the hold ends before its holder let go. */
  readonly lost: (failure: MailFailure) => void;
}

export class AccountState {
  readonly id: AccountId;
  /** Where the account lives. */
  readonly shard: ShardId;
  registration: Registration;
  nextMailboxId: number;
  lastUidValidity: number;
  /** Committed, and with everything proposed. */
  quota: QuotaUse;
  nextQuota: QuotaUse;
  readonly mailboxes = new Map<MailboxId, MailboxState>();
  readonly byName = new Map<string, MailboxState>();
  readonly subscriptions = new Set<string>();
  readonly lock = new AccountLock();
  /** Entries proposed and not yet applied. */
  underWay = 0;
  /** Runs when `underWay` has come to 0. */
  readonly onSettled: (() => void)[] = [];
  /** Requests that hold references into this state. */
  pins = 0;
  watchers: Watchers | undefined;
  /** The POP3 session that has the maildrop. */
  maildrop: MaildropHolder | undefined;

  constructor(
    shard: ShardId,
    registration: Registration,
    counters: Omit<Extract<Op, { kind: "account" }>, "kind">,
    quota: QuotaUse,
  ) {
    this.id = registration.account;
    this.shard = shard;
    this.registration = registration;
    this.nextMailboxId = counters.nextMailboxId;
    this.lastUidValidity = counters.lastUidValidity;
    this.quota = quota;
    this.nextQuota = quota;
  }

  get idle(): boolean {
    return (
      this.pins === 0 &&
      this.underWay === 0 &&
      this.lock.idle &&
      this.watchers === undefined &&
      this.maildrop === undefined
    );
  }

  /** Nothing is under way (any more): what will be proposed next builds on what is committed. */
  forgetProposed(): void {
    this.nextQuota = this.quota;
    for (const mailbox of this.mailboxes.values()) mailbox.next = mailbox.counters;
  }

  /** @throws MailError NO_SUCH_MAILBOX */
  named(name: string | undefined, asked: string): MailboxState {
    const found = name === undefined ? undefined : this.byName.get(name);
    if (found === undefined) throw new MailError({ code: "NO_SUCH_MAILBOX", mailbox: asked });
    return found;
  }

  /** @throws MailError MAILBOX_GONE */
  mailbox(id: MailboxId): MailboxState {
    const found = this.mailboxes.get(id);
    if (found === undefined) throw new MailError({ code: "MAILBOX_GONE", mailbox: id });
    return found;
  }
}

export function quotaOf(account: AccountState): Quota {
  return {
    usedBytes: account.quota.bytes,
    usedMessages: account.quota.messages,
    limitBytes: account.registration.quotaBytes,
    limitMessages: account.registration.quotaMessages,
  };
}

/** True when the account can take no more mail. */
export function isOverQuota(registration: Registration, use: QuotaUse): boolean {
  return (
    (registration.quotaBytes > 0 && use.bytes >= registration.quotaBytes) ||
    (registration.quotaMessages > 0 && use.messages >= registration.quotaMessages)
  );
}

/** The quota use after `messages` more with `bytes` in all, whatever the limit. */
export function useAfter(account: AccountState, bytes: number, messages: number): QuotaUse {
  return {
    bytes: account.nextQuota.bytes + bytes,
    messages: account.nextQuota.messages + messages,
  };
}

/**
 * The quota use after `messages` more with `bytes` in all; exactly the limit fits.
 * @throws MailError OVER_QUOTA
 */
export function quotaAfter(account: AccountState, bytes: number, messages: number): QuotaUse {
  const { quotaBytes, quotaMessages } = account.registration;
  const use = useAfter(account, bytes, messages);
  if (quotaBytes > 0 && use.bytes > quotaBytes) {
    throw new MailError({ code: "OVER_QUOTA", limitBytes: quotaBytes });
  }
  if (quotaMessages > 0 && use.messages > quotaMessages) {
    throw new MailError({ code: "OVER_QUOTA", limitMessages: quotaMessages });
  }
  return use;
}
