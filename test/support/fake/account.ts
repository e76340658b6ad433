// State of the fake mail store: accounts, mailboxes and messages as plain arrays and maps, and the
// few rules that belong to one mailbox alone. Leaves names to mailbox-tree.ts, the rest to the store.

import { MailError } from "../../../src/mail/errors.ts";
import type { MailFailure } from "../../../src/mail/errors.ts";
import type { DirectoryRow } from "../../../src/mail/account.ts";
import { mailboxId, modSeq, uid, uidMax, uidValidity } from "../../../src/mail/ids.ts";
import type { MailboxId, ModSeq, OpId, Uid, UidValidity } from "../../../src/mail/ids.ts";
import type { FlagState, MailboxEvent, MailStore } from "../../../src/mail/mail-store.ts";
import type { Quota } from "../../../src/mail/quota.ts";
import type { MessageIndex } from "../../../src/mail/message-index.ts";
import type { EventQueue } from "./event-queue.ts";

export interface FakeMessage {
  readonly uid: Uid;
  readonly body: Uint8Array;
  readonly index: MessageIndex;
  readonly internalDateMs: number;
  readonly internalDateZone: number;
  readonly savedMs: number;
  /** The same for every copy of a message. RFC 8474 §5.1 */
  readonly emailId: string;
  modSeq: ModSeq;
  flags: readonly string[];
}

/** What a message brings along when it enters a mailbox. */
export type NewMessage = Omit<FakeMessage, "uid" | "modSeq">;

export interface FakeMailbox {
  readonly id: MailboxId;
  name: string;
  readonly uidValidity: UidValidity;
  readonly specialUse?: string;
  uidNext: number;
  highestModSeq: ModSeq;
  messages: FakeMessage[];
  /** Expunged, but still readable for the rest of an answer. */
  readonly gone: FakeMessage[];
  /** Every UID that is gone, with the modseq at which it went. */
  readonly vanished: { readonly uid: number; readonly modSeq: number }[];
  /** The first UID that no session has claimed as \Recent. */
  recentFrom: number;
  readonly keywords: string[];
  readonly annotations: Map<string, Uint8Array>;
}

export interface FakeAccount {
  row: DirectoryRow;
  password: string;
  quotaBytes: number;
  quotaMessages: number;
  readonly mailboxes: Map<MailboxId, FakeMailbox>;
  readonly subscriptions: Set<string>;
  readonly watchers: Set<Watcher>;
  /** The server's, as this account sees it. */
  readonly annotations: Map<string, Uint8Array>;
  nextMailboxId: number;
  nextUidValidity: number;
  maildrop:
    | { readonly name: OpId | undefined; readonly lost: (failure: MailFailure) => void }
    | undefined;
}

export interface Watcher {
  readonly mailboxes: ReadonlySet<MailboxId> | "all";
  readonly queue: EventQueue<MailboxEvent>;
}

const systemFlags = ["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"];

/** Makes an empty mailbox; its UIDVALIDITY is one no mailbox of the account ever had. */
export function addMailbox(account: FakeAccount, name: string, specialUse?: string): FakeMailbox {
  const mailbox: FakeMailbox = {
    id: mailboxId(account.nextMailboxId++),
    name,
    uidValidity: uidValidity(account.nextUidValidity++),
    uidNext: 1,
    highestModSeq: modSeq(1),
    messages: [],
    gone: [],
    vanished: [],
    recentFrom: 1,
    keywords: [],
    annotations: new Map(),
    ...(specialUse === undefined ? {} : { specialUse }),
  };
  account.mailboxes.set(mailbox.id, mailbox);
  return mailbox;
}

/** Gives the messages the next UIDs, all with one new MODSEQ. */
export function addMessages(mailbox: FakeMailbox, news: readonly NewMessage[]): FakeMessage[] {
  if (mailbox.uidNext + news.length > uidMax)
    throw new MailError({ code: "LIMIT", limit: "uid", most: uidMax });
  if (news.length === 0) return [];
  const at = bump(mailbox);
  const added = news.map((message) => ({
    ...message,
    flags: normaliseFlags(mailbox, message.flags),
    uid: uid(mailbox.uidNext++),
    modSeq: at,
  }));
  mailbox.messages.push(...added);
  return added;
}

/** Takes out the messages that `gone` names, all with one new MODSEQ. */
export function removeMessages(mailbox: FakeMailbox, gone: ReadonlySet<FakeMessage>): void {
  if (gone.size === 0) return;
  const at = bump(mailbox);
  for (const message of gone) mailbox.vanished.push({ uid: message.uid, modSeq: at });
  mailbox.gone.push(...gone);
  mailbox.messages = mailbox.messages.filter((message) => !gone.has(message));
}

/** Counts one change: the mailbox's MODSEQ grows by one. RFC 7162 §3.1 */
export function bump(mailbox: FakeMailbox): ModSeq {
  mailbox.highestModSeq = modSeq(mailbox.highestModSeq + 1);
  return mailbox.highestModSeq;
}

/** Refuses a difference to what a session can't have known of this mailbox. */
export function checkKnown(
  { id, uidValidity: validity, highestModSeq, uidNext }: FakeMailbox,
  known: Parameters<MailStore["changes"]>[1],
): void {
  if (known.uidValidity === undefined) return;
  const isAhead = known.sinceModSeq > highestModSeq || known.knownUidNext > uidNext;
  if (known.uidValidity === validity && !isAhead) return;
  const why = isAhead ? "older than what the session knows" : "other UIDVALIDITY";
  throw new MailError({ code: "MAILBOX_GONE", mailbox: id, why });
}

export function stateOf(message: FakeMessage): FlagState {
  return { uid: message.uid, modSeq: message.modSeq, flags: message.flags };
}

/**
 * System flags in their usual case and order, then keywords in the case the mailbox first saw;
 * no doubles, no \Recent.
 */
export function normaliseFlags(mailbox: FakeMailbox, flags: readonly string[]): readonly string[] {
  // Reversed, so that of several spellings the first stays.
  const wanted = new Map([...flags].reverse().map((flag) => [flag.toLowerCase(), flag]));
  const result = systemFlags.filter((flag) => wanted.has(flag.toLowerCase()));
  for (const [lower, flag] of wanted) {
    if (flag.startsWith("\\")) continue;
    let known = mailbox.keywords.find((keyword) => keyword.toLowerCase() === lower);
    if (known === undefined) mailbox.keywords.push((known = flag));
    result.push(known);
  }
  return result;
}

export function quotaOf(account: FakeAccount): Quota {
  const all = [...account.mailboxes.values()].flatMap(({ messages }) => messages);
  return {
    usedBytes: all.reduce((sum, { body }) => sum + body.length, 0),
    usedMessages: all.length,
    limitBytes: account.quotaBytes,
    limitMessages: account.quotaMessages,
  };
}

/** @throws MailError OVER_QUOTA when the messages don't fit; exactly the limit fits. */
export function checkQuota(account: FakeAccount, sizes: readonly number[]): void {
  const { usedBytes, usedMessages, limitBytes, limitMessages } = quotaOf(account);
  const bytes = sizes.reduce((sum, size) => sum + size, usedBytes);
  if (limitBytes > 0 && bytes > limitBytes) throw new MailError({ code: "OVER_QUOTA", limitBytes });
  if (limitMessages > 0 && usedMessages + sizes.length > limitMessages) {
    throw new MailError({ code: "OVER_QUOTA", limitMessages });
  }
}

/** Tells the watchers of the mailbox, or all of the account when the event names none. */
export function tell(account: FakeAccount, event: MailboxEvent): void {
  for (const { mailboxes, queue } of account.watchers) {
    const forAll = event.kind === "list" || event.kind === "revoked" || mailboxes === "all";
    if (forAll || mailboxes.has(event.mailbox)) queue.push(event);
  }
}

export function tellChange(account: FakeAccount, mailbox: FakeMailbox): void {
  tell(account, { kind: "mailbox", mailbox: mailbox.id, highestModSeq: mailbox.highestModSeq });
}
