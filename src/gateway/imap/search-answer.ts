// ESEARCH responses, and what SAVE keeps. RFC 9051 §7.3.4, RFC 4731 §3.1, RFC 5267 §3.1 (ESORT),
// RFC 9394 §3.1 (PARTIAL), RFC 7377 §2.1 (correlators)

import type { SearchOutcome } from "../../mail/mail-store.ts";
import { uidSetFromSorted } from "../../mail/uid-set.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import { writeMailbox } from "./names.ts";
import { writeString } from "./responses.ts";
import type { Session } from "./session.ts";
import { rangeWithin } from "./syntax/partial-range.ts";
import type { SearchReturns } from "./syntax/search-returns.ts";

/** Whose results they are. */
export interface Correlator {
  readonly tag: string;
  /** Results are UIDs. */
  readonly byUid: boolean;
  /** Of ESEARCH. RFC 7377 §2.1 */
  readonly mailbox?: { readonly name: string; readonly uidValidity: number };
}

/** `* ESEARCH (TAG "a" MAILBOX "b" UIDVALIDITY 1) UID`. */
export function startEsearch(session: Session, { tag, byUid, mailbox }: Correlator): void {
  const { out } = session;
  out.text("* ESEARCH (TAG ");
  writeString(out, tag, false);
  if (mailbox !== undefined) {
    out.text(" MAILBOX ");
    writeMailbox(session, mailbox.name);
    out.text(" UIDVALIDITY ").number(mailbox.uidValidity);
  }
  out.text(byUid ? ") UID" : ")");
}

/** @param results In the order asked for. */
export function writeEsearch(
  session: Session,
  correlator: Correlator,
  results: ArrayLike<number>,
  { options, partial }: SearchReturns,
  modSeqOf: number | undefined,
): void {
  // RFC 5182 §2.1: SAVE alone is answered by the tag alone.
  if (options.size === 1 && options.has("SAVE") && partial === undefined) return;
  startEsearch(session, correlator);
  const { out } = session;
  const first = results[0];
  const last = results[results.length - 1];
  if (first !== undefined && last !== undefined) {
    if (options.has("MIN")) out.text(" MIN ").number(first);
    if (options.has("MAX")) out.text(" MAX ").number(last);
    if (options.has("ALL")) out.text(" ALL ").text(orderedSetText(results, 0, results.length));
  }
  if (partial !== undefined) {
    const [from, to] = rangeWithin(partial, results.length);
    const text = from < to ? orderedSetText(results, from, to) : "NIL";
    out.text(" PARTIAL (").text(partial.text).text(" ").text(text).text(")");
  }
  if (options.has("COUNT")) out.text(" COUNT ").number(results.length);
  if (modSeqOf !== undefined) out.text(" MODSEQ ").number(modSeqOf);
  out.text("\r\n");
}

/**
 * Numbers from `from` to `to` as a set that keeps their order. RFC 5267 §3.2: ranges ascend, so those
 * that descend are listed one by one.
 */
export function orderedSetText(numbers: ArrayLike<number>, from: number, to: number): string {
  const parts: string[] = [];
  for (let at = from; at < to; ) {
    const low = numbers[at] ?? 0;
    let high = low;
    while (++at < to && numbers[at] === high + 1) high++;
    parts.push(low === high ? `${low}` : `${low}:${high}`);
  }
  return parts.join(",");
}

/** RFC 4731 §3.2: of the messages that MIN and MAX name when only those were asked for, else of all. */
export function modSeqOfAnswer(
  outcome: SearchOutcome,
  { options, partial }: SearchReturns,
): number | undefined {
  const { endModSeqs, highestModSeqOfResults } = outcome;
  const onlyEnds = !options.has("ALL") && !options.has("COUNT") && partial === undefined;
  if (!onlyEnds || endModSeqs === undefined) return highestModSeqOfResults;
  const [first, last] = endModSeqs;
  if (options.has("MIN")) return options.has("MAX") ? Math.max(first, last) : first;
  return options.has("MAX") ? last : highestModSeqOfResults;
}

/** What `$` becomes. RFC 5182 §2.4, RFC 9394 §3.2 @param uids In the order asked for. */
export function savedResult(uids: readonly number[], { options, partial }: SearchReturns): UidSet {
  const wantsMin = options.has("MIN");
  const wantsMax = options.has("MAX");
  const wantsSome = wantsMin || wantsMax || partial !== undefined;
  if (options.has("ALL") || options.has("COUNT") || !wantsSome) return setOf(uids);
  const some = [...(wantsMin ? uids.slice(0, 1) : []), ...(wantsMax ? uids.slice(-1) : [])];
  if (partial !== undefined) some.push(...uids.slice(...rangeWithin(partial, uids.length)));
  return setOf(some);
}

function setOf(uids: readonly number[]): UidSet {
  return uidSetFromSorted(uids.toSorted((a, b) => a - b));
}
