// Mailboxes as a list: LIST and STATUS figures from the counters, never from messages. Names that
// only have children are derived from the names below them.

import { modSeq, uidValidity } from "../mail/ids.ts";
import { superiorInfo } from "../mail/superior.ts";
import type { MailboxInfo, MailboxListing } from "../mail/mail-store.ts";
import { normaliseMailboxName } from "../mail/mailbox-name.ts";
import type { AccountState } from "./account-state.ts";
import type { MailboxState } from "./mailbox-state.ts";

/** All mailboxes and derived superior names, by name, and subscriptions without either. */
export function listingOf(account: AccountState): MailboxListing {
  const derived = new Set<string>();
  for (const name of account.byName.keys()) {
    for (let at = name.indexOf("/"); at >= 0; at = name.indexOf("/", at + 1)) {
      const superior = name.slice(0, at);
      if (!account.byName.has(superior)) derived.add(superior);
    }
  }
  const mailboxes = Array.from(account.byName.values(), (mailbox) => infoOf(account, mailbox));
  for (const name of derived) mailboxes.push(superiorInfo(name, account.subscriptions.has(name)));
  return {
    mailboxes: mailboxes.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    orphanSubscriptions: [...account.subscriptions]
      .filter((name) => !account.byName.has(name) && !derived.has(name))
      .toSorted(),
  };
}

export function infoOf(account: AccountState, mailbox: MailboxState): MailboxInfo {
  const { counters } = mailbox;
  return {
    id: mailbox.id,
    name: mailbox.name,
    selectable: true,
    subscribed: account.subscriptions.has(mailbox.name),
    ...(mailbox.specialUse === "" ? {} : { specialUse: mailbox.specialUse }),
    uidValidity: uidValidity(mailbox.uidValidity),
    uidNext: counters.uidNext,
    highestModSeq: modSeq(counters.modSeq),
    messages: counters.messages,
    unseen: counters.unseen,
    deleted: counters.deleted,
    recent: counters.recent,
    sizeBytes: counters.sizeBytes,
  };
}

/** The mailbox of a name as a client gave it. @throws MailError NO_SUCH_MAILBOX */
export function mailboxNamed(account: AccountState, given: string): MailboxState {
  const name = normaliseMailboxName(given);
  return account.named(name.ok ? name.name : undefined, given);
}

/** Mailboxes below a name. */
export function mailboxesBelow(account: AccountState, name: string): readonly MailboxState[] {
  const prefix = `${name}/`;
  return [...account.byName.values()].filter((mailbox) => mailbox.name.startsWith(prefix));
}
