// SELECT and EXAMINE: a mailbox's figures, its UIDs, and which messages are \Recent for the opener.

import { MailError } from "../mail/errors.ts";
import type { OpenMailbox, Principal } from "../mail/mail-store.ts";
import type { AccountState } from "./account-state.ts";
import { recentSince } from "./apply-ram.ts";
import { background } from "./background.ts";
import type { Columns } from "./columns.ts";
import type { Engine } from "./engine.ts";
import { seenBit } from "./flags.ts";
import { infoOf, mailboxNamed } from "./list.ts";
import type { MailboxState } from "./mailbox-state.ts";
import { proposeChange } from "./propose.ts";

/** @see MailStore.openMailbox */
export function openMailbox(
  engine: Engine,
  who: Principal,
  request: { readonly name: string; readonly claimRecent: boolean },
): Promise<OpenMailbox> {
  return engine.withAccount(who, (account) => {
    const mailbox = mailboxNamed(account, request.name);
    return engine.withSummary(account, mailbox, (summary) => {
      engine.check(account, who);
      const info = infoOf(account, mailbox);
      const recentFrom = mailbox.counters.recentFrom;
      if (request.claimRecent) claimRecent(engine, account, mailbox);
      return {
        info,
        uids: summary.columns.uids(),
        recentFrom: request.claimRecent ? recentFrom : 0,
        firstUnseen: info.unseen === 0 ? 0 : firstUnseen(summary.columns),
        keywords: summary.keywords.keywords,
      };
    });
  });
}

/**
 * Moves the marker at once in RAM, and in the log without waiting: a lost one only shows messages as
 * \Recent again, which RFC 9051 no longer knows. While a change has the account to itself the marker
 * goes with the mailbox's next entry.
 */
function claimRecent(engine: Engine, account: AccountState, mailbox: MailboxState): void {
  const { uidNext, recentFrom } = mailbox.counters;
  if (recentFrom === uidNext) return;
  const toldOf = mailbox.counters.recent > 0;
  mailbox.counters = claimed(mailbox.counters, uidNext);
  mailbox.next = claimed(mailbox.next, uidNext);
  if (!toldOf || !account.lock.tryShared()) return;
  try {
    const op = { kind: "counters", mailbox: mailbox.id, counters: mailbox.next } as const;
    background(proposeChange(engine, account, engine.nextOpId(), { ops: [op] }));
  } catch (error) {
    // Not the primary any more, or the log is full: the marker is not worth failing a SELECT.
    if (!(error instanceof MailError)) throw error;
  } finally {
    account.lock.releaseShared();
  }
}

function claimed(counters: MailboxState["counters"], recentFrom: number): MailboxState["counters"] {
  return { ...counters, recentFrom, recent: recentSince(counters, recentFrom) };
}

function firstUnseen(columns: Columns): number {
  const { flags, uid, count } = columns;
  for (let at = 0; at < count; at++) {
    if (((flags[at] ?? 0) & seenBit) === 0) return uid[at] ?? 0;
  }
  return 0;
}
