// Renders the ENVELOPE of a header. Which header, and where the bytes are kept, is the indexer's
// business.

import { parseAddressList } from "./address-list.ts";
import type { HeaderValues } from "./header-values.ts";
import type { ImapWriter } from "./imap-writer.ts";
import { oneLine } from "./imap-writer.ts";
import type { MimeBudget } from "./limits.ts";
import { mimeLimits } from "./limits.ts";

/**
 * Writes `(date subject from sender reply-to to cc bcc in-reply-to message-id)`.
 * Encoded words stay as they are; 8-bit text goes as literals. RFC 9051 §7.5.2, RFC 3501 §7.4.2
 */
export function writeEnvelope(out: ImapWriter, header: HeaderValues, budget: MimeBudget): void {
  out.text("(");
  writeLine(out, header.date);
  out.text(" ");
  writeLine(out, header.subject);
  out.text(" ");
  const start = out.length;
  writeAddresses(out, header.from, budget);
  const end = out.length;
  // RFC 9051 §7.5.2: Sender and Reply-To that are absent or empty are copies of From.
  for (const field of [header.sender, header.replyTo]) {
    out.text(" ");
    if (field !== undefined && oneLine(field) !== "") writeAddresses(out, field, budget);
    else if (end - start > mimeLimits.repeatedAddressBytesMax) out.text("NIL");
    else out.repeat(start, end);
  }
  for (const field of [header.to, header.cc, header.bcc]) {
    out.text(" ");
    writeAddresses(out, field, budget);
  }
  out.text(" ");
  writeLine(out, header.inReplyTo);
  out.text(" ");
  writeLine(out, header.messageId);
  out.text(")");
}

function writeLine(out: ImapWriter, value: string | undefined): void {
  out.nstring(value === undefined ? undefined : oneLine(value));
}

function writeAddresses(out: ImapWriter, value: string | undefined, budget: MimeBudget): void {
  const list = value === undefined ? [] : parseAddressList(value, budget.addresses);
  budget.addresses = Math.max(0, budget.addresses - list.length);
  if (list.length === 0) {
    out.text("NIL");
    return;
  }
  out.text("(");
  for (const address of list) {
    switch (address.kind) {
      case "groupStart":
        // RFC 9051 §7.5.2: host NIL marks a group; the mailbox name field holds its name.
        out.text("(NIL NIL ");
        out.string(oneLine(address.name));
        out.text(" NIL)");
        break;
      case "groupEnd":
        out.text("(NIL NIL NIL NIL)");
        break;
      case "mailbox":
        out.text("(");
        writeLine(out, address.name);
        out.text(" ");
        out.nstring(address.route);
        out.text(" ");
        // NIL would read as a group, so missing pieces get Dovecot's words for them.
        out.string(address.local === "" ? "MISSING_MAILBOX" : oneLine(address.local));
        out.text(" ");
        out.string(address.host ?? "MISSING_DOMAIN");
        out.text(")");
        break;
    }
  }
  out.text(")");
}
