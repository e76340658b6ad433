// Searches whose client wants to hear how their results change, of one selected mailbox. Each holds
// its results; changes and removals of messages become ADDTO and REMOVEFROM. RFC 5267 §4.3

import { isMailError } from "../../mail/errors.ts";
import type { MailboxId } from "../../mail/ids.ts";
import type { SearchKey } from "../../mail/search-key.ts";
import type { SortCriterion } from "../../mail/sort-order.ts";
import { uidSetFromSorted, uidSetHas } from "../../mail/uid-set.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import type { Correlator } from "./search-answer.ts";
import { orderedSetText, startEsearch } from "./search-answer.ts";
import type { Session } from "./session.ts";
import type { View } from "./view.ts";

/** RFC 5267 §4.3.1: at least one; each costs a search at every change. */
const contextsMax = 8;

export interface ContextRequest {
  readonly correlator: Correlator;
  readonly key: SearchKey;
  /** Absent: mailbox order. */
  readonly sort?: readonly SortCriterion[];
}

interface Context extends ContextRequest {
  /** UIDs in the order asked for. */
  results: readonly number[];
}

/** Results that come or go next to one another, at a place of the list. */
interface Run {
  /** 0: anywhere. RFC 5267 §4.3.3 */
  readonly position: number;
  readonly uids: readonly number[];
}

export class SearchContexts {
  readonly #contexts = new Map<string, Context>();
  /** Messages that changed and were not looked at yet. */
  #changed = new Set<number>();

  get isEmpty(): boolean {
    return this.#contexts.size === 0;
  }
  has(tag: string): boolean {
    return this.#contexts.has(tag);
  }

  /** False when no updates will come. @param results UIDs in the order asked for. */
  add(request: ContextRequest, results: readonly number[]): boolean {
    if (this.#contexts.size >= contextsMax || dependsOnTime(request.key)) return false;
    this.#contexts.set(request.correlator.tag, { results, ...request });
    return true;
  }

  cancel(tag: string): void {
    this.#contexts.delete(tag);
  }

  /** RFC 5267 §4.3.4: before EXPUNGE, while the client still has the numbers. */
  tellExpunged(session: Session, view: View, gone: UidSet): void {
    for (const context of this.#contexts.values()) {
      const kept = context.results.filter((uid) => !uidSetHas(gone, uid));
      if (kept.length === context.results.length) continue;
      write(session, view, context, removedRuns(context, new Set(kept)), []);
      context.results = kept;
    }
  }

  /** Tells what has become of messages that are new, or whose flags changed. Failures are made up for later. */
  async tellChanged(
    session: Session,
    mailbox: MailboxId,
    view: View,
    uids: Iterable<number>,
  ): Promise<void> {
    if (this.isEmpty) return;
    for (const uid of uids) this.#changed.add(uid);
    if (this.#changed.size === 0) return;
    const changed = this.#changed;
    this.#changed = new Set();
    try {
      for (const context of this.#contexts.values()) {
        const now = await resultsNow(session, mailbox, view, context, changed);
        const removed = removedRuns(context, new Set(now));
        const added = addedRuns(context, now);
        if (removed.length + added.length > 0) write(session, view, context, removed, added);
        context.results = now;
      }
    } catch (error) {
      if (!isMailError(error)) throw error;
      for (const uid of changed) this.#changed.add(uid);
      session.services.log.debug({ err: error, mailbox }, "imap context not updated");
    }
  }
}

/** Only changed messages are searched; a sorted list is made anew. */
async function resultsNow(
  session: Session,
  mailbox: MailboxId,
  view: View,
  { key, sort, results }: Context,
  changed: ReadonlySet<number>,
): Promise<readonly number[]> {
  const known = [...changed].filter((uid) => view.sequenceOf(uid) > 0).sort((a, b) => a - b);
  const set = sort === undefined ? uidSetFromSorted(known) : [1, view.lastUid];
  if (view.count === 0 || set.length === 0) return results;
  const { uids } = await session.services.store.search(
    session.principal,
    {
      mailbox,
      key: { kind: "and", keys: [{ kind: "uid", set }, key] },
      ...(sort === undefined ? {} : { sort }),
    },
    session.signal,
  );
  if (sort !== undefined) return [...uids].filter((uid) => view.sequenceOf(uid) > 0);
  const matching = new Set(uids);
  const looked = new Set(known);
  const kept = results.filter((uid) => !looked.has(uid) || matching.has(uid));
  const before = new Set(results);
  return [...kept, ...known.filter((uid) => matching.has(uid) && !before.has(uid))].sort(
    (a, b) => a - b,
  );
}

/** What is in the results and not in `now`; from the end, so that positions before it stay right. */
function removedRuns({ results, sort }: Context, now: ReadonlySet<number>): readonly Run[] {
  const gone = (uid: number): boolean => !now.has(uid);
  if (sort === undefined) return anywhere(results.filter(gone));
  return runsOf(results, gone).toReversed();
}

/** What is in `now` and not in the results; from the beginning, each at its final place. */
function addedRuns({ results, sort }: Context, now: readonly number[]): readonly Run[] {
  const before = new Set(results);
  const isNew = (uid: number): boolean => !before.has(uid);
  return sort === undefined ? anywhere(now.filter(isNew)) : runsOf(now, isNew);
}

function anywhere(uids: readonly number[]): readonly Run[] {
  return uids.length === 0 ? [] : [{ position: 0, uids }];
}

function runsOf(list: readonly number[], belongs: (uid: number) => boolean): readonly Run[] {
  const runs: { position: number; uids: number[] }[] = [];
  let open: { position: number; uids: number[] } | undefined;
  for (const [at, uid] of list.entries()) {
    if (!belongs(uid)) {
      open = undefined;
    } else if (open === undefined) {
      open = { position: at + 1, uids: [uid] };
      runs.push(open);
    } else open.uids.push(uid);
  }
  return runs;
}

function write(
  session: Session,
  view: View,
  { correlator }: Context,
  removed: readonly Run[],
  added: readonly Run[],
): void {
  startEsearch(session, correlator);
  const { out } = session;
  for (const [name, runs] of [
    [" REMOVEFROM (", removed],
    [" ADDTO (", added],
  ] as const) {
    if (runs.length === 0) continue;
    out.text(name);
    let first = true;
    for (const { position, uids } of runs) {
      const numbers = correlator.byUid ? uids : uids.map((uid) => view.sequenceOf(uid));
      if (!first) out.text(" ");
      out
        .number(position)
        .text(" ")
        .text(orderedSetText(numbers, 0, numbers.length));
      first = false;
    }
    out.text(")");
  }
  out.text("\r\n");
}

/** RFC 5032 §3: what is younger than an hour changes without anything happening. */
function dependsOnTime(key: SearchKey): boolean {
  switch (key.kind) {
    case "age":
      return true;
    case "not":
      return dependsOnTime(key.key);
    case "or":
      return dependsOnTime(key.a) || dependsOnTime(key.b);
    case "and":
      return key.keys.some(dependsOnTime);
    default:
      return false;
  }
}
