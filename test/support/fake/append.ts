// APPEND and REPLACE on the fake's mailboxes: all or nothing.

import { MailError } from "../../../src/mail/errors.ts";
import type { AppendOutcome, AppendRequest } from "../../../src/mail/mail-store.ts";
import { addMessages, checkQuota, removeMessages, tellChange } from "./account.ts";
import type { FakeAccount, NewMessage } from "./account.ts";
import { mailboxById, mailboxNamed } from "./mailbox-tree.ts";

export function appendMessages(
  account: FakeAccount,
  request: AppendRequest,
  news: readonly NewMessage[],
): AppendOutcome {
  const mailbox = mailboxNamed(account, request.mailbox);
  const { replaces } = request;
  const from = replaces && mailboxById(account, replaces.mailbox);
  const old = from?.messages.find(({ uid }) => uid === replaces?.uid);
  if (replaces !== undefined && old === undefined) {
    throw new MailError({ code: "INVALID", why: "the message to replace is gone" });
  }
  if (old === undefined) {
    checkQuota(
      account,
      news.map(({ body }) => body.length),
    );
  }
  const added = addMessages(mailbox, news);
  tellChange(account, mailbox);
  const outcome = {
    mailbox: mailbox.id,
    uidValidity: mailbox.uidValidity,
    uids: added.map(({ uid }) => uid),
  };
  if (old === undefined || from === undefined) return outcome;
  removeMessages(from, new Set([old]));
  tellChange(account, from);
  return { ...outcome, highestModSeq: from.highestModSeq };
}
