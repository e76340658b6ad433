// SEARCH in a member's view: what a key asks of flags and MODSEQ is answered from the member's state
// and becomes a set of UIDs; what is left is asked of the group's node, if anything is.

import { assert } from "../../lib/assert.ts";
import type { MailStore, SearchOutcome, SearchRequest } from "../../mail/mail-store.ts";
import type { SearchKey } from "../../mail/search-key.ts";
import { withFlag } from "../../mail/read-state.ts";
import { uidSetFromSorted } from "../../mail/uid-set.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import {
  uidSetDifference,
  uidSetIntersection,
  uidSetUnion,
  uidsIn,
} from "../../mail/uid-set-algebra.ts";
import { principalOf } from "./group-index.ts";
import { flagStateAt, uidsOf } from "./member-view.ts";
import type { MemberView } from "./member-view.ts";

/** @see MailStore.search */
export async function searchInView(
  store: MailStore,
  view: MemberView,
  request: SearchRequest,
  signal: AbortSignal,
): Promise<SearchOutcome> {
  const shown = uidSetFromSorted(uidsOf(view));
  const known = resolved(view, shown, request.key);
  const { sort, thread } = request;
  const mustAsk = known.kind !== "uid" || sort !== undefined || thread !== undefined;
  let outcome: SearchOutcome;
  if (mustAsk) {
    const key: SearchKey = { kind: "and", keys: [{ kind: "uid", set: shown }, known] };
    const { wantModSeq: _own, ...asked } = request;
    const { mailbox } = view.index;
    outcome = await store.search(principalOf(view.group), { ...asked, mailbox, key }, signal);
  } else {
    assert(known.kind === "uid", "a search that is not asked is a set");
    outcome = { uids: Uint32Array.from(uidsIn(known.set)) };
  }
  if (request.wantModSeq !== true || outcome.uids.length === 0) return outcome;
  return { ...outcome, ...modSeqsOf(view, outcome.uids) };
}

function modSeqsOf(
  view: MemberView,
  uids: Uint32Array,
): Pick<SearchOutcome, "highestModSeqOfResults" | "endModSeqs"> {
  const placeOf = new Map(Array.from(view.places, (at) => [view.index.uids[at] ?? 0, at]));
  const modSeqs = Array.from(uids, (uid) => {
    const at = placeOf.get(uid);
    return at === undefined ? 0 : flagStateAt(view, at).modSeq;
  });
  const ends = [modSeqs[0] ?? 0, modSeqs.at(-1) ?? 0] as const;
  return {
    highestModSeqOfResults: modSeqs.reduce<number>((most, one) => Math.max(most, one), 0),
    endModSeqs: ends,
  };
}

/** The key with all that is known here turned into sets; a set alone when everything is. */
function resolved(view: MemberView, shown: UidSet, key: SearchKey): SearchKey {
  const set = (uids: UidSet): SearchKey => ({ kind: "uid", set: uids });
  switch (key.kind) {
    case "all":
      return set(shown);
    case "uid":
      return set(uidSetIntersection(key.set, shown));
    case "flag": {
      const has = uidSetIntersection(withFlag(view.state, key.flag), shown);
      return set(key.set ? has : uidSetDifference(shown, has));
    }
    case "modseq": {
      const uids = Array.from(view.places).flatMap((at) => {
        const { uid, modSeq } = flagStateAt(view, at);
        return modSeq >= key.least ? [uid] : [];
      });
      return set(uidSetFromSorted(uids));
    }
    case "not": {
      const inner = resolved(view, shown, key.key);
      return inner.kind === "uid"
        ? set(uidSetDifference(shown, inner.set))
        : { kind: "not", key: inner };
    }
    case "or": {
      const [a, b] = [resolved(view, shown, key.a), resolved(view, shown, key.b)];
      if (a.kind === "uid" && b.kind === "uid") return set(uidSetUnion(a.set, b.set));
      return { kind: "or", a, b };
    }
    case "and":
      return allOf(
        key.keys.map((one) => resolved(view, shown, one)),
        shown,
      );
    default:
      return key;
  }
}

/** Sets are cut with one another; nothing is asked when they leave nothing. */
function allOf(keys: readonly SearchKey[], shown: UidSet): SearchKey {
  let set = shown;
  const rest: SearchKey[] = [];
  for (const key of keys) {
    if (key.kind === "uid") set = uidSetIntersection(set, key.set);
    else rest.push(key);
  }
  const known: SearchKey = { kind: "uid", set };
  return rest.length === 0 || set.length === 0 ? known : { kind: "and", keys: [known, ...rest] };
}
