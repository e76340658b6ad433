// Answers a FETCH of FLAGS and MODSEQ alone, rendered here from the columns that the store gives: what
// most clients ask of the whole mailbox when they begin. No object, string or promise per message.
// RFC 9051 §7.5.2, RFC 7162 §3.1.4

import type { FlagColumns } from "../../mail/flag-columns.ts";
import type { FetchItems } from "../../mail/mail-store.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import type { Selected } from "./selected.ts";
import type { Session } from "./session.ts";
import type { FetchPlan } from "./syntax/fetch-items.ts";
import { SequenceWalk } from "./view.ts";

/** Other sessions have their turn after so many, about two milliseconds. */
const sliceMessages = 16_384;

/** True when nothing but FLAGS, MODSEQ and UID is asked for. */
export function isOfFlags(items: FetchItems): boolean {
  return Object.entries(items).every(
    ([name, wanted]) => name === "flags" || name === "modSeq" || wanted === false,
  );
}

/** @throws MailError as MailStore.flags */
export async function answerFlags(
  session: Session,
  selected: Selected,
  uids: UidSet,
  { items, changedSince, uid }: FetchPlan,
): Promise<void> {
  const columns = await session.services.store.flags(
    session.principal,
    {
      mailbox: selected.id,
      uids,
      ...(changedSince === undefined ? {} : { changedSince }),
      wantModSeqs: items.modSeq === true,
    },
    session.signal,
  );
  const lines = new FlagLines(session, selected, columns, {
    flags: items.flags === true,
    uid: uid || session.qresync,
  });
  const { out, signal } = session;
  for (let from = 0; from < columns.uids.length; from += sliceMessages) {
    if (from > 0) await nextTurn();
    lines.write(from, Math.min(columns.uids.length, from + sliceMessages));
    if (out.full) await out.drained(signal);
  }
}

interface Shown {
  readonly flags: boolean;
  readonly uid: boolean;
}

class FlagLines {
  readonly #session: Session;
  readonly #columns: FlagColumns;
  readonly #shown: Shown;
  readonly #walk: SequenceWalk;
  /** UIDs from here on are shown with \Recent. */
  readonly #recentFrom: number;
  /** What comes behind the UID, by flag list: without and with \Recent. */
  readonly #plain: (Buffer | undefined)[] = [];
  readonly #recent: (Buffer | undefined)[] = [];

  constructor(session: Session, selected: Selected, columns: FlagColumns, shown: Shown) {
    this.#session = session;
    this.#columns = columns;
    this.#shown = { ...shown, uid: shown.uid && !session.uidOnly };
    this.#walk = new SequenceWalk(selected.view);
    this.#recentFrom = session.rev2 ? Number.POSITIVE_INFINITY : selected.recentFrom;
  }

  write(from: number, behind: number): void {
    const { out, uidOnly } = this.#session;
    const { uids, which, modSeqs } = this.#columns;
    const withModSeqs = modSeqs.length > 0;
    const withUid = this.#shown.uid;
    for (let at = from; at < behind; at++) {
      const uid = uids[at] ?? 0;
      const sequence = this.#walk.sequenceOf(uid);
      if (sequence === 0) continue; // The client has not been told of it.
      const rest = this.#restOf(which[at] ?? 0, uid >= this.#recentFrom);
      out.fetchStart(uidOnly ? uid : sequence, uidOnly, withUid ? uid : 0);
      out.range(rest, 0, rest.length);
      if (withModSeqs) out.number(modSeqs[at] ?? 0).text("))\r\n");
    }
  }

  #restOf(list: number, recent: boolean): Buffer {
    const known = recent ? this.#recent : this.#plain;
    return (known[list] ??= this.#makeRest(list, recent));
  }

  /** ` FLAGS (\Seen)`, and what comes up to the MODSEQ or the end of the line. */
  #makeRest(list: number, recent: boolean): Buffer {
    const items: string[] = [];
    if (this.#shown.flags) {
      const flags = this.#columns.lists[list] ?? [];
      items.push(`FLAGS (${(recent ? [...flags, "\\Recent"] : flags).join(" ")})`);
    }
    const end = this.#columns.modSeqs.length > 0;
    if (end) items.push("MODSEQ (");
    const text = (this.#shown.uid ? ["", ...items] : items).join(" ");
    return Buffer.from(end ? text : `${text})\r\n`, "latin1");
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
