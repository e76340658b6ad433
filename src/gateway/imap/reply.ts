// Tagged replies, and the one answer that each failure of the world gets. RFC 9051 §7.1, RFC 5530

import { unreachable } from "../../lib/assert.ts";
import type { MailFailure } from "../../mail/errors.ts";

export interface Reply {
  readonly status: "OK" | "NO" | "BAD";
  /** Response code without brackets, e.g. `TRYCREATE`. */
  readonly code?: string;
  /** Never empty, ASCII, without CR and LF. */
  readonly text: string;
  /** The session ends behind this reply, with BYE. */
  readonly bye?: string;
  /** Runs once the reply is on its way. */
  readonly after?: () => Promise<void>;
}

export function ok(text: string, code?: string): Reply {
  return code === undefined ? { status: "OK", text } : { status: "OK", text, code };
}
export function no(text: string, code?: string): Reply {
  return code === undefined ? { status: "NO", text } : { status: "NO", text, code };
}
export function bad(text: string, code?: string): Reply {
  return code === undefined ? { status: "BAD", text } : { status: "BAD", text, code };
}

/**
 * The answer to a failure.
 * @param targetMissing The code for a mailbox that is not there: TRYCREATE for COPY, MOVE and
 *   APPEND (RFC 9051 §6.4.7), NONEXISTENT elsewhere.
 */
export function failureReply(
  failure: MailFailure,
  targetMissing: "TRYCREATE" | "NONEXISTENT" = "NONEXISTENT",
): Reply {
  switch (failure.code) {
    case "NO_SUCH_ACCOUNT":
      return ending("AUTHORIZATIONFAILED", "The account is gone");
    case "ACCOUNT_DISABLED":
      return ending("CONTACTADMIN", "The account is disabled");
    case "STALE_CREDENTIALS":
      return ending("EXPIRED", "The password has changed, log in again");
    case "NAME_TAKEN":
      return no("The name is taken", "ALREADYEXISTS");
    case "NO_SUCH_MAILBOX":
      return no("There is no such mailbox", targetMissing);
    case "MAILBOX_EXISTS":
      return no("There is such a mailbox already", "ALREADYEXISTS");
    case "MAILBOX_HAS_CHILDREN":
      return no("The mailbox has children and can't be deleted", "HASCHILDREN");
    case "BAD_MAILBOX_NAME":
      return no(`Not possible with this mailbox name: ${plain(failure.why)}`, "CANNOT");
    case "MAILBOX_GONE":
      // RFC 2180 §3.3: the session can't go on with a mailbox that is no more.
      return failure.why === undefined
        ? ending("NONEXISTENT", "The selected mailbox was deleted")
        : ending("UNAVAILABLE", "The selected mailbox is not what it was, select it again");
    case "OVER_QUOTA":
      return no(`Over quota${quotaFacts(failure)}`, "OVERQUOTA");
    case "LIMIT":
      return no(`Limit reached: ${plain(failure.limit)}, at most ${failure.most}`, "LIMIT");
    case "NO_PERMISSION":
      return no(`Not permitted: ${plain(failure.why)}`, "NOPERM");
    case "IN_USE":
      return no("In use by another session", "INUSE");
    case "WRONG_NODE":
    case "REPLICA_UNREACHABLE":
    case "UNAVAILABLE":
      return no("The mail store can't be reached now, try again", "UNAVAILABLE");
    case "DISK_FULL":
      return no("The mail store is full, try again later", "UNAVAILABLE");
    case "BUSY":
      return no("The server is busy, try again", "UNAVAILABLE");
    case "BAD_CHARSET":
      return no("The charset is not supported", badCharsetCode);
    case "UNKNOWN_ENCODING":
      // RFC 9051 §7.1: for BINARY; the items that could be had came before this reply.
      return no("The transfer encoding of a part is not known", "UNKNOWN-CTE");
    case "DAMAGED":
      return no("The stored data is damaged, the operator has to repair it", "CORRUPTION");
    case "CONFLICT":
      return no("Another change came in between, try again", "INUSE");
    case "INVALID":
      return no(`Not possible: ${plain(failure.why)}`, "CANNOT");
    default:
      return unreachable(failure);
  }
}

/** RFC 9051 §7.1 BADCHARSET, with the charsets that most clients ask for. */
export const badCharsetCode = "BADCHARSET (US-ASCII UTF-8 EUC-KR ISO-2022-KR ISO-8859-1)";

function ending(code: string, text: string): Reply {
  return { status: "NO", code, text, bye: text };
}

function quotaFacts(failure: { limitBytes?: number; limitMessages?: number }): string {
  if (failure.limitBytes !== undefined) return `, the limit is ${failure.limitBytes} bytes`;
  if (failure.limitMessages !== undefined) {
    return `, the limit is ${failure.limitMessages} messages`;
  }
  return "";
}

/** Facts that may come from elsewhere: no line ends, no 8-bit, no bracket that looks like a code. */
function plain(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?");
}
