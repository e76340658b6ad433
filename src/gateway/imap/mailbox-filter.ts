// Which mailboxes a client means: `personal`, `subtree "x"` and their like, of ESEARCH IN (…).
// RFC 5465 §6, RFC 7377 §2.2

import type { MailboxInfo, MailboxListing } from "../../mail/mail-store.ts";
import { parseMailbox } from "./names.ts";
import type { MailboxArgument } from "./names.ts";
import type { Session } from "./session.ts";
import { openParen } from "./syntax/characters.ts";
import type { Cursor } from "./syntax/cursor.ts";

export type MailboxFilter =
  | { readonly kind: "selected" | "inboxes" | "personal" | "subscribed" }
  | {
      readonly kind: "subtree" | "subtreeOne" | "mailboxes";
      readonly names: readonly MailboxArgument[];
    };

/** One filter; a fault when there is none of that name. */
export function parseMailboxFilter(cursor: Cursor, session: Session): MailboxFilter {
  const word = cursor.word();
  switch (word) {
    case "SELECTED":
      return { kind: "selected" };
    case "INBOXES":
      return { kind: "inboxes" };
    case "PERSONAL":
      return { kind: "personal" };
    case "SUBSCRIBED":
      return { kind: "subscribed" };
    case "SUBTREE":
      return { kind: "subtree", names: parseNames(cursor, session) };
    case "SUBTREE-ONE":
      return { kind: "subtreeOne", names: parseNames(cursor, session) };
    case "MAILBOXES":
      return { kind: "mailboxes", names: parseNames(cursor, session) };
    default:
      cursor.fail("unknown mailbox filter");
      return { kind: "mailboxes", names: [] };
  }
}

/** `name` or `(name name)`. */
function parseNames(cursor: Cursor, session: Session): readonly MailboxArgument[] {
  cursor.space();
  if (cursor.peek() !== openParen) return [parseMailbox(cursor, session)];
  const names: MailboxArgument[] = [];
  const count = cursor.list(() => names.push(parseMailbox(cursor, session)));
  if (count === 0) cursor.fail("no mailboxes named");
  return names;
}

/**
 * The selectable mailboxes that match any of the filters, each once, in the order of the listing.
 * Names of which there is no mailbox match nothing (RFC 7377 §5: not to be told from those that may
 * not be seen). @throws MailError BAD_MAILBOX_NAME
 */
export function chooseMailboxes(
  { mailboxes }: MailboxListing,
  filters: readonly MailboxFilter[],
  selectedName: string | undefined,
): readonly MailboxInfo[] {
  const tests = filters.map((filter) => testOf(filter, selectedName));
  return mailboxes.filter((info) => info.selectable && tests.some((test) => test(info)));
}

function testOf(
  filter: MailboxFilter,
  selectedName: string | undefined,
): (info: MailboxInfo) => boolean {
  switch (filter.kind) {
    case "selected":
      return ({ name }) => name === selectedName;
    case "inboxes":
      // RFC 5465 §6.3: where mail may be delivered to.
      return ({ name }) => name === "INBOX";
    case "personal":
      return () => true;
    case "subscribed":
      return ({ subscribed }) => subscribed;
    case "mailboxes": {
      const names = new Set(filter.names.map((name) => name()));
      return ({ name }) => names.has(name);
    }
    case "subtree": {
      const roots = filter.names.map((name) => name());
      return ({ name }) => roots.some((root) => name === root || name.startsWith(`${root}/`));
    }
    case "subtreeOne": {
      const roots = new Set(filter.names.map((name) => name()));
      return ({ name }) => roots.has(name) || roots.has(name.slice(0, name.lastIndexOf("/")));
    }
  }
}
