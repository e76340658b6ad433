// The arguments of NOTIFY: which events of which mailboxes. Pure. RFC 5465 §5, §6, §8

import type { MailboxFilter } from "../mailbox-filter.ts";
import { parseMailboxFilter } from "../mailbox-filter.ts";
import type { Session } from "../session.ts";
import { openParen, SP } from "./characters.ts";
import type { Cursor } from "./cursor.ts";
import { parseFetchList } from "./fetch-items.ts";
import type { FetchPlan } from "./fetch-items.ts";

export interface NotifyEvents {
  readonly messageNew: boolean;
  /** What is told of each new message of the selected mailbox. RFC 5465 §5.2 */
  readonly items: FetchPlan | undefined;
  readonly messageExpunge: boolean;
  readonly flagChange: boolean;
  readonly mailboxName: boolean;
  readonly subscriptionChange: boolean;
  readonly mailboxMetadata: boolean;
  readonly serverMetadata: boolean;
}

export type NotifyFilter =
  /** `delayed`: EXPUNGE only where a command allows it. RFC 5465 §6.1, §6.2 */
  | { readonly kind: "selected"; readonly delayed: boolean }
  | { readonly kind: "others"; readonly filter: MailboxFilter };

export interface NotifyGroup {
  readonly filter: NotifyFilter;
  readonly events: NotifyEvents;
}

export interface NotifyRequest {
  /** STATUS of each mailbox before the OK. */
  readonly status: boolean;
  /** None: the client wants to hear nothing. */
  readonly groups: readonly NotifyGroup[];
  /** An event was named that there is none of. */
  readonly badEvent: boolean;
}

/** For BADEVENT. RFC 5465 §5 */
export const eventNames =
  "MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange " +
  "MailboxMetadataChange ServerMetadataChange";

const groupsMax = 64;

const noEvents: NotifyEvents = {
  messageNew: false,
  items: undefined,
  messageExpunge: false,
  flagChange: false,
  mailboxName: false,
  subscriptionChange: false,
  mailboxMetadata: false,
  serverMetadata: false,
};

/** ` SET [STATUS] (filter events) …` or ` NONE`. */
export function parseNotify(cursor: Cursor, session: Session): NotifyRequest {
  const groups: NotifyGroup[] = [];
  let status = false;
  let badEvent = false;
  cursor.space();
  const verb = cursor.word();
  if (verb !== "NONE") {
    if (verb !== "SET") cursor.fail("expected SET or NONE");
    cursor.space();
    if (cursor.peekWord() === "STATUS") {
      cursor.word();
      cursor.space();
      status = true;
    }
    do {
      if (groups.length >= groupsMax) cursor.fail(`more than ${groupsMax} event groups`);
      const { group, known } = parseGroup(cursor, session);
      groups.push(group);
      badEvent ||= !known;
    } while (cursor.ok && cursor.skip(SP) && !cursor.atEnd);
  }
  cursor.end();
  const selected = groups.filter(({ filter }) => filter.kind === "selected");
  // RFC 5465 §6.2
  if (selected.length > 1) cursor.fail("SELECTED or SELECTED-DELAYED may be given once");
  return { status, groups, badEvent };
}

function parseGroup(
  cursor: Cursor,
  session: Session,
): { readonly group: NotifyGroup; readonly known: boolean } {
  if (!cursor.open()) cursor.fail("expected an event group in parentheses");
  const filter = parseFilter(cursor, session);
  cursor.space();
  const { events, known } = parseEvents(cursor);
  if (!cursor.close()) cursor.fail("event group is not closed");
  checkGroup(cursor, filter, events);
  return { group: { filter, events }, known };
}

function parseFilter(cursor: Cursor, session: Session): NotifyFilter {
  switch (cursor.peekWord()) {
    case "SELECTED":
      cursor.word();
      return { kind: "selected", delayed: false };
    case "SELECTED-DELAYED":
      cursor.word();
      return { kind: "selected", delayed: true };
    default:
      return { kind: "others", filter: parseMailboxFilter(cursor, session) };
  }
}

/** `NONE`, or `(MessageNew (UID) MessageExpunge)`. */
function parseEvents(cursor: Cursor): { readonly events: NotifyEvents; readonly known: boolean } {
  if (cursor.peek() !== openParen) {
    if (cursor.word() !== "NONE") cursor.fail("expected events or NONE");
    return { events: noEvents, known: true };
  }
  const events = { ...noEvents };
  let known = true;
  const count = cursor.list(() => {
    switch (cursor.word()) {
      case "MESSAGENEW":
        events.messageNew = true;
        if (cursor.peek() === SP && cursor.bytes[cursor.at + 1] === openParen) {
          cursor.space();
          events.items = parseFetchList(cursor);
        }
        return;
      case "MESSAGEEXPUNGE":
        events.messageExpunge = true;
        return;
      case "FLAGCHANGE":
        events.flagChange = true;
        return;
      case "MAILBOXNAME":
        events.mailboxName = true;
        return;
      case "SUBSCRIPTIONCHANGE":
        events.subscriptionChange = true;
        return;
      case "MAILBOXMETADATACHANGE":
        events.mailboxMetadata = true;
        return;
      case "SERVERMETADATACHANGE":
        events.serverMetadata = true;
        return;
      default:
        known = false;
    }
  });
  if (count === 0) cursor.fail("no events named");
  return { events, known };
}

function checkGroup(cursor: Cursor, filter: NotifyFilter, events: NotifyEvents): void {
  const { messageNew, messageExpunge, flagChange } = events;
  // RFC 5465 §5: these two go together, and the other message events need them.
  if (messageNew !== messageExpunge) {
    cursor.fail("MessageNew and MessageExpunge must be given together");
  } else if (flagChange && !messageNew) {
    cursor.fail("FlagChange needs MessageNew and MessageExpunge");
  }
  if (filter.kind === "others") {
    if (events.items !== undefined) cursor.fail("attributes are for the selected mailbox alone");
    return;
  }
  const { mailboxName, subscriptionChange, mailboxMetadata, serverMetadata } = events;
  if (mailboxName || subscriptionChange || mailboxMetadata || serverMetadata) {
    cursor.fail("the selected mailbox has message events alone");
  }
}
