// Names of the fake's mailboxes: what a name may be, listing, create, delete, rename, subscribe.
// Superior names without a mailbox of their own are derived from the names below them.

import { MailError } from "../../../src/mail/errors.ts";
import { normaliseMailboxName } from "../../../src/mail/mailbox-name.ts";
import { superiorInfo } from "../../../src/mail/superior.ts";
import type { MailboxId } from "../../../src/mail/ids.ts";
import type { MailboxInfo, MailboxListing } from "../../../src/mail/mail-store.ts";
import { addMailbox, addMessages, removeMessages, tell, tellChange } from "./account.ts";
import type { FakeAccount, FakeMailbox } from "./account.ts";

const mailboxesMax = 10_000;

/** The stored form of a name. @throws MailError BAD_MAILBOX_NAME */
export function normaliseName(given: string): string {
  const name = normaliseMailboxName(given);
  if (name.ok) return name.name;
  throw new MailError({ code: "BAD_MAILBOX_NAME", mailbox: given, why: name.why });
}

/** @throws MailError NO_SUCH_MAILBOX, also for names that could never be one. */
export function mailboxNamed(account: FakeAccount, name: string): FakeMailbox {
  const found = find(account, normaliseOrUndefined(name));
  if (found === undefined) throw new MailError({ code: "NO_SUCH_MAILBOX", mailbox: name });
  return found;
}

/** @throws MailError MAILBOX_GONE */
export function mailboxById(account: FakeAccount, id: MailboxId): FakeMailbox {
  const found = account.mailboxes.get(id);
  if (found === undefined) throw new MailError({ code: "MAILBOX_GONE", mailbox: id });
  return found;
}

export function infoOf(account: FakeAccount, mailbox: FakeMailbox): MailboxInfo {
  const count = (flag: string): number =>
    mailbox.messages.filter(({ flags }) => flags.includes(flag)).length;
  return {
    id: mailbox.id,
    name: mailbox.name,
    selectable: true,
    subscribed: account.subscriptions.has(mailbox.name),
    uidValidity: mailbox.uidValidity,
    uidNext: mailbox.uidNext,
    highestModSeq: mailbox.highestModSeq,
    messages: mailbox.messages.length,
    unseen: mailbox.messages.length - count("\\Seen"),
    deleted: count("\\Deleted"),
    recent: mailbox.messages.filter(({ uid }) => uid >= mailbox.recentFrom).length,
    sizeBytes: mailbox.messages.reduce((sum, { body }) => sum + body.length, 0),
    ...(mailbox.specialUse === undefined ? {} : { specialUse: mailbox.specialUse }),
  };
}

export function listingOf(account: FakeAccount): MailboxListing {
  const real = new Set([...account.mailboxes.values()].map(({ name }) => name));
  const derived = new Set([...real].flatMap(superiors).filter((name) => !real.has(name)));
  const mailboxes = [
    ...[...account.mailboxes.values()].map((mailbox) => infoOf(account, mailbox)),
    ...[...derived].map((name) => superiorInfo(name, account.subscriptions.has(name))),
  ];
  return {
    mailboxes: mailboxes.sort((a, b) => (a.name < b.name ? -1 : 1)),
    orphanSubscriptions: [...account.subscriptions]
      .filter((name) => !real.has(name) && !derived.has(name))
      .sort(),
  };
}

export function create(account: FakeAccount, wanted: string, specialUse?: string): FakeMailbox {
  const name = normaliseName(wanted);
  if (find(account, name) !== undefined)
    throw new MailError({ code: "MAILBOX_EXISTS", mailbox: name });
  if (account.mailboxes.size >= mailboxesMax) {
    throw new MailError({ code: "LIMIT", limit: "mailboxes", most: mailboxesMax });
  }
  const mailbox = addMailbox(account, name, specialUse);
  tell(account, { kind: "list" });
  return mailbox;
}

/** RFC 9051 §6.3.5 */
export function remove(account: FakeAccount, wanted: string): void {
  const name = normaliseOrUndefined(wanted);
  if (name === "INBOX") {
    throw new MailError({ code: "BAD_MAILBOX_NAME", mailbox: name, why: "INBOX can't be deleted" });
  }
  const mailbox = find(account, name);
  if (mailbox === undefined) {
    const parent = name !== undefined && below(account, name).length > 0;
    throw new MailError(
      parent
        ? { code: "MAILBOX_HAS_CHILDREN", mailbox: name }
        : { code: "NO_SUCH_MAILBOX", mailbox: wanted },
    );
  }
  account.mailboxes.delete(mailbox.id);
  tell(account, { kind: "deleted", mailbox: mailbox.id });
  tell(account, { kind: "list" });
}

/** RFC 9051 §6.3.6 */
export function rename(account: FakeAccount, wantedFrom: string, wantedTo: string): void {
  const from = normaliseOrUndefined(wantedFrom);
  const to = normaliseName(wantedTo);
  if (find(account, to) !== undefined) throw new MailError({ code: "MAILBOX_EXISTS", mailbox: to });
  const mailbox = find(account, from);
  if (from === "INBOX" && mailbox !== undefined) return renameInbox(account, mailbox, to);
  const moving = from === undefined ? [] : below(account, from);
  if (mailbox !== undefined) moving.push(mailbox);
  if (from === undefined || moving.length === 0) {
    throw new MailError({ code: "NO_SUCH_MAILBOX", mailbox: wantedFrom });
  }
  if (to.startsWith(`${from}/`)) {
    throw new MailError({ code: "BAD_MAILBOX_NAME", mailbox: to, why: "it would be below itself" });
  }
  const plan = moving.map((each) => ({
    each,
    name: normaliseName(to + each.name.slice(from.length)),
  }));
  for (const { name } of plan) {
    if (find(account, name) !== undefined)
      throw new MailError({ code: "MAILBOX_EXISTS", mailbox: name });
  }
  for (const { each, name } of plan) each.name = name;
  tell(account, { kind: "list" });
}

export function subscribe(account: FakeAccount, wanted: string, subscribed: boolean): void {
  const name = normaliseName(wanted);
  if (subscribed) account.subscriptions.add(name);
  else account.subscriptions.delete(name);
  tell(account, { kind: "list" });
}

/** The messages leave INBOX for a new mailbox; INBOX stays, and what is below it too. */
function renameInbox(account: FakeAccount, inbox: FakeMailbox, to: string): void {
  const target = addMailbox(account, to);
  const messages = [...inbox.messages];
  addMessages(target, messages);
  removeMessages(inbox, new Set(messages));
  tellChange(account, inbox);
  tell(account, { kind: "list" });
}

function find(account: FakeAccount, name: string | undefined): FakeMailbox | undefined {
  return [...account.mailboxes.values()].find((mailbox) => mailbox.name === name);
}

function below(account: FakeAccount, name: string): FakeMailbox[] {
  return [...account.mailboxes.values()].filter((each) => each.name.startsWith(`${name}/`));
}

function superiors(name: string): readonly string[] {
  const levels = name.split("/");
  return levels.slice(1).map((_, index) => levels.slice(0, index + 1).join("/"));
}

function normaliseOrUndefined(given: string): string | undefined {
  const name = normaliseMailboxName(given);
  return name.ok ? name.name : undefined;
}
