// FETCH in a member's view: what never changes comes from the group (group-texts.ts), FLAGS and MODSEQ
// are the member's own and are put in front, as mail/fetch.ts says the text begins.

import { chunkOf } from "../../mail/fetch-parts.ts";
import type { FetchPart } from "../../mail/fetch-parts.ts";
import { uid as asUid } from "../../mail/ids.ts";
import type { FetchChunk, FetchItems, FetchRequest } from "../../mail/mail-store.ts";
import { uidSetHas } from "../../mail/uid-set.ts";
import type { GroupTexts } from "./group-texts.ts";
import { changedAfter, flagStateAt } from "./member-view.ts";
import type { MemberView } from "./member-view.ts";

/** @see MailStore.fetch */
export async function* fetchInView(
  texts: GroupTexts,
  find: () => Promise<MemberView>,
  request: FetchRequest,
  signal: AbortSignal,
): AsyncGenerator<FetchChunk, void, undefined> {
  const view = await find();
  const { index, places } = view;
  const { changedSince, items } = request;
  const isWanted = changedSince === undefined ? () => true : changedAfter(view, changedSince);
  const placeOf = new Map<number, number>();
  for (const at of places) {
    const uid = index.uids[at] ?? 0;
    if (uidSetHas(request.uids, uid) && isWanted(at)) placeOf.set(uid, at);
  }
  const { flags: _flags, modSeq: _modSeq, ...fixed } = items;
  const own = (uid: number): Buffer => ownText(view, placeOf.get(uid) ?? 0, uid, items);
  if (Object.values(fixed).every((item) => item === undefined || item === false)) {
    yield chunkOf(Array.from(placeOf.keys(), (uid) => partOf(uid, own(uid))));
    return;
  }
  let inside = false;
  for await (const parts of texts.fetch(view.group, index, [...placeOf.keys()], fixed, signal)) {
    yield chunkOf(
      parts.map((part) => {
        const begins = !inside;
        inside = part.more;
        return begins ? withOwn(part, own(part.uid)) : part;
      }),
    );
  }
}

function partOf(uid: number, bytes: Uint8Array): FetchPart {
  return { uid: asUid(uid), bytes, more: false };
}

/** Takes `UID n` out of the front and puts the member's own text there. */
function withOwn(part: FetchPart, own: Buffer): FetchPart {
  const skipped = `UID ${part.uid}`.length;
  const bytes = Buffer.concat([own, part.bytes.subarray(skipped)]);
  return {
    ...part,
    bytes,
    ...(part.sectionsAt === undefined
      ? {}
      : { sectionsAt: part.sectionsAt - skipped + own.length }),
  };
}

/** `UID n FLAGS (…) MODSEQ (m)`, as far as asked for. */
function ownText(view: MemberView, at: number, uid: number, items: FetchItems): Buffer {
  const { flags, modSeq } = flagStateAt(view, at);
  const flagText = items.flags === true ? ` FLAGS (${flags.join(" ")})` : "";
  const modSeqText = items.modSeq === true ? ` MODSEQ (${modSeq})` : "";
  return Buffer.from(`UID ${uid}${flagText}${modSeqText}`);
}
