// REPLACE and UID REPLACE: a new message takes the place of an old one, in one change. RFC 8508

import { Appending, parseFirstStretch } from "../appending.ts";
import { command, onlySelected, selectedOf } from "../command.ts";
import type { Command } from "../command.ts";
import { parseMailbox } from "../names.ts";
import { bad, no, ok } from "../reply.ts";
import type { Reply } from "../reply.ts";
import { writeUntaggedOk } from "../responses.ts";
import { parseSequenceSet } from "../syntax/sequence-set.ts";
import { resolveSet } from "../view.ts";
import { uid } from "../../../mail/ids.ts";

export const replace = replacing("REPLACE", false);
export const uidReplace = replacing("UID REPLACE", true);

function replacing(name: string, byUid: boolean): Command {
  return command({
    name,
    states: onlySelected,
    missing: "TRYCREATE",
    parse(cursor, session) {
      cursor.space();
      const set = parseSequenceSet(cursor);
      // RFC 8508 §6: one message.
      if (set.kind !== "ranges" || set.ranges.length !== 2 || set.ranges[0] !== set.ranges[1]) {
        cursor.fail("expected one message number");
      }
      cursor.space();
      const mailbox = parseMailbox(cursor, session);
      return { set, mailbox, first: parseFirstStretch(cursor, session) };
    },
    async run(session, { set, mailbox, first }): Promise<Reply> {
      const selected = selectedOf(session);
      if (selected.readOnly) return no("The mailbox is read-only", "READ-ONLY");
      const uids = resolveSet(selected.view, set, byUid, session.saved);
      if (uids === undefined) return bad("The message number is too large");
      const [old] = uids;
      if (old === undefined || selected.view.sequenceOf(old) === 0) {
        return no("There is no such message", "NONEXISTENT");
      }
      const appending = new Appending(session, mailbox(), 1);
      const refusal = await appending.receive(first);
      if (refusal !== undefined) return refusal;
      const outcome = await appending.store({ mailbox: selected.id, uid: uid(old) });
      // RFC 8508 §3.3: APPENDUID before the EXPUNGE, so in a line of its own.
      writeUntaggedOk(
        session.out,
        `APPENDUID ${outcome.uidValidity} ${outcome.uids.join(",")}`,
        "Replacement stored",
      );
      selected.expunged(session, [old, old], outcome.highestModSeq ?? selected.highestModSeq);
      return ok(`${name} completed`);
    },
  });
}
