// What SEARCH, SORT, THREAD and ESEARCH have in common before they run: the charset, and what the
// session lends to the search program. RFC 9051 §6.4.4

import { charsetSupported, decodeCharset } from "../../mail/charset/charset.ts";
import { uidSetFromRanges } from "../../mail/uid-set.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import type { Session } from "./session.ts";
import type { Cursor } from "./syntax/cursor.ts";
import { parseSearchProgram, uidsFrom } from "./syntax/search-program.ts";
import type { SearchContext, SearchProgram } from "./syntax/search-program.ts";
import { starValue } from "./syntax/sequence-set.ts";
import type { SequenceSet } from "./syntax/sequence-set.ts";
import type { View } from "./view.ts";

/** A mailbox as far as search programs ask of it. */
export interface SearchedMailbox {
  readonly view: View;
  readonly recentFrom: number;
  readonly saved: UidSet;
}

/** `CHARSET x ` of SEARCH, where it is left out mostly. */
export function parseOptionalCharset(cursor: Cursor, session: Session): string {
  if (cursor.peekWord() !== "CHARSET") return "utf-8";
  cursor.word();
  cursor.space();
  const charset = parseCharset(cursor);
  // RFC 6855 §3: CHARSET is no longer sent once UTF8=ACCEPT is enabled.
  if (session.utf8Accept) cursor.fail("CHARSET may not be used with UTF8=ACCEPT");
  return charset;
}

/** `UTF-8 `, which SORT and THREAD must have. RFC 5256 §3 */
export function parseCharset(cursor: Cursor): string {
  const charset = cursor.astringText().toLowerCase();
  cursor.space();
  return charset;
}

/** The program up to the end of the command; undefined when its charset is not known. */
export function parseProgram(
  cursor: Cursor,
  session: Session,
  charset: string,
  mailbox: SearchedMailbox,
): SearchProgram | undefined {
  if (cursor.ok && !charsetSupported(charset)) return undefined;
  const { view, recentFrom, saved } = mailbox;
  const context: SearchContext = {
    sequence: (set) => (set.kind === "saved" ? saved : view.uidsOfSequenceWithin(set.ranges)),
    uids: (set) => (set.kind === "saved" ? saved : view.uidsOfUids(set.ranges)),
    recent: () => uidsFrom(recentFrom),
    nowMs: session.services.clock.nowMs(),
    decode: (bytes) => decodeCharset(bytes, charset) ?? "",
    uidOnly: session.uidOnly,
  };
  return parseSearchProgram(cursor, context, session.limits.nestingMax);
}

/**
 * A program that is meant for several mailboxes. `needsView` when it means different messages in
 * each (message numbers, `*`, `$`, RECENT): then it is to be parsed again for each mailbox.
 */
export function parseGeneralProgram(
  cursor: Cursor,
  session: Session,
  charset: string,
): { readonly program: SearchProgram | undefined; readonly needsView: boolean } {
  if (cursor.ok && !charsetSupported(charset)) return { program: undefined, needsView: false };
  let needsView = false;
  const unknown = (): UidSet => {
    needsView = true;
    return [];
  };
  const context: SearchContext = {
    sequence: unknown,
    uids: (set) => fixedUids(set) ?? unknown(),
    recent: unknown,
    nowMs: session.services.clock.nowMs(),
    decode: (bytes) => decodeCharset(bytes, charset) ?? "",
    uidOnly: session.uidOnly,
  };
  const program = parseSearchProgram(cursor, context, session.limits.nestingMax);
  return { program, needsView };
}

/** UIDs as they were written, unless `*` or `$` is among them. */
function fixedUids(set: SequenceSet): UidSet | undefined {
  if (set.kind === "saved" || set.ranges.includes(starValue)) return undefined;
  const pairs: [number, number][] = [];
  for (let i = 0; i < set.ranges.length; i += 2) {
    pairs.push([set.ranges[i] ?? 0, set.ranges[i + 1] ?? 0]);
  }
  return uidSetFromRanges(pairs);
}
