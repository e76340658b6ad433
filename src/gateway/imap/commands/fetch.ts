// FETCH and UID FETCH. RFC 9051 §6.4.5, §6.4.9; RFC 7162 §3.1.4 (CHANGEDSINCE), §3.2.6 (VANISHED)

import { enableCondstore } from "../condstore.ts";
import { command, onlySelected, selectedOf } from "../command.ts";
import type { Command } from "../command.ts";
import { FetchAnswer } from "../fetch-answer.ts";
import { answerFlags, isOfFlags } from "../flags-answer.ts";
import { writeVanishedEarlier } from "../qresync.ts";
import { bad, ok } from "../reply.ts";
import type { Reply } from "../reply.ts";
import { writeFlagState } from "../responses.ts";
import type { Selected } from "../selected.ts";
import type { Session } from "../session.ts";
import { parseFetch } from "../syntax/fetch-items.ts";
import type { FetchPlan } from "../syntax/fetch-items.ts";
import { parseSequenceSet } from "../syntax/sequence-set.ts";
import { partOfSet, resolveSet, SequenceWalk } from "../view.ts";
import { modSeq, uidMax } from "../../../mail/ids.ts";
import type { FetchItems } from "../../../mail/mail-store.ts";
import { uidSetFromSorted } from "../../../mail/uid-set.ts";
import type { UidSet } from "../../../mail/uid-set.ts";

export const fetch = fetching("FETCH", false);
export const uidFetch = fetching("UID FETCH", true);

function fetching(name: string, byUid: boolean): Command {
  return command({
    name,
    states: onlySelected,
    sync: byUid ? "all" : "noExpunge",
    parse(cursor, session) {
      cursor.space();
      const set = parseSequenceSet(cursor);
      cursor.space();
      const plan = parseFetch(cursor, byUid);
      if (plan.vanished && !session.qresync) cursor.fail("QRESYNC is not enabled");
      return { set, plan };
    },
    async run(session, { set, plan }): Promise<Reply> {
      const selected = selectedOf(session);
      const uids = resolveSet(selected.view, set, byUid, session.saved);
      if (uids === undefined) return bad("A message number is too large");
      if (plan.items.modSeq === true) enableCondstore(session);
      if (plan.vanished) await tellVanished(session, selected, uids, plan);
      const wanted =
        plan.partial === undefined ? uids : partOfSet(selected.view, uids, plan.partial);
      if (wanted.length === 0) return ok(`${name} completed`);
      if (isOfFlags(plan.items)) {
        await answerFlags(session, selected, wanted, plan);
        return ok(`${name} completed`);
      }
      const unseen = await answerFetch(session, selected, wanted, plan);
      if (unseen.length > 0) await setSeen(session, selected, unseen, byUid);
      return ok(`${name} completed`);
    },
  });
}

/** Streams the messages; gives the UIDs that are to get \Seen. */
export async function answerFetch(
  session: Session,
  selected: Selected,
  uids: UidSet,
  plan: FetchPlan,
): Promise<readonly number[]> {
  const { out, signal, services } = session;
  const findUnseen = plan.setsSeen && !selected.readOnly;
  const items: FetchItems = findUnseen ? { ...plan.items, flags: true } : plan.items;
  const chunks = services.store.fetch(
    session.principal,
    {
      mailbox: selected.id,
      uids,
      items,
      ...(plan.changedSince === undefined ? {} : { changedSince: plan.changedSince }),
      ...(session.rev2 ? {} : { recentFrom: selected.recentFrom }),
    },
    signal,
  );
  const fetched = new FetchAnswer(out, selected.view, {
    showUid: plan.uid || session.qresync,
    uidOnly: session.uidOnly,
    findUnseen,
    showFlags: plan.items.flags === true,
  });
  try {
    for await (const chunk of chunks) {
      fetched.write(chunk);
      // RFC 9051 §7: a slow reader stops its own FETCH, and with it the disk.
      if (out.full) await out.drained(signal);
    }
  } catch (error) {
    // Inside a literal nothing can be said any more.
    if (fetched.insideMessage) session.breakOff();
    throw error;
  }
  return fetched.unseen;
}

/** RFC 9051 §6.4.5: BODY[] sets \Seen, and the client is told. */
async function setSeen(
  session: Session,
  selected: Selected,
  unseen: readonly number[],
  byUid: boolean,
): Promise<void> {
  const outcome = await session.services.store.store(
    session.principal,
    {
      mailbox: selected.id,
      uids: uidSetFromSorted(unseen),
      mode: "add",
      flags: ["\\Seen"],
      ...session.change(),
    },
    session.signal,
  );
  const walk = new SequenceWalk(selected.view);
  const uid = byUid || session.qresync || session.rev2;
  for (const state of outcome.stored) {
    const sequence = walk.sequenceOf(state.uid);
    if (sequence === 0) continue;
    const recent = !session.rev2 && selected.isRecent(state.uid);
    writeFlagState(session, sequence, state, { uid, flags: true, recent });
  }
  selected.noteOwnChange(outcome.highestModSeq, outcome.changed === true, outcome.stored);
}

/** RFC 7162 §3.2.6: what has gone from the set since CHANGEDSINCE. */
async function tellVanished(
  session: Session,
  selected: Selected,
  uids: UidSet,
  plan: FetchPlan,
): Promise<void> {
  const changes = await session.services.store.changes(
    session.principal,
    {
      mailbox: selected.id,
      sinceModSeq: modSeq(plan.changedSince ?? 0),
      knownUidNext: uidMax,
    },
    session.signal,
  );
  writeVanishedEarlier(session, selected.view, changes.vanished, uids);
}
