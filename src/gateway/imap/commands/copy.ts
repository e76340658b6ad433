// COPY, MOVE and their UID forms. RFC 9051 §6.4.7, §6.4.8; RFC 4315 §3 (COPYUID)

import { command, onlySelected, selectedOf } from "../command.ts";
import type { Command } from "../command.ts";
import { parseMailbox } from "../names.ts";
import { bad, no, ok } from "../reply.ts";
import type { Reply } from "../reply.ts";
import { writeUntaggedOk } from "../responses.ts";
import { parseSequenceSet } from "../syntax/sequence-set.ts";
import { resolveSet } from "../view.ts";
import type { CopyOutcome } from "../../../mail/mail-store.ts";
import { uidSetFromSorted, uidSetText } from "../../../mail/uid-set.ts";

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
      const request = { ...session.change(), mailbox: selected.id, uids, target: targetName };
      const { store } = session.services;
      const outcome = await store[verb](session.principal, request, session.signal);
      if (targetName === selected.name) selected.markStale();
      const code = copyUidCode(outcome);
      if (verb === "copy") return ok(`${name} completed`, code);
      // RFC 9051 §6.4.8: COPYUID comes before the EXPUNGEs.
      if (code !== undefined) writeUntaggedOk(session.out, code, "Moved");
      selected.expunged(session, uidSetFromSorted(outcome.from), outcome.highestModSeq);
      return code !== undefined && session.qresync
        ? ok(`${name} completed`, `HIGHESTMODSEQ ${outcome.highestModSeq}`)
        : ok(`${name} completed`);
    },
  });
}

/** Undefined when nothing was copied: RFC 4315 §3 has no empty sets. */
function copyUidCode({ uidValidity, from, to }: CopyOutcome): string | undefined {
  if (from.length === 0) return undefined;
  return `COPYUID ${uidValidity} ${setText(from)} ${setText(to)}`;
}

function setText(uids: readonly number[]): string {
  return uidSetText(uidSetFromSorted(uids));
}
