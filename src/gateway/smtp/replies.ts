// What each failure is called in SMTP: the one place where a MailError becomes a reply.

import { unreachable } from "../../lib/assert.ts";
import { isMailError, type MailFailure } from "../../mail/errors.ts";

/** Full reply text, `451 4.3.2 …`. When unsure whether mail is safe: 4yz. RFC 5321 §4.2.1, RFC 3463 */
export function replyOf(failure: MailFailure): string {
  switch (failure.code) {
    case "NO_SUCH_ACCOUNT":
      return "550 5.1.1 No such user";
    case "ACCOUNT_DISABLED":
      return "550 5.2.1 Mailbox disabled";
    case "OVER_QUOTA":
      return "452 4.2.2 Mailbox full";
    case "DISK_FULL":
      return "452 4.3.1 Not enough disk space";
    case "LIMIT":
      return `552 5.3.4 More than ${failure.most} (${failure.limit})`;
    case "NO_PERMISSION":
      return "550 5.7.1 Not allowed";
    case "INVALID":
      return "554 5.6.0 Message refused";
    case "WRONG_NODE":
    case "REPLICA_UNREACHABLE":
    case "UNAVAILABLE":
      return "451 4.3.2 Mailbox can't be reached now, try again";
    case "BUSY":
      return "451 4.3.2 Too busy, try again";
    case "STALE_CREDENTIALS":
    case "NAME_TAKEN":
    case "NO_SUCH_MAILBOX":
    case "MAILBOX_EXISTS":
    case "MAILBOX_HAS_CHILDREN":
    case "BAD_MAILBOX_NAME":
    case "MAILBOX_GONE":
    case "IN_USE":
    case "BAD_CHARSET":
    case "UNKNOWN_ENCODING":
    case "DAMAGED":
    case "CONFLICT":
      return "451 4.3.0 Local error, try again";
    default:
      return unreachable(failure);
  }
}

/** As replyOf, for whatever was thrown: an unknown error is a temporary one. */
export function replyOfError(error: unknown): string {
  return isMailError(error) ? replyOf(error.failure) : "451 4.3.0 Local error, try again";
}
