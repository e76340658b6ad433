// What a watch tells, on the wire.

import { modSeq } from "../../mail/ids.ts";
import type { MailboxEvent } from "../../mail/mail-store.ts";
import { asMailboxId } from "./codec-values.ts";
import { asArray, asCount, malformed } from "./decode.ts";

const eventCodes = ["mailbox", "deleted", "list", "revoked"] as const;

/** A MailboxEvent as an item of a watch. */
export function encodeEvent(event: MailboxEvent): readonly unknown[] {
  const code = eventCodes.indexOf(event.kind);
  switch (event.kind) {
    case "mailbox":
      return [code, event.mailbox, event.highestModSeq];
    case "deleted":
      return [code, event.mailbox];
    default:
      return [code];
  }
}

/** An item of a watch. @throws {MailError} INVALID */
export function decodeEvent(head: unknown): MailboxEvent {
  const fields = asArray(head, "event");
  const kind = eventCodes[asCount(fields[0], "event")];
  switch (kind) {
    case "mailbox": {
      const highestModSeq = modSeq(asCount(fields[2], "modseq"));
      return { kind, mailbox: asMailboxId(fields[1]), highestModSeq };
    }
    case "deleted":
      return { kind, mailbox: asMailboxId(fields[1]) };
    case "list":
    case "revoked":
      return { kind };
    default:
      throw malformed("event");
  }
}
