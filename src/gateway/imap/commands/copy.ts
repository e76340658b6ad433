// COPY, MOVE and their UID forms. RFC 9051 §6.4.7, §6.4.8; RFC 4315 §3 (COPYUID)

import { command, onlySelected, selectedOf } from "../command.ts";
import type { Command } from "../command.ts";
import { parseMailbox } from "../names.ts";
import { bad, no, ok } from "../reply.ts";
import type { Reply } from "../reply.ts";
import { writeUntaggedOk } from "../responses.ts";
import type { Selected } from "../selected.ts";
import type { Session } from "../session.ts";
import { parseSequenceSet } from "../syntax/sequence-set.ts";
import { resolveSet, slicesOfSet } from "../view.ts";
import type { CopyOutcome } from "../../../mail/mail-store.ts";
import { uidSetFromSorted, uidSetText } from "../../../mail/uid-set.ts";
import type { UidSet } from "../../../mail/uid-set.ts";

export const copy = copying("COPY", "copy", false);
export const uidCopy = copying("UID COPY", "copy", true);
export const move = copying("MOVE", "move", false);
export const uidMove = copying("UID MOVE", "move", true);

function copying(name: string, verb: "copy" | "move", byUid: boolean): Command {
  return command({
    name,
    states: onlySelected,
    silent: true,
    missing: "TRYCREATE",
    parse(cursor, session) {
      cursor.space();
      const set = parseSequenceSet(cursor);
      cursor.space();
      const target = parseMailbox(cursor, session);
      cursor.end();
      return { set, target };
    },
    async run(session, { set, target }): Promise<Reply> {
      const selected = selectedOf(session);
      if (verb === "move" && selected.readOnly) return no("The mailbox is read-only", "READ-ONLY");
      const uids = resolveSet(selected.view, set, byUid, session.saved);
      if (uids === undefined) return bad("A message number is too large");
      const targetName = target();
      if (targetName === selected.name) selected.markStale();
      if (verb === "move") return moveAll(session, selected, name, uids, targetName);
      const request = { mailbox: selected.id, uids, target: targetName, ...session.change() };
      const { store } = session.services;
      const outcome = await store.copy(session.principal, request, session.signal);
      return ok(`${name} completed`, copyUidCodes([outcome])[0]);
    },
  });
}

/**
 * RFC 6851 §3.3: a MOVE may fail partway through its set, each message being moved or not. So very many
 * go in several changes, since one is an entry of the log, which has a limit.
 */
async function moveAll(
  session: Session,
  selected: Selected,
  name: string,
  uids: UidSet,
  target: string,
): Promise<Reply> {
  const { services, principal, signal, out, limits } = session;
  const outcomes: CopyOutcome[] = [];
  let failure: { readonly error: unknown } | undefined;
  for (const part of slicesOfSet(selected.view, uids, limits.changedAtOnceMax)) {
    const request = { mailbox: selected.id, uids: part, target, ...session.change() };
    try {
      outcomes.push(await services.store.move(principal, request, signal));
    } catch (error) {
      failure = { error };
      break;
    }
  }
  // RFC 9051 §6.4.8: COPYUID comes before the EXPUNGEs.
  const codes = copyUidCodes(outcomes);
  for (const code of codes) writeUntaggedOk(out, code, "Moved");
  for (const { from, highestModSeq } of outcomes) {
    selected.expunged(session, uidSetFromSorted(from), highestModSeq);
  }
  if (failure !== undefined) throw failure.error;
  return codes.length > 0 && session.qresync
    ? ok(`${name} completed`, `HIGHESTMODSEQ ${outcomes.at(-1)?.highestModSeq ?? 0}`)
    : ok(`${name} completed`);
}

/** One for all that went to the same mailbox; none when nothing was copied: RFC 4315 §3 has no empty sets. */
function copyUidCodes(outcomes: readonly CopyOutcome[]): readonly string[] {
  const copies = new Map<number, { from: number[]; to: number[] }>();
  for (const { uidValidity, from, to } of outcomes) {
    const known = copies.get(uidValidity);
    if (known === undefined) copies.set(uidValidity, { from: [...from], to: [...to] });
    else {
      for (const uid of from) known.from.push(uid);
      for (const uid of to) known.to.push(uid);
    }
  }
  return Array.from(copies).flatMap(([uidValidity, { from, to }]) =>
    from.length === 0 ? [] : [`COPYUID ${uidValidity} ${setText(from)} ${setText(to)}`],
  );
}

function setText(uids: readonly number[]): string {
  return uidSetText(uidSetFromSorted(uids));
}
