// The selected mailbox of a session: what the client knows of it (view, MODSEQ, keywords), what has
// happened since, and when it may be told. RFC 9051 §7.5.1: EXPUNGE only where sequence numbers may
// shift; everything else at the next opportunity. Leaves the asking to the commands.

import type { MailboxId, ModSeq } from "../../mail/ids.ts";
import { MailError } from "../../mail/errors.ts";
import { modSeq } from "../../mail/ids.ts";
import type {
  FlagState,
  MailboxChanges,
  MailboxEvent,
  OpenMailbox,
} from "../../mail/mail-store.ts";
import { noUids, uidSetFromRanges, uidSetFromSorted, uidSetText } from "../../mail/uid-set.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import { SearchContexts } from "./search-contexts.ts";
import { writeFlags, writeFlagState, writeUntaggedOk } from "./responses.ts";
import type { Session } from "./session.ts";
import { systemFlags } from "./syntax/flags.ts";
import { SequenceWalk, View } from "./view.ts";
import { watchMailbox } from "./watch.ts";

export interface SyncOptions {
  /** RFC 9051 §7.5.1: false while FETCH, STORE or SEARCH (not their UID forms) are answered. */
  readonly expunge: boolean;
  /** Ask the store even when no event has come (NOOP, CHECK, IDLE). */
  readonly force?: boolean;
  /** False when the client does not want to hear of changed flags. RFC 5465 §5.3 */
  readonly flags?: boolean;
}

export class Selected {
  readonly id: MailboxId;
  /** As at SELECT, or as this session renamed it. */
  #name: string;
  readonly readOnly: boolean;
  /** RFC 4314 §4: which flags may be changed here; absent: all. */
  readonly #rights: string | undefined;
  readonly uidValidity: number;
  readonly view: View;
  /** UIDs from here on are \Recent for this session. RFC 3501 §2.3.2 */
  readonly recentFrom: number;
  /** Searches that are kept up to date. RFC 5267 §4.3 */
  readonly contexts = new SearchContexts();
  /** Called when a watch event says that there is something to learn. */
  onMoved: (() => void) | undefined;

  readonly #keywords: Map<string, string>;
  /** The client knows everything up to here, but for `#untold`. */
  #modSeq: ModSeq;
  #uidNext: number;
  /** The highest MODSEQ that events have named. */
  #movedTo = 0;
  #stale = false;
  /** The primary is out of reach: nothing is asked until it is back. */
  #away = false;
  #onAway: (() => void) | undefined;
  /** Messages that are gone, while the client may not be told. */
  #untold: UidSet = noUids;
  /** UID to MODSEQ of flag changes that this session made and has answered. */
  #own: Map<number, number> | undefined;
  /** This session's own DELETE of the mailbox runs, or ran and it is gone. */
  #deletion: "none" | "running" | "gone" = "none";
  #watch: AbortController | undefined;

  constructor(open: OpenMailbox, readOnly: boolean) {
    this.id = open.info.id;
    this.#name = open.info.name;
    this.readOnly = readOnly;
    this.#rights = open.info.rights;
    this.uidValidity = open.info.uidValidity;
    this.view = new View(open.uids);
    this.recentFrom = firstRecent(open);
    this.#keywords = new Map(open.keywords.map((keyword) => [keyword.toLowerCase(), keyword]));
    this.#modSeq = open.info.highestModSeq;
    this.#uidNext = open.info.uidNext;
  }

  get name(): string {
    return this.#name;
  }
  get highestModSeq(): ModSeq {
    return this.#modSeq;
  }
  get uidNext(): number {
    return this.#uidNext;
  }
  get keywords(): Iterable<string> {
    return this.#keywords.values();
  }
  /** True while expunged messages still have sequence numbers here. */
  get hasUntold(): boolean {
    return this.#untold.length > 0;
  }
  recentCount(): number {
    return this.view.count - this.view.lowerBound(this.recentFrom);
  }
  isRecent(uid: number): boolean {
    return uid >= this.recentFrom;
  }

  /** Stops watching. */
  close(): void {
    this.#watch?.abort();
    this.#watch = undefined;
    this.onMoved = undefined;
  }

  /** This session renamed a mailbox. RFC 9051 §6.3.6: INBOX stays, and its messages move out. */
  renamed(from: string, to: string): void {
    if (this.#name === "INBOX") this.#stale = true;
    else if (this.#name === from) this.#name = to;
    else if (this.#name.startsWith(`${from}/`)) this.#name = to + this.#name.slice(from.length);
  }

  /**
   * Runs this session's own deletion of the mailbox, which must not look like somebody else's: that
   * ends the session, also when ours was refused because of it. Behind any other refusal all is as before.
   */
  async deleteBy(session: Session, deletion: () => Promise<void>): Promise<void> {
    this.#deletion = "running";
    try {
      await deletion();
    } catch (error) {
      const gone = this.#isGone();
      this.#deletion = "none";
      if (gone) this.#tellDeleted(session);
      throw error;
    }
  }

  /** Something changed that the events may not have told yet. */
  markStale(): void {
    this.#stale = true;
  }

  /**
   * A change of this session was answered, and the mailbox's MODSEQ was `highest` behind it. When
   * that is the very next one, and the change's own, nothing else came between, and the answers
   * already tell it all.
   *
   * @param isOwn The request changed something, so `highest` is its own.
   * @param answered States of the messages that it concerned.
   * @param told The client has been told those. RFC 9051 §6.4.6: .SILENT hides no change of another
   *   session; when something came between, they may have more in them than the client asked for.
   */
  noteOwnChange(
    highest: ModSeq,
    isOwn: boolean,
    answered: readonly FlagState[] = [],
    told = true,
  ): void {
    if (highest <= this.#modSeq) return;
    const alone = isOwn && highest === this.#modSeq + 1;
    // Searches that are kept up to date must hear of own changes, too.
    if (alone && this.contexts.isEmpty) {
      this.#modSeq = highest;
      return;
    }
    this.#stale = true;
    if (!alone && !told) return;
    this.#own ??= new Map();
    for (const state of answered) this.#own.set(state.uid, state.modSeq);
  }

  /**
   * Tells the client what has happened, as far as it may be told now.
   * @throws MailError UNAVAILABLE at once while the primary is away: the news come later
   */
  async sync(session: Session, options: SyncOptions): Promise<void> {
    if (this.#watch === undefined) {
      // Watching begins with the first command behind SELECT, so a short visit costs nothing.
      this.#startWatch(session);
      this.#stale = true;
    }
    let changes: MailboxChanges | undefined;
    if (this.#stale || options.force === true || this.#movedTo > this.#modSeq) {
      this.#stale = false;
      try {
        changes = await this.#ask(session);
      } catch (error) {
        this.#stale = true;
        if (options.expunge) this.#tellExpunged(session);
        throw error;
      }
      this.#untold = union(this.#untold, changes.vanished);
    }
    if (options.expunge) this.#tellExpunged(session);
    if (changes !== undefined) this.#tellChanges(session, changes, options.flags ?? true);
    if (this.contexts.isEmpty) return;
    const touched = [...(changes?.added ?? []), ...(changes?.changed ?? [])].map(({ uid }) => uid);
    await this.contexts.tellChanged(session, this.id, this.view, touched);
  }

  /** The difference to what the client knows. Nobody waits for a primary that is lost meanwhile. */
  #ask(session: Session): Promise<MailboxChanges> {
    if (this.#away) return Promise.reject(awayError());
    return new Promise((resolve, reject) => {
      const known = {
        mailbox: this.id,
        sinceModSeq: this.#modSeq,
        knownUidNext: this.#uidNext,
        uidValidity: this.uidValidity,
      };
      const settled = (): void => {
        this.#onAway = undefined;
      };
      this.#onAway = () => reject(awayError());
      session.services.store
        .changes(session.principal, known, session.signal)
        .finally(settled)
        .then(resolve, reject);
    });
  }

  /** Takes messages out at once: the answer to this session's own EXPUNGE or MOVE. */
  expunged(session: Session, gone: UidSet, highest: ModSeq): void {
    this.noteOwnChange(highest, gone.length > 0);
    this.#untold = union(this.#untold, gone);
    this.#tellExpunged(session);
  }

  /** Announces keywords that the client has not seen in FLAGS yet. RFC 9051 §7.3.5 */
  learnKeywords(session: Session, flags: readonly string[]): void {
    let news = false;
    for (const flag of flags) {
      const lower = flag.toLowerCase();
      if (flag.startsWith("\\") || this.#keywords.has(lower)) continue;
      this.#keywords.set(lower, flag);
      news = true;
    }
    if (news) this.writeKnownFlags(session);
  }

  /** FLAGS and PERMANENTFLAGS. RFC 9051 §6.3.2 */
  writeKnownFlags(session: Session): void {
    const { out } = session;
    const flags = [...systemFlags, ...this.#keywords.values()];
    out.text("* FLAGS (");
    writeFlags(out, flags, false);
    out.text(")\r\n");
    const permanent = this.readOnly ? "" : permanentFlags(flags, this.#rights).join(" ");
    writeUntaggedOk(out, `PERMANENTFLAGS (${permanent})`, "Kept for ever");
  }

  writeExists(session: Session): void {
    const { out } = session;
    out.text("* ").number(this.view.count).text(" EXISTS\r\n");
    // RFC 9051 §E: IMAP4rev2 has no RECENT.
    if (!session.rev2) out.text("* ").number(this.recentCount()).text(" RECENT\r\n");
  }

  #tellExpunged(session: Session): void {
    if (this.#untold.length === 0) return;
    const gone = this.#untold;
    this.#untold = noUids;
    this.contexts.tellExpunged(session, this.view, gone);
    const { out } = session;
    if (session.qresync || session.uidOnly) {
      const uids: number[] = [];
      this.view.remove(gone, (_sequence, uid) => uids.push(uid));
      // RFC 7162 §3.2.10, RFC 9586 §3.4: VANISHED instead of EXPUNGE.
      if (uids.length > 0) {
        out
          .text("* VANISHED ")
          .text(uidSetText(uidSetFromSorted(uids)))
          .text("\r\n");
      }
      return;
    }
    let before = 0;
    this.view.remove(gone, (sequence) => {
      // Each EXPUNGE shifts the numbers behind it. RFC 9051 §7.5.1
      out
        .text("* ")
        .number(sequence - before++)
        .text(" EXPUNGE\r\n");
    });
  }

  #tellChanges(session: Session, changes: MailboxChanges, flags: boolean): void {
    const own = this.#own;
    this.#own = undefined;
    const countBefore = this.view.count;
    for (const { uid } of changes.added) this.view.add(uid);
    this.#modSeq = modSeq(Math.max(this.#modSeq, changes.highestModSeq));
    this.#uidNext = Math.max(this.#uidNext, changes.uidNext);
    for (const { flags } of changes.added) this.learnKeywords(session, flags);
    if (this.view.count !== countBefore) this.writeExists(session);
    // Numbers that are wrong would be worse than a session that has to begin anew.
    if (this.#untold.length === 0 && this.view.count !== changes.messages) {
      session.services.log.error(
        { mailbox: this.id, known: this.view.count, messages: changes.messages },
        "imap view differs from its mailbox",
      );
      session.endWith("[UNAVAILABLE] The selected mailbox is not what it was, select it again");
    }
    if (!flags) return;
    const walk = new SequenceWalk(this.view);
    for (const state of changes.changed) {
      const sequence = walk.sequenceOf(state.uid);
      if (sequence === 0 || own?.get(state.uid) === state.modSeq) continue;
      this.tellFlags(session, sequence, state);
    }
  }

  /** An unsolicited FETCH. RFC 9051 §7.5.2: with the UID; so does RFC 7162 §3.2.4. */
  tellFlags(session: Session, sequence: number, state: FlagState): void {
    this.learnKeywords(session, state.flags);
    writeFlagState(session, sequence, state, {
      uid: session.rev2 || session.qresync,
      flags: true,
      recent: !session.rev2 && this.isRecent(state.uid),
    });
  }

  #startWatch(session: Session): void {
    this.#watch = watchMailbox(session, this.id, {
      // What was asked for before the node listened may be older than the first event, and what
      // happened while it did not listen was not told: look once more.
      listening: () => {
        this.#away = false;
        if (this.#watch === undefined) return; // It listens at once: nothing was asked for yet.
        this.#stale = true;
        this.onMoved?.();
      },
      event: (event) => this.#onEvent(session, event),
      interrupted: () => {
        this.#away = true;
        this.#stale = true;
        this.#onAway?.();
      },
    });
  }

  #onEvent(session: Session, event: MailboxEvent): void {
    switch (event.kind) {
      case "mailbox":
        this.#movedTo = Math.max(this.#movedTo, event.highestModSeq);
        if (this.#movedTo > this.#modSeq) this.onMoved?.();
        return;
      case "deleted":
        if (this.#deletion === "none") this.#tellDeleted(session);
        else this.#deletion = "gone";
        return;
      case "revoked":
        session.endWith("Log in again");
        return;
      case "list":
        return;
    }
  }

  #isGone(): boolean {
    return this.#deletion === "gone";
  }

  #tellDeleted(session: Session): void {
    session.endWith("The selected mailbox was deleted");
  }
}

/** RFC 4314 §4: `s` for \Seen, `t` for \Deleted, `w` for the others and new keywords. */
function permanentFlags(flags: readonly string[], rights: string | undefined): readonly string[] {
  const all = [...flags, "\\*"];
  if (rights === undefined) return all;
  const rightFor = (flag: string): string =>
    flag === "\\Seen" ? "s" : flag === "\\Deleted" ? "t" : "w";
  return all.filter((flag) => rights.includes(rightFor(flag)));
}

function awayError(): MailError {
  return new MailError({ code: "UNAVAILABLE", why: "the mailbox is moving" });
}

/** EXAMINE claims nothing, but shows what is \Recent: the last `info.recent` messages. RFC 3501 §6.3.2 */
export function firstRecent({ recentFrom, uids, info }: OpenMailbox): number {
  if (recentFrom > 0) return recentFrom;
  return info.recent > 0 ? (uids[uids.length - info.recent] ?? info.uidNext) : info.uidNext;
}

function union(a: UidSet, b: UidSet): UidSet {
  if (a.length === 0) return b;
  if (b.length === 0) return a;
  const pairs: [number, number][] = [];
  for (const set of [a, b]) {
    for (let i = 0; i < set.length; i += 2) pairs.push([set[i] ?? 0, set[i + 1] ?? 0]);
  }
  return uidSetFromRanges(pairs);
}
