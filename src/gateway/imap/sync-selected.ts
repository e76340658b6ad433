// Tells the client what has happened in its mailbox, in the way that its NOTIFY asks for: everything
// when it has sent none, else what the group of the selected mailbox names. RFC 5465 §6.1

import { answerFetch } from "./commands/fetch.ts";
import type { SyncOptions } from "./selected.ts";
import type { Session } from "./session.ts";

/** @throws MailError as Selected.sync */
export async function syncSelected(session: Session, options: SyncOptions): Promise<void> {
  const { selected, notify } = session;
  if (selected === undefined) return;
  if (notify === undefined) return selected.sync(session, options);
  const events = notify.selectedEvents;
  // RFC 5465 §3.1: after NOTIFY NONE, or without SELECTED, nothing is told by itself.
  if (events === undefined) return;
  const last = selected.view.lastUid;
  await selected.sync(session, { ...options, flags: events.flagChange });
  const { items } = events;
  const newest = selected.view.lastUid;
  // RFC 5465 §5.2: what the client wants to know of new messages, behind their EXISTS.
  if (items === undefined || newest <= last) return;
  await answerFetch(session, selected, [last + 1, newest], { ...items, setsSeen: false });
}
