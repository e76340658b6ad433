// APPEND with one or many messages, also put together from others (CATENATE). RFC 9051 §6.3.12,
// RFC 3502, RFC 4315, RFC 4469

import { Appending, parseFirstStretch } from "../appending.ts";
import { command, loggedIn } from "../command.ts";
import { parseMailbox } from "../names.ts";
import { ok } from "../reply.ts";
import { uidSetFromSorted, uidSetText } from "../../../mail/uid-set.ts";

export const append = command({
  name: "APPEND",
  states: loggedIn,
  missing: "TRYCREATE",
  parse(cursor, session) {
    cursor.space();
    const mailbox = parseMailbox(cursor, session);
    return { mailbox, first: parseFirstStretch(cursor, session) };
  },
  async run(session, { mailbox, first }) {
    const appending = new Appending(session, mailbox(), session.limits.appendMessagesMax);
    const refusal = await appending.receive(first);
    if (refusal !== undefined) return refusal;
    const outcome = await appending.store();
    // RFC 9051 §6.3.12: in the selected mailbox the new message is told at once.
    if (outcome.mailbox === session.selected?.id) session.selected.markStale();
    const uids = uidSetText(uidSetFromSorted(outcome.uids));
    return ok("APPEND completed", `APPENDUID ${outcome.uidValidity} ${uids}`);
  },
});
