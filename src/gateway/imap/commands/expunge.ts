// EXPUNGE and UID EXPUNGE. RFC 9051 §6.4.3, §6.4.9, RFC 7162 §3.2.9 (HIGHESTMODSEQ)

import { command, noArguments, onlySelected, selectedOf } from "../command.ts";
import { no, ok } from "../reply.ts";
import type { Reply } from "../reply.ts";
import type { Selected } from "../selected.ts";
import type { Session } from "../session.ts";
import { parseSequenceSet } from "../syntax/sequence-set.ts";
import { resolveSet, slicesOfSet } from "../view.ts";
import type { ExpungeOutcome } from "../../../mail/mail-store.ts";
import { allUids } from "../../../mail/uid-set.ts";
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
  let code: string | undefined;
  await expungeInParts(session, selected, uids, ({ expunged, highestModSeq }) => {
    if (expunged.length > 0 && session.qresync) code = `HIGHESTMODSEQ ${highestModSeq}`;
    selected.expunged(session, expunged, highestModSeq);
  });
  return ok("EXPUNGE completed", code);
}

/**
 * Removes messages with \Deleted; very many in several changes, since one is an entry of the log, which
 * has a limit.
 * @param uids Of these; undefined: of all, also of those that the client has not been told of yet.
 */
export async function expungeInParts(
  session: Session,
  selected: Selected,
  uids: UidSet | undefined,
  done: (outcome: ExpungeOutcome) => void,
): Promise<void> {
  const { services, principal, signal, limits } = session;
  const parts = slicesOfSet(selected.view, uids ?? allUids, limits.changedAtOnceMax);
  const isWhole = uids === undefined && parts.length === 1;
  for (const part of parts) {
    const named = isWhole ? {} : { uids: part };
    const request = { mailbox: selected.id, ...named, ...session.change() };
    done(await services.store.expunge(principal, request, signal));
  }
}
