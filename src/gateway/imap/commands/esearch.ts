// ESEARCH: one search over several mailboxes, answered with UIDs, a response for each mailbox with
// results. RFC 7377 §2

import { enableCondstore } from "../condstore.ts";
import { command, loggedIn, selectedOf } from "../command.ts";
import { chooseMailboxes, parseMailboxFilter } from "../mailbox-filter.ts";
import type { MailboxFilter } from "../mailbox-filter.ts";
import { badCharsetCode, no, ok } from "../reply.ts";
import type { Reply } from "../reply.ts";
import { modSeqOfAnswer, writeEsearch } from "../search-answer.ts";
import { parseGeneralProgram, parseOptionalCharset, parseProgram } from "../search-arguments.ts";
import { checkUpdateTag, refuseUpdates, runSearch, searchedMailbox } from "../search-run.ts";
import { firstRecent } from "../selected.ts";
import type { Session } from "../session.ts";
import { openParen, SP } from "../syntax/characters.ts";
import { Cursor } from "../syntax/cursor.ts";
import type { SearchProgram } from "../syntax/search-program.ts";
import { parseReturns, returnsAll } from "../syntax/search-returns.ts";
import type { SearchReturns } from "../syntax/search-returns.ts";
import { View } from "../view.ts";
import { isMailError } from "../../../mail/errors.ts";
import type { MailboxInfo, SearchOutcome } from "../../../mail/mail-store.ts";
import { noUids } from "../../../mail/uid-set.ts";

const name = "ESEARCH";
/** So many mailboxes are searched at a time. */
const mailboxesAtOnce = 8;
const filtersMax = 64;

interface Plan {
  readonly filters: readonly MailboxFilter[];
  readonly returns: SearchReturns;
  /** Undefined when the charset is not known. */
  readonly program: SearchProgram | undefined;
  /** For mailboxes in which the program means other messages: it is parsed anew. */
  readonly again: ((view: View, recentFrom: number) => SearchProgram | undefined) | undefined;
}

export const esearch = command({
  name,
  states: loggedIn,
  silent: true,
  parse: parseEsearch,
  async run(session, plan): Promise<Reply> {
    if (plan.program === undefined) {
      // RFC 9051 §6.4.4.1: a SAVE that fails leaves `$` empty.
      if (plan.returns.options.has("SAVE")) session.saved = noUids;
      return no("The charset is not supported", badCharsetCode);
    }
    if (plan.filters.every(({ kind }) => kind === "selected")) return onSelected(session, plan);
    const { store } = session.services;
    const listing = await store.listMailboxes(session.principal, session.signal);
    const chosen = chooseMailboxes(listing, plan.filters, session.selected?.name).filter(mayRead);
    if (plan.program.modSeq) enableCondstore(session);
    for (let at = 0; at < chosen.length; at += mailboxesAtOnce) {
      const some = chosen.slice(at, at + mailboxesAtOnce);
      const outcomes = await Promise.all(some.map((info) => searchMailbox(session, plan, info)));
      for (const [i, info] of some.entries()) writeOutcome(session, plan, info, outcomes[i]);
      if (session.out.full) await session.out.drained(session.signal);
    }
    // RFC 7377 §2.2: UPDATE is of the selected mailbox alone, which is not searched alone here.
    if (plan.returns.options.has("UPDATE")) refuseUpdates(session);
    return ok(`${name} completed`);
  },
});

/** RFC 7377 §2.2: mailboxes without the right "r" are passed over, as if they weren't there. */
function mayRead({ rights }: MailboxInfo): boolean {
  return rights === undefined || rights.includes("r");
}

/** The selected mailbox alone: `$` and updates are possible. */
function onSelected(session: Session, { returns, program }: Plan): Promise<Reply> {
  const selected = selectedOf(session);
  return runSearch(session, selected, {
    name,
    byUid: true,
    returns,
    program,
    mailbox: { name: selected.name, uidValidity: selected.uidValidity },
    silentWhenEmpty: true,
  });
}

/** Undefined when the mailbox has gone meanwhile. */
async function searchMailbox(
  session: Session,
  { program, again }: Plan,
  info: MailboxInfo,
): Promise<SearchOutcome | undefined> {
  const { services, principal, signal } = session;
  try {
    let found = program;
    if (again !== undefined) {
      const wanted = { name: info.name, claimRecent: false };
      const opened = await services.store.openMailbox(principal, wanted, signal);
      found = again(new View(opened.uids), firstRecent(opened));
    }
    if (found === undefined) return undefined;
    const request = { mailbox: info.id, key: found.key, wantModSeq: found.modSeq };
    return await services.store.search(principal, request, signal);
  } catch (error) {
    if (isMailError(error, "NO_SUCH_MAILBOX") || isMailError(error, "MAILBOX_GONE")) {
      return undefined;
    }
    throw error;
  }
}

/** RFC 7377 §2.1: no response for a mailbox without results. */
function writeOutcome(
  session: Session,
  { returns }: Plan,
  info: MailboxInfo,
  outcome: SearchOutcome | undefined,
): void {
  if (outcome === undefined || outcome.uids.length === 0) return;
  const correlator = { tag: session.tag, byUid: true, mailbox: info };
  writeEsearch(session, correlator, outcome.uids, returns, modSeqOfAnswer(outcome, returns));
}

function parseEsearch(cursor: Cursor, session: Session): Plan {
  cursor.space();
  const filters = parseSource(cursor, session);
  const returns = parseReturns(cursor) ?? returnsAll;
  checkStates(cursor, session, filters, returns);
  const charset = parseOptionalCharset(cursor, session);
  const { selected } = session;
  if (selected !== undefined && filters.every(({ kind }) => kind === "selected")) {
    const mailbox = searchedMailbox(session, selected);
    const program = parseProgram(cursor, session, charset, mailbox);
    return { filters, returns, program, again: undefined };
  }
  const rest = cursor.bytes.subarray(cursor.at);
  const { program, needsView } = parseGeneralProgram(cursor, session, charset);
  const again = (view: View, recentFrom: number): SearchProgram | undefined => {
    const from = new Cursor(rest, session.limits.nestingMax);
    return parseProgram(from, session, charset, { view, recentFrom, saved: noUids });
  };
  return { filters, returns, program, again: needsView ? again : undefined };
}

/** `IN (source …) `; selected when it is left out. */
function parseSource(cursor: Cursor, session: Session): readonly MailboxFilter[] {
  if (cursor.peekWord() !== "IN") return [{ kind: "selected" }];
  const filters: MailboxFilter[] = [];
  cursor.word();
  cursor.space();
  cursor.list(() => {
    // RFC 7377 §4: scope options come last, and there are none.
    if (cursor.peek() === openParen) return cursor.fail("unknown scope option");
    if (filters.length >= filtersMax) return cursor.fail("too many mailbox filters");
    filters.push(parseMailboxFilter(cursor, session));
  });
  if (filters.length === 0) cursor.fail("no mailboxes named");
  cursor.expect(SP);
  while (cursor.skip(SP));
  return filters;
}

/** RFC 7377 §2.2: what needs a selected mailbox, and it alone. */
function checkStates(
  cursor: Cursor,
  session: Session,
  filters: readonly MailboxFilter[],
  returns: SearchReturns,
): void {
  const isSelected = session.selected !== undefined;
  if (filters.some(({ kind }) => kind === "selected") && !isSelected) {
    cursor.fail("no mailbox is selected");
  }
  if (returns.options.has("SAVE") && filters.some(({ kind }) => kind !== "selected")) {
    cursor.fail("SAVE is of the selected mailbox alone");
  }
  if (!returns.options.has("UPDATE")) return;
  if (!isSelected) cursor.fail("UPDATE needs a selected mailbox");
  checkUpdateTag(cursor, session, returns);
}
