// EXPUNGE and UID EXPUNGE. RFC 9051 §6.4.3, §6.4.9, RFC 7162 §3.2.9 (HIGHESTMODSEQ)

import { command, noArguments, onlySelected, selectedOf } from "../command.ts";
import { no, ok } from "../reply.ts";
import type { Reply } from "../reply.ts";
import type { Session } from "../session.ts";
import { parseSequenceSet } from "../syntax/sequence-set.ts";
import { resolveSet } from "../view.ts";
import type { UidSet } from "../../../mail/uid-set.ts";

export const expunge = command({
  name: "EXPUNGE",
  states: onlySelected,
  silent: true,
  parse: noArguments,
  run: (session) => remove(session, undefined),
});

export const uidExpunge = command({
  name: "UID EXPUNGE",
  states: onlySelected,
  silent: true,
  parse(cursor) {
    cursor.space();
    const set = parseSequenceSet(cursor);
    cursor.end();
    return set;
  },
  run: (session, set) =>
    remove(session, resolveSet(selectedOf(session).view, set, true, session.saved)),
});

async function remove(session: Session, uids: UidSet | undefined): Promise<Reply> {
  const selected = selectedOf(session);
  if (selected.readOnly) return no("The mailbox is read-only", "READ-ONLY");
  const request = {
    ...session.change(),
    mailbox: selected.id,
    ...(uids === undefined ? {} : { uids }),
  };
  const outcome = await session.services.store.expunge(session.principal, request, session.signal);
  selected.expunged(session, outcome.expunged, outcome.highestModSeq);
  return outcome.expunged.length > 0 && session.qresync
    ? ok("EXPUNGE completed", `HIGHESTMODSEQ ${outcome.highestModSeq}`)
    : ok("EXPUNGE completed");
}
