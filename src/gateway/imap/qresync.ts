// Quick resynchronisation at SELECT: what has gone and what has changed since the client was last
// here. RFC 7162 §3.2.5, §3.2.6

import { modSeq, uidMax } from "../../mail/ids.ts";
import type { MailboxChanges } from "../../mail/mail-store.ts";
import { uidSetIntersection } from "../../mail/uid-set-algebra.ts";
import { uidSetFromRanges, uidSetHas, uidSetText } from "../../mail/uid-set.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import { writeFlagState } from "./responses.ts";
import type { Selected } from "./selected.ts";
import type { Session } from "./session.ts";
import { SP } from "./syntax/characters.ts";
import type { Cursor } from "./syntax/cursor.ts";
import { parseSequenceSet, starValue } from "./syntax/sequence-set.ts";
import { SequenceWalk } from "./view.ts";
import type { View } from "./view.ts";

export interface QresyncParameter {
  readonly uidValidity: number;
  readonly modSeq: number;
  /** UIDs the client knows; absent: all. */
  readonly known: UidSet | undefined;
}

/** `(uidvalidity modseq [known-uids] [(sequences uids)])`, from the space behind QRESYNC. */
export function parseQresync(cursor: Cursor, uidOnly: boolean): QresyncParameter {
  cursor.space();
  if (!cursor.open()) cursor.fail("expected QRESYNC parameters");
  const uidValidity = cursor.number();
  cursor.space();
  const since = cursor.number(Number.MAX_SAFE_INTEGER);
  let known: UidSet | undefined;
  while (cursor.skip(SP)) {
    if (cursor.open()) {
      // RFC 9586 §3.2
      if (uidOnly) cursor.fail("message numbers can't be used", "UIDREQUIRED");
      // RFC 7162 §3.2.5.2: a hint to shorten VANISHED; ours is exact without it.
      parseSequenceSet(cursor);
      cursor.space();
      parseSequenceSet(cursor);
      if (!cursor.close()) cursor.fail("sequence match data is not closed");
    } else {
      known = knownUids(cursor);
    }
  }
  if (!cursor.close()) cursor.fail("QRESYNC parameters are not closed");
  return { uidValidity, modSeq: since, known };
}

function knownUids(cursor: Cursor): UidSet | undefined {
  const set = parseSequenceSet(cursor);
  // RFC 7162 §7 known-uids: neither `*` nor `$`.
  if (set.kind === "saved" || set.ranges.includes(starValue)) {
    cursor.fail("known UIDs must be numbers");
    return undefined;
  }
  return setOfRanges(set.ranges);
}

/**
 * What has happened since the client was last here; undefined when its UIDVALIDITY is another, or when
 * there is nothing to tell. Messages that went while it was asked leave the view, which the client has
 * not been told yet: it could not know their UIDs, and its numbers would be wrong.
 */
export async function changesSinceKept(
  session: Session,
  selected: Selected,
  { uidValidity, modSeq: since }: QresyncParameter,
): Promise<MailboxChanges | undefined> {
  if (uidValidity !== selected.uidValidity || since >= selected.highestModSeq) return undefined;
  const changes = await session.services.store.changes(
    session.principal,
    { mailbox: selected.id, sinceModSeq: modSeq(since), knownUidNext: uidMax },
    session.signal,
  );
  selected.view.remove(changes.vanished, () => {});
  return changes;
}

/** Sends VANISHED (EARLIER) and the changed messages. RFC 7162 §3.2.5.1 */
export function tellResynchronised(
  session: Session,
  selected: Selected,
  changes: MailboxChanges,
  { known }: QresyncParameter,
): void {
  writeVanishedEarlier(session, selected.view, changes.vanished, known);
  const walk = new SequenceWalk(selected.view);
  for (const states of [changes.changed, changes.added]) {
    for (const state of states) {
      if (known !== undefined && !uidSetHas(known, state.uid)) continue;
      const sequence = walk.sequenceOf(state.uid);
      // Messages that came behind the opening are told with the next EXISTS.
      if (sequence === 0) continue;
      const recent = !session.rev2 && selected.isRecent(state.uid);
      selected.learnKeywords(session, state.flags);
      writeFlagState(session, sequence, state, { uid: true, flags: true, recent });
    }
  }
}

/** `* VANISHED (EARLIER) set`: those of `wanted` that are gone and were gone when the view was taken. */
export function writeVanishedEarlier(
  session: Session,
  view: View,
  vanished: UidSet,
  wanted: UidSet | undefined,
): void {
  const gone = withoutView(
    wanted === undefined ? vanished : uidSetIntersection(vanished, wanted),
    view,
  );
  if (gone.length === 0) return;
  session.out.text("* VANISHED (EARLIER) ").text(uidSetText(gone)).text("\r\n");
}

function withoutView(set: UidSet, view: View): UidSet {
  const rest: number[] = [];
  for (let i = 0; i < set.length; i += 2) {
    let low = set[i] ?? 0;
    const high = set[i + 1] ?? 0;
    for (let at = view.lowerBound(low); at < view.count; at++) {
      const present = view.uidAt(at + 1);
      if (present > high) break;
      if (present > low) rest.push(low, present - 1);
      low = present + 1;
    }
    if (low <= high) rest.push(low, high);
  }
  return rest;
}

function setOfRanges(ranges: readonly number[]): UidSet {
  const pairs: [number, number][] = [];
  for (let i = 0; i < ranges.length; i += 2) pairs.push([ranges[i] ?? 0, ranges[i + 1] ?? 0]);
  return uidSetFromRanges(pairs);
}
