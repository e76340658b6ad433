// SEARCH and UID SEARCH, plain and with RETURN, and the saved result `$`. RFC 9051 §6.4.4, §7.3.4;
// RFC 4731 (ESEARCH), RFC 5182 (SEARCHRES), RFC 7162 §3.1.5 (MODSEQ)

import { enableCondstore } from "../condstore.ts";
import { command, onlySelected, selectedOf } from "../command.ts";
import type { Command } from "../command.ts";
import { badCharsetCode, no, ok } from "../reply.ts";
import type { Reply } from "../reply.ts";
import { writeString } from "../responses.ts";
import type { Selected } from "../selected.ts";
import type { Session } from "../session.ts";
import type { Cursor } from "../syntax/cursor.ts";
import { parseSearchProgram, uidsFrom } from "../syntax/search-program.ts";
import type { SearchContext, SearchProgram } from "../syntax/search-program.ts";
import { SequenceWalk } from "../view.ts";
import { charsetSupported, decodeCharset } from "../../../mail/charset/charset.ts";
import type { SearchOutcome } from "../../../mail/mail-store.ts";
import { noUids, uidSetFromSorted, uidSetText } from "../../../mail/uid-set.ts";

export const search = searching("SEARCH", false);
export const uidSearch = searching("UID SEARCH", true);

type ReturnOption = "MIN" | "MAX" | "ALL" | "COUNT" | "SAVE";

interface Arguments {
  /** Undefined: the answer is an untagged SEARCH (rev1) or ESEARCH ALL (rev2). */
  readonly returns: ReadonlySet<ReturnOption> | undefined;
  /** Undefined when the charset is not known: the program was not parsed. */
  readonly program: SearchProgram | undefined;
}

function searching(name: string, byUid: boolean): Command {
  return command({
    name,
    states: onlySelected,
    silent: true,
    sync: byUid ? "all" : "noExpunge",
    parse: parseSearch,
    async run(session, { returns, program }): Promise<Reply> {
      const selected = selectedOf(session);
      // RFC 9051 §6.4.4.1: a SAVE that fails leaves `$` empty.
      if (returns?.has("SAVE") === true) session.saved = noUids;
      if (program === undefined) return no("The charset is not supported", badCharsetCode);
      if (program.modSeq) enableCondstore(session);
      const outcome = await session.services.store.search(
        session.principal,
        { mailbox: selected.id, key: program.key, wantModSeq: program.modSeq },
        session.signal,
      );
      const found = matchesInView(selected, outcome);
      const results = byUid ? found.uids : found.sequences;
      if (returns?.has("SAVE") === true) session.saved = savedResult(found.uids, returns);
      const modSeqOf = found.uids.length > 0 ? outcome.highestModSeqOfResults : undefined;
      if (returns !== undefined || session.rev2) {
        writeEsearch(session, byUid, results, returns ?? new Set(["ALL"]), modSeqOf);
      } else {
        writeSearch(session, results, modSeqOf);
      }
      return ok(`${name} completed`);
    },
  });
}

/** The results that the client knows, as UIDs and as sequence numbers. */
function matchesInView(
  selected: Selected,
  { uids }: SearchOutcome,
): { readonly uids: readonly number[]; readonly sequences: readonly number[] } {
  const walk = new SequenceWalk(selected.view);
  const known: number[] = [];
  const sequences: number[] = [];
  for (const uid of uids) {
    const sequence = walk.sequenceOf(uid);
    if (sequence === 0) continue;
    known.push(uid);
    sequences.push(sequence);
  }
  return { uids: known, sequences };
}

/** `* SEARCH 2 84 882 (MODSEQ n)`. */
function writeSearch(
  { out }: Session,
  results: readonly number[],
  modSeqOf: number | undefined,
): void {
  out.text("* SEARCH");
  for (const result of results) out.text(" ").number(result);
  if (modSeqOf !== undefined) out.text(" (MODSEQ ").number(modSeqOf).text(")");
  out.text("\r\n");
}

/** RFC 9051 §7.3.4; nothing but the tag when only SAVE was asked for: then no response at all. */
function writeEsearch(
  session: Session,
  byUid: boolean,
  results: readonly number[],
  returns: ReadonlySet<ReturnOption>,
  modSeqOf: number | undefined,
): void {
  if (returns.size === 1 && returns.has("SAVE")) return;
  const { out } = session;
  out.text("* ESEARCH (TAG ");
  writeString(out, session.tag, false);
  out.text(byUid ? ") UID" : ")");
  const [first] = results;
  const last = results.at(-1);
  if (first !== undefined && last !== undefined) {
    if (returns.has("MIN")) out.text(" MIN ").number(first);
    if (returns.has("MAX")) out.text(" MAX ").number(last);
    if (returns.has("ALL")) out.text(" ALL ").text(uidSetText(uidSetFromSorted(results)));
  }
  if (returns.has("COUNT")) out.text(" COUNT ").number(results.length);
  if (modSeqOf !== undefined) out.text(" MODSEQ ").number(modSeqOf);
  out.text("\r\n");
}

/** RFC 5182 §2.4: with MIN or MAX alone only those are saved. */
function savedResult(
  uids: readonly number[],
  returns: ReadonlySet<ReturnOption>,
): readonly number[] {
  const wantsMin = returns.has("MIN");
  const wantsMax = returns.has("MAX");
  if (returns.has("ALL") || returns.has("COUNT") || !(wantsMin || wantsMax)) {
    return uidSetFromSorted(uids);
  }
  return uidSetFromSorted([
    ...(wantsMin ? uids.slice(0, 1) : []),
    ...(wantsMax ? uids.slice(-1) : []),
  ]);
}

function parseSearch(cursor: Cursor, session: Session): Arguments {
  cursor.space();
  const returns = cursor.peekWord() === "RETURN" ? parseReturn(cursor) : undefined;
  let charset = "utf-8";
  if (cursor.peekWord() === "CHARSET") {
    cursor.word();
    cursor.space();
    charset = cursor.astringText().toLowerCase();
    cursor.space();
    // RFC 6855 §3: CHARSET is no longer sent once UTF8=ACCEPT is enabled.
    if (session.utf8Accept) cursor.fail("CHARSET may not be used with UTF8=ACCEPT");
  }
  if (cursor.ok && !charsetSupported(charset)) return { returns, program: undefined };
  const context = searchContext(session, charset);
  return { returns, program: parseSearchProgram(cursor, context, session.limits.nestingMax) };
}

function searchContext(session: Session, charset: string): SearchContext {
  const selected = selectedOf(session);
  const { view } = selected;
  return {
    uidOnly: session.uidOnly,
    sequence: (set) =>
      set.kind === "saved" ? session.saved : view.uidsOfSequenceWithin(set.ranges),
    uids: (set) => (set.kind === "saved" ? session.saved : view.uidsOfUids(set.ranges)),
    recent: () => uidsFrom(selected.recentFrom),
    nowMs: session.services.clock.nowMs(),
    decode: (bytes) => decodeCharset(bytes, charset) ?? "",
  };
}

/** `RETURN (MIN COUNT) `; an empty list means ALL. RFC 4731 §3.1 */
function parseReturn(cursor: Cursor): ReadonlySet<ReturnOption> {
  const options = new Set<ReturnOption>();
  cursor.word();
  cursor.space();
  cursor.list(() => {
    const option = cursor.word();
    switch (option) {
      case "MIN":
      case "MAX":
      case "ALL":
      case "COUNT":
      case "SAVE":
        options.add(option);
        return;
      default:
        cursor.fail("unknown RETURN option");
    }
  });
  cursor.space();
  if (options.size === 0) options.add("ALL");
  return options;
}
