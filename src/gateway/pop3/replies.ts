// The one answer that each failure has in POP3, with the response codes of RFC 2449 §8 and RFC 3206.

import { unreachable } from "../../lib/assert.ts";
import type { MailFailure } from "../../mail/errors.ts";

/** `[AUTH]` is for wrong credentials only: clients ask for the password anew. RFC 3206 §5 */
export const wrongCredentials = "-ERR [AUTH] Wrong user name or password";

/**
 * The answer to a QUIT that failed, without its CRLF. RFC 1939 §6: the session ends all the same, so
 * the client must look again which messages are left.
 */
export function updateFailureReply(failure: MailFailure): string {
  const code = /^-ERR (\[[^\]]*\] )?/.exec(lostReply(failure))?.[1] ?? "";
  return `-ERR ${code}Some deleted messages may not be removed`;
}

/** The last word of a session whose maildrop is lost, without its CRLF: nothing was deleted. */
export function lostReply(failure: MailFailure): string {
  // RFC 2449 §8.1.2: [IN-USE] answers a login only.
  const { code } = failure;
  return code === "IN_USE" || code === "UNAVAILABLE" || code === "MAILBOX_GONE"
    ? "-ERR [SYS/TEMP] The maildrop was lost, log in again"
    : failureReply(failure);
}

/** A failure of the world as a `-ERR` line without its CRLF. */
export function failureReply(failure: MailFailure): string {
  switch (failure.code) {
    case "NO_SUCH_ACCOUNT":
    case "STALE_CREDENTIALS":
      return wrongCredentials;
    case "ACCOUNT_DISABLED":
      return "-ERR [SYS/PERM] This account is disabled";
    case "IN_USE":
      return "-ERR [IN-USE] Another session has the maildrop";
    case "INVALID":
    case "NO_SUCH_MAILBOX":
    case "MAILBOX_GONE":
      return "-ERR The message is gone, another session deleted it";
    case "DAMAGED":
      return "-ERR [SYS/PERM] The message can't be read";
    case "NO_PERMISSION":
      return "-ERR [SYS/PERM] Not permitted";
    case "WRONG_NODE":
    case "REPLICA_UNREACHABLE":
    case "UNAVAILABLE":
      return "-ERR [SYS/TEMP] The maildrop is moving, try again";
    case "DISK_FULL":
    case "BUSY":
      return "-ERR [SYS/TEMP] The server is short of room, try again later";
    case "OVER_QUOTA":
    case "LIMIT":
      return "-ERR [SYS/PERM] A limit is reached";
    case "NAME_TAKEN":
    case "MAILBOX_EXISTS":
    case "MAILBOX_HAS_CHILDREN":
    case "BAD_MAILBOX_NAME":
    case "BAD_CHARSET":
    case "UNKNOWN_ENCODING":
    case "CONFLICT":
      return "-ERR [SYS/TEMP] Internal trouble"; // POP3 asks for nothing that could lead here.
    default:
      return unreachable(failure);
  }
}
