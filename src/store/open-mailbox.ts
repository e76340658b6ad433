// SELECT and EXAMINE: a mailbox's figures, its UIDs, and which messages are \Recent for the opener.

import { seenBit } from "./flags.ts";
import { recentSince } from "./apply-ram.ts";
import type { OpenMailbox, Principal } from "../mail/mail-store.ts";
import type { Columns } from "./columns.ts";
import type { Engine } from "./engine.ts";
import { infoOf, mailboxNamed } from "./list.ts";
import type { MailboxState } from "./mailbox-state.ts";

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
      if (request.claimRecent) claimRecent(mailbox);
      return {
        info,
        uids: summary.columns.uids(),
        recentFrom: request.claimRecent ? recentFrom : 0,
        firstUnseen: firstUnseen(summary.columns),
        keywords: summary.keywords.keywords,
      };
    });
  });
}

/** Everything that happened to `account` stays; the marker itself is logged with the mailbox's next change. */
function claimRecent(mailbox: MailboxState): void {
  // RFC 9051 dropped \Recent; for RFC 3501 clients a lost marker only shows messages as recent again.
  mailbox.counters = claimed(mailbox.counters, mailbox.counters.uidNext);
  mailbox.next = claimed(mailbox.next, mailbox.counters.uidNext);
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
