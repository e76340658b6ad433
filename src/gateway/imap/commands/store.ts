// STORE and UID STORE, with UNCHANGEDSINCE. RFC 9051 §6.4.6, RFC 7162 §3.1.3

import { enableCondstore } from "../condstore.ts";
import { command, onlySelected, selectedOf } from "../command.ts";
import type { Command } from "../command.ts";
import { bad, no, ok } from "../reply.ts";
import type { Reply } from "../reply.ts";
import { writeFlagState } from "../responses.ts";
import type { Selected } from "../selected.ts";
import type { Session } from "../session.ts";
import { openParen, SP } from "../syntax/characters.ts";
import type { Cursor } from "../syntax/cursor.ts";
import { parseFlags } from "../syntax/flags.ts";
import { parseSequenceSet } from "../syntax/sequence-set.ts";
import type { SequenceSet } from "../syntax/sequence-set.ts";
import { resolveSet, SequenceWalk } from "../view.ts";
import type { StoreOutcome, StoreRequest } from "../../../mail/mail-store.ts";
import { uidSetFromSorted, uidSetText } from "../../../mail/uid-set.ts";
import type { UidSet } from "../../../mail/uid-set.ts";

export const store = storing("STORE", false);
export const uidStore = storing("UID STORE", true);

interface Arguments {
  readonly set: SequenceSet;
  readonly unchangedSince: number | undefined;
  readonly mode: StoreRequest["mode"];
  readonly silent: boolean;
  readonly flags: readonly string[];
}

function storing(name: string, byUid: boolean): Command {
  return command({
    name,
    states: onlySelected,
    silent: true,
    sync: byUid ? "all" : "noExpunge",
    parse: parseStore,
    async run(session, { set, unchangedSince, mode, silent, flags }): Promise<Reply> {
      const selected = selectedOf(session);
      if (selected.readOnly) return no("The mailbox is read-only", "READ-ONLY");
      const uids = resolveSet(selected.view, set, byUid, session.saved);
      if (uids === undefined) return bad("A message number is too large");
      if (unchangedSince !== undefined) enableCondstore(session);
      if (uids.length === 0) return ok(`${name} completed`);
      const outcome = await session.services.store.store(
        session.principal,
        {
          mailbox: selected.id,
          uids,
          mode,
          flags,
          ...(unchangedSince === undefined ? {} : { unchangedSince }),
          ...session.change(),
        },
        session.signal,
      );
      tellStored(session, selected, outcome, byUid, silent);
      return outcome.modified.length === 0
        ? ok(`${name} completed`)
        : ok(`${name} completed, some were not changed`, modifiedCode(selected, outcome, byUid));
    },
  });
}

function tellStored(
  session: Session,
  selected: Selected,
  outcome: StoreOutcome,
  byUid: boolean,
  silent: boolean,
): void {
  const walk = new SequenceWalk(selected.view);
  const uid = byUid || session.qresync || session.rev2;
  for (const state of outcome.stored) {
    const sequence = walk.sequenceOf(state.uid);
    if (sequence === 0) continue;
    selected.learnKeywords(session, state.flags);
    // RFC 7162 §3.1.3: with CONDSTORE the MODSEQ is told even when .SILENT.
    if (silent && !session.condstore) continue;
    const recent = !session.rev2 && selected.isRecent(state.uid);
    writeFlagState(session, sequence, state, { uid, flags: !silent, recent });
  }
  const { highestModSeq, changed, stored } = outcome;
  selected.noteOwnChange(highestModSeq, changed === true, stored, !silent);
}

/** RFC 7162 §3.1.3 MODIFIED: UIDs or sequence numbers, as the command had them. */
function modifiedCode(selected: Selected, { modified }: StoreOutcome, byUid: boolean): string {
  if (byUid) return `MODIFIED ${uidSetText(modified)}`;
  return `MODIFIED ${uidSetText(sequencesOf(selected, modified))}`;
}

function sequencesOf({ view }: Selected, uids: UidSet): UidSet {
  const sequences: number[] = [];
  for (let i = 0; i < uids.length; i += 2) {
    const behind = view.lowerBound((uids[i + 1] ?? 0) + 1);
    for (let at = view.lowerBound(uids[i] ?? 0); at < behind; at++) sequences.push(at + 1);
  }
  return uidSetFromSorted(sequences);
}

function parseStore(cursor: Cursor): Arguments {
  cursor.space();
  const set = parseSequenceSet(cursor);
  cursor.space();
  const unchangedSince = cursor.peek() === openParen ? parseModifier(cursor) : undefined;
  const mode = cursor.skip(0x2b) ? "add" : cursor.skip(0x2d) ? "remove" : "replace";
  const item = cursor.itemName();
  if (item !== "FLAGS" && item !== "FLAGS.SILENT") cursor.fail("expected FLAGS or FLAGS.SILENT");
  if (!cursor.skip(SP) && cursor.peek() !== openParen) cursor.fail("expected flags");
  const flags = parseFlags(cursor, true);
  cursor.end();
  return { set, unchangedSince, mode, silent: item === "FLAGS.SILENT", flags };
}

/** `(UNCHANGEDSINCE n) `. */
function parseModifier(cursor: Cursor): number | undefined {
  let unchangedSince: number | undefined;
  cursor.list(() => {
    if (cursor.word() !== "UNCHANGEDSINCE") return cursor.fail("unknown STORE modifier");
    cursor.space();
    unchangedSince = cursor.number(Number.MAX_SAFE_INTEGER);
  });
  cursor.space();
  return unchangedSince;
}
