// Object ids of messages, made of what never changes about them, so that nothing is kept for them.
// RFC 8474 §5

import { createHash } from "node:crypto";
import { messageIdsIn } from "../mail/message-ids.ts";
import { EnvelopeReader } from "../mail/sort-envelope.ts";
import type { Columns } from "./columns.ts";
import type { StaticRow } from "./static-row.ts";

/** EMAILID: the name of the body, which all copies share. RFC 8474 §5.1 */
export function emailIdOf(columns: Columns, at: number): string {
  return `M${bodyName(columns, at)}`;
}

/**
 * THREADID: the oldest message that References, or else In-Reply-To, names, and the message's own id
 * when it answers none. So a thread has one id in all mailboxes, and it is known from the message
 * alone. RFC 8474 §5.2
 */
export function threadIdOf(row: StaticRow, columns: Columns, at: number): string {
  const root =
    first(row.references ?? "") ?? first(inReplyTo(row.envelope)) ?? first(row.messageId);
  if (root === undefined) return `T${bodyName(columns, at)}`;
  return `T${createHash("sha256").update(root).digest("hex").slice(0, 32)}`;
}

const envelopeReader = new EnvelopeReader();

function inReplyTo(envelope: Buffer): string {
  envelopeReader.moveTo(envelope, 0);
  return envelopeReader.text("inReplyTo") ?? "";
}

function first(text: string): string | undefined {
  return text === "" ? undefined : messageIdsIn(text, 1)[0];
}

function bodyName({ bodyTag, bodyLsn }: Columns, at: number): string {
  const tag = bodyTag[at] ?? 0;
  return `${tag >>> 16}-${bodyLsn[at] ?? 0}-${tag & 0xffff}`;
}
