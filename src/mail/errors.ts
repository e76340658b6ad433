// The world's failures (full disk, lost peer, unknown user) as one union of codes, each with its
// facts. Protocol front-ends turn a code into their reply in one function each; links carry it as is.

import type { Epoch, MailboxId, ShardId } from "./ids.ts";

export type MailFailure =
  | { readonly code: "NO_SUCH_ACCOUNT" }
  | { readonly code: "ACCOUNT_DISABLED" }
  /** The request's credVersion is older than the registration's: verify the password again. */
  | { readonly code: "STALE_CREDENTIALS" }
  | { readonly code: "NAME_TAKEN"; readonly name: string }
  | { readonly code: "NO_SUCH_MAILBOX"; readonly mailbox: string | MailboxId }
  | { readonly code: "MAILBOX_EXISTS"; readonly mailbox: string }
  | { readonly code: "MAILBOX_HAS_CHILDREN"; readonly mailbox: string }
  /** A name that can never be a mailbox (too long, too deep, control characters), or INBOX where it can't be. */
  | { readonly code: "BAD_MAILBOX_NAME"; readonly mailbox: string; readonly why: string }
  /** The mailbox was deleted or made anew while it was open; or, with `why`, is not what the caller knew. */
  | { readonly code: "MAILBOX_GONE"; readonly mailbox: MailboxId; readonly why?: string }
  | { readonly code: "OVER_QUOTA"; readonly limitBytes?: number; readonly limitMessages?: number }
  | { readonly code: "LIMIT"; readonly limit: string; readonly most: number }
  | { readonly code: "NO_PERMISSION"; readonly why: string }
  /** Another session holds the maildrop. RFC 1939 §8 */
  | { readonly code: "IN_USE" }
  /** This member is not, or no longer, the shard's primary. */
  | { readonly code: "WRONG_NODE"; readonly shard: ShardId; readonly epoch?: Epoch }
  /** Not enough copies can be made now; whether the change is stored is unknown, a retry with the same opId is safe. */
  | { readonly code: "REPLICA_UNREACHABLE"; readonly shard?: ShardId }
  /** The member that should answer can't be reached or did not answer in time. */
  | { readonly code: "UNAVAILABLE"; readonly why: string }
  | { readonly code: "DISK_FULL" }
  | { readonly code: "BAD_CHARSET"; readonly charset: string }
  /** A body part has a transfer encoding that can't be undone. RFC 3516 §4.3 */
  | { readonly code: "UNKNOWN_ENCODING" }
  /** Stored bytes failed their checksum on every copy. */
  | { readonly code: "DAMAGED"; readonly what: string }
  /** A queue or another bounded resource is full. */
  | { readonly code: "BUSY"; readonly what: string }
  | { readonly code: "CONFLICT"; readonly why: string }
  | { readonly code: "INVALID"; readonly why: string };

export type MailErrorCode = MailFailure["code"];

/** A failure of the world, thrown; never a client's bad syntax and never our own bug. */
export class MailError extends Error {
  readonly failure: MailFailure;
  constructor(failure: MailFailure, options?: ErrorOptions) {
    super(describe(failure), options);
    this.name = "MailError";
    this.failure = failure;
  }
  get code(): MailErrorCode {
    return this.failure.code;
  }
}

/** True when `error` is a MailError, with that code when one is given. */
export function isMailError(error: unknown, code?: MailErrorCode): error is MailError {
  return error instanceof MailError && (code === undefined || error.code === code);
}

function describe(failure: MailFailure): string {
  const { code, ...facts } = failure;
  const text = Object.entries(facts)
    .map(([key, value]) => `${key}=${String(value)}`)
    .join(" ");
  return text === "" ? code : `${code} ${text}`;
}
