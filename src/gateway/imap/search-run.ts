// Runs a parsed SEARCH or SORT on the selected mailbox and answers it: plain, as ESEARCH, with `$`
// and with updates. RFC 9051 §6.4.4, RFC 5256 §3, RFC 5267 §3, §4

import { enableCondstore } from "./condstore.ts";
import { badCharsetCode, no, ok } from "./reply.ts";
import type { Reply } from "./reply.ts";
import { writeUntaggedNo } from "./responses.ts";
import { modSeqOfAnswer, savedResult, writeEsearch } from "./search-answer.ts";
import type { Correlator } from "./search-answer.ts";
import type { SearchedMailbox } from "./search-arguments.ts";
import type { Selected } from "./selected.ts";
import type { Session } from "./session.ts";
import type { Cursor } from "./syntax/cursor.ts";
import type { SearchProgram } from "./syntax/search-program.ts";
import type { SearchReturns } from "./syntax/search-returns.ts";
import { returnsAll } from "./syntax/search-returns.ts";
import { SequenceWalk } from "./view.ts";
import type { SearchKey } from "../../mail/search-key.ts";
import type { SearchOutcome, SearchRequest } from "../../mail/mail-store.ts";
import type { SortCriterion } from "../../mail/sort-order.ts";
import { noUids } from "../../mail/uid-set.ts";

export interface SearchPlan {
  readonly name: string;
  readonly byUid: boolean;
  /** Undefined: the answer is an untagged SEARCH or SORT; SEARCH of IMAP4rev2 has ESEARCH ALL. */
  readonly returns: SearchReturns | undefined;
  /** Undefined when the charset is not known: the program was not parsed. */
  readonly program: SearchProgram | undefined;
  /** Absent: mailbox order. */
  readonly sort?: readonly SortCriterion[];
  /** Of the ESEARCH command. RFC 7377 §2.1 */
  readonly mailbox?: Correlator["mailbox"];
  /** ESEARCH is silent where nothing was found. RFC 7377 §2.1 */
  readonly silentWhenEmpty?: boolean;
}

/** The selected mailbox for its own search programs. */
export function searchedMailbox(session: Session, selected: Selected): SearchedMailbox {
  return { view: selected.view, recentFrom: selected.recentFrom, saved: session.saved };
}

/** RFC 5267 §4.3: a tag names one context. */
export function checkUpdateTag(
  cursor: Cursor,
  session: Session,
  returns: SearchReturns | undefined,
): void {
  if (returns?.options.has("UPDATE") !== true) return;
  if (session.selected?.contexts.has(session.tag) === true) cursor.fail("the tag is in use");
}

/** Searches the selected mailbox and answers. */
export async function runSearch(
  session: Session,
  selected: Selected,
  plan: SearchPlan,
): Promise<Reply> {
  const { name, byUid, program, sort } = plan;
  const wanted = plan.returns?.options;
  // RFC 9051 §6.4.4.1: a SAVE that fails leaves `$` empty.
  if (wanted?.has("SAVE") === true) session.saved = noUids;
  if (program === undefined) return no("The charset is not supported", badCharsetCode);
  if (program.modSeq) enableCondstore(session);
  const outcome = await searchSelected(
    session,
    selected,
    program,
    sort === undefined ? {} : { sort },
  );
  const found = matchesInView(selected, outcome.uids, sort !== undefined);
  if (wanted?.has("SAVE") === true && plan.returns !== undefined) {
    session.saved = savedResult(found.uids, plan.returns);
  }
  const results = byUid ? found.uids : found.sequences;
  const correlator: Correlator = {
    tag: session.tag,
    byUid,
    ...(plan.mailbox === undefined ? {} : { mailbox: plan.mailbox }),
  };
  if (plan.returns !== undefined || (session.rev2 && sort === undefined)) {
    const returns = plan.returns ?? returnsAll;
    const isSilent = plan.silentWhenEmpty === true && results.length === 0;
    const modSeq = modSeqOfAnswer(outcome, returns);
    if (!isSilent) writeEsearch(session, correlator, results, returns, modSeq);
  } else {
    writePlain(session, sort === undefined ? "* SEARCH" : "* SORT", results, outcome);
  }
  if (wanted?.has("UPDATE") === true) {
    const context = { correlator, key: program.key, ...(sort === undefined ? {} : { sort }) };
    if (!selected.contexts.add(context, found.uids)) refuseUpdates(session);
  }
  return ok(`${name} completed`);
}

/** `* NO [NOUPDATE "B02"]`: RFC 5267 §4.3.1 */
export function refuseUpdates(session: Session): void {
  const tag = session.tag.replaceAll(/["\\]/g, "\\$&");
  writeUntaggedNo(session.out, `NOUPDATE "${tag}"`, "No updates of this search");
}

/** Asks the store, about messages that the client knows. */
export async function searchSelected(
  session: Session,
  selected: Selected,
  { key, modSeq }: SearchProgram,
  how: Pick<SearchRequest, "sort" | "thread">,
): Promise<SearchOutcome> {
  const { lastUid } = selected.view;
  if (lastUid === 0) return { uids: new Uint32Array(0) };
  const known: SearchKey = { kind: "uid", set: [1, lastUid] };
  return session.services.store.search(
    session.principal,
    { mailbox: selected.id, key: { kind: "and", keys: [known, key] }, wantModSeq: modSeq, ...how },
    session.signal,
  );
}

/** The results that the client knows, as UIDs and as sequence numbers. */
function matchesInView(
  { view }: Selected,
  uids: Uint32Array,
  isSorted: boolean,
): { readonly uids: readonly number[]; readonly sequences: readonly number[] } {
  const walk = new SequenceWalk(view);
  const known: number[] = [];
  const sequences: number[] = [];
  for (const uid of uids) {
    const sequence = isSorted ? view.sequenceOf(uid) : walk.sequenceOf(uid);
    if (sequence === 0) continue;
    known.push(uid);
    sequences.push(sequence);
  }
  return { uids: known, sequences };
}

/** `* SEARCH 2 84 882 (MODSEQ n)`. RFC 7162 §3.1.5 */
function writePlain(
  { out }: Session,
  response: string,
  results: readonly number[],
  { highestModSeqOfResults }: SearchOutcome,
): void {
  out.text(response);
  for (const result of results) out.text(" ").number(result);
  if (results.length > 0 && highestModSeqOfResults !== undefined) {
    out.text(" (MODSEQ ").number(highestModSeqOfResults).text(")");
  }
  out.text("\r\n");
}
