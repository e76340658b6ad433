// Mailbox names between the client's form and ours: modified UTF-7 for IMAP4rev1, UTF-8 once the
// client has enabled it. What a name may be is mail/mailbox-name.ts's business. RFC 9051 §5.1

import { MailError } from "../../mail/errors.ts";
import {
  decodeModifiedUtf7,
  encodeModifiedUtf7,
  normaliseMailboxName,
} from "../../mail/mailbox-name.ts";
import { writeString } from "./responses.ts";
import type { Session } from "./session.ts";
import type { Cursor } from "./syntax/cursor.ts";

/** A name as parsed: whether it can be one is said when the command runs. */
export type MailboxArgument = () => string;

/** Parses an astring as a mailbox name. The result throws BAD_MAILBOX_NAME when it can't be one. */
export function parseMailbox(cursor: Cursor, session: Session): MailboxArgument {
  const text = cursor.astringText();
  const { utf8 } = session;
  return () => mailboxName(text, utf8);
}

/** Arguments of a command that has one mailbox name and nothing else. */
export function parseOnlyMailbox(cursor: Cursor, session: Session): MailboxArgument {
  cursor.space();
  const mailbox = parseMailbox(cursor, session);
  cursor.end();
  return mailbox;
}

/** The stored form of what a client sent. @throws MailError BAD_MAILBOX_NAME */
export function mailboxName(text: string, utf8: boolean): string {
  const decoded = utf8 ? text : decodeModifiedUtf7(text);
  if (decoded === undefined) {
    throw new MailError({
      code: "BAD_MAILBOX_NAME",
      mailbox: text,
      why: "it is not valid modified UTF-7",
    });
  }
  const result = normaliseMailboxName(decoded);
  if (result.ok) return result.name;
  throw new MailError({ code: "BAD_MAILBOX_NAME", mailbox: text, why: `it ${result.why}` });
}

/** Writes a name in the form that the client understands. */
export function writeMailbox(session: Session, name: string): void {
  const text = session.utf8 ? name : encodeModifiedUtf7(name);
  writeString(session.out, text, session.utf8);
}
