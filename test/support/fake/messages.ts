// Changes of messages in the fake: delivery, flags, COPY and MOVE.

import { assert } from "../../../src/lib/assert.ts";
import { MailError } from "../../../src/mail/errors.ts";
import { uidSetHas } from "../../../src/mail/uid-set.ts";
import type {
  CopyOutcome,
  CopyRequest,
  DeliverOutcome,
  DeliverRecipient,
  DeliverRequest,
  StoreRequest,
} from "../../../src/mail/mail-store.ts";
import * as accounts from "./account.ts";
import type { FakeAccount, FakeMailbox, FakeMessage, NewMessage } from "./account.ts";
import { mailboxById, mailboxNamed } from "./mailbox-tree.ts";

/** Delivers to one recipient; what stands in the way is its outcome. */
export function deliverTo(
  account: FakeAccount | undefined,
  { shard, accepted }: Pick<DeliverRequest, "shard" | "accepted">,
  recipient: DeliverRecipient,
  message: NewMessage,
): DeliverOutcome {
  try {
    if (account === undefined || account.row.state === "deleted") {
      throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    }
    if (account.row.state === "disabled") throw new MailError({ code: "ACCOUNT_DISABLED" });
    if (account.row.shard !== shard) throw new MailError({ code: "WRONG_NODE", shard });
    if (accepted !== true) accounts.checkQuota(account, [message.body.length]);
    const mailbox = namedOrInbox(account, recipient.mailbox);
    const [added] = accounts.addMessages(mailbox, [message]);
    assert(added !== undefined, "one message in, one message added");
    accounts.tellChange(account, mailbox);
    return { ok: true, mailbox: mailbox.id, uidValidity: mailbox.uidValidity, uid: added.uid };
  } catch (error) {
    if (error instanceof MailError) return { ok: false, failure: error.failure };
    throw error;
  }
}

/** STORE on `messages`; true when any changed. Only those get the new MODSEQ. */
export function applyFlags(
  mailbox: FakeMailbox,
  messages: readonly FakeMessage[],
  request: StoreRequest,
): boolean {
  const changed = messages
    .map((message) => ({ message, flags: newFlags(mailbox, message, request) }))
    .filter(({ message, flags }) => flags.join(" ") !== message.flags.join(" "));
  if (changed.length === 0) return false;
  const at = accounts.bump(mailbox);
  for (const { message, flags } of changed) {
    message.flags = flags;
    message.modSeq = at;
  }
  return true;
}

export function copyMessages(
  account: FakeAccount,
  request: CopyRequest,
  nowMs: number,
): CopyOutcome {
  const source = mailboxById(account, request.mailbox);
  const target = mailboxNamed(account, request.target);
  const named = source.messages.filter(({ uid }) => uidSetHas(request.uids, uid));
  accounts.checkQuota(
    account,
    named.map(({ body }) => body.length),
  );
  return enter(account, source, target, named, nowMs);
}

export function moveMessages(
  account: FakeAccount,
  request: CopyRequest,
  nowMs: number,
): CopyOutcome {
  const source = mailboxById(account, request.mailbox);
  const target = mailboxNamed(account, request.target);
  const named = source.messages.filter(({ uid }) => uidSetHas(request.uids, uid));
  const outcome = enter(account, source, target, named, nowMs);
  accounts.removeMessages(source, new Set(named));
  if (named.length > 0) accounts.tellChange(account, source);
  return { ...outcome, highestModSeq: source.highestModSeq };
}

function enter(
  account: FakeAccount,
  source: FakeMailbox,
  target: FakeMailbox,
  messages: readonly FakeMessage[],
  nowMs: number,
): CopyOutcome {
  const added = accounts.addMessages(
    target,
    messages.map((message) => ({ ...message, savedMs: nowMs })),
  );
  if (added.length > 0) accounts.tellChange(account, target);
  return {
    uidValidity: target.uidValidity,
    from: messages.map(({ uid }) => uid),
    to: added.map(({ uid }) => uid),
    highestModSeq: source.highestModSeq,
  };
}

function newFlags(
  mailbox: FakeMailbox,
  message: FakeMessage,
  { mode, flags }: StoreRequest,
): readonly string[] {
  if (mode === "replace") return accounts.normaliseFlags(mailbox, flags);
  if (mode === "add") return accounts.normaliseFlags(mailbox, [...message.flags, ...flags]);
  const removed = new Set(flags.map((flag) => flag.toLowerCase()));
  return message.flags.filter((flag) => !removed.has(flag.toLowerCase()));
}

function namedOrInbox(account: FakeAccount, name: string | undefined): FakeMailbox {
  try {
    return mailboxNamed(account, name ?? "INBOX");
  } catch (error) {
    if (error instanceof MailError) return mailboxNamed(account, "INBOX");
    throw error;
  }
}
