// THREAD at the node: subjects, dates and ids from static rows, then the algorithm of mail/. Rows
// from before References were kept have them read from their bodies. RFC 5256 §3 (THREAD)

import { asBuffer } from "../lib/bytes.ts";
import { baseSubject } from "../mail/base-subject.ts";
import { casemapKey } from "../mail/collation.ts";
import { messageIdsIn } from "../mail/message-ids.ts";
import { decodeHeaderValue } from "../mail/mime/encoded-word.ts";
import { headerFieldsOf } from "../mail/mime/header-fields.ts";
import { mimeLimits } from "../mail/mime/limits.ts";
import { EnvelopeReader } from "../mail/sort-envelope.ts";
import { threadsByReferences } from "../mail/thread-references.ts";
import { threadsBySubject } from "../mail/thread-subject.ts";
import type { ThreadAlgorithm, Threads } from "../mail/thread-tree.ts";
import { readBodies } from "./bodies.ts";
import { forEachStatic, runInSlices, sentDate } from "./sort.ts";
import type { Listing } from "./sort.ts";
import { ListingCursor, staticAt } from "./static-row.ts";

const bodiesAtOnce = 32;

/** The messages as threads. @param uids ascending. */
export async function threadMessages(
  listing: Listing,
  uids: Uint32Array,
  algorithm: ThreadAlgorithm,
): Promise<Threads> {
  const count = uids.length;
  const sentMs = new Float64Array(count);
  const subjects = new Array<string>(count).fill("");
  const isReply = new Array<boolean>(count).fill(false);
  const ids = new Array<string>(count).fill("");
  const references = new Array<readonly string[]>(count).fill([]);
  const unknown: number[] = [];
  const lies = new ListingCursor();
  const envelope = new EnvelopeReader();
  const byReferences = algorithm === "references";
  await forEachStatic(listing, uids, (at, bytes, start) => {
    lies.moveTo(bytes, start);
    sentMs[at] = sentDate(listing.summary, uids[at] ?? 0, lies.sentMs(bytes));
    envelope.moveTo(bytes, lies.envelopeStart);
    const base = baseSubject(decodeHeaderValue(envelope.text("subject") ?? ""));
    subjects[at] = casemapKey(base.text);
    isReply[at] = base.isReply;
    if (!byReferences) return;
    const row = staticAt(bytes, start);
    ids[at] = messageIdsIn(row.messageId, 1)[0] ?? "";
    if (row.references === undefined) unknown.push(at);
    references[at] = ancestors(row.references ?? "", envelope);
  });
  for (let from = 0; from < unknown.length; from += bodiesAtOnce) {
    await readOldReferences(listing, uids, unknown.slice(from, from + bodiesAtOnce), references);
  }
  const messages = { uids, sentMs, subjects, isReply, ids, references };
  const steps = byReferences ? threadsByReferences(messages) : threadsBySubject(messages);
  return runInSlices(listing, steps);
}

/** RFC 5256 §3: the ids of References, or else the first valid one of In-Reply-To. */
function ancestors(references: string, envelope: EnvelopeReader): readonly string[] {
  const named = references === "" ? [] : messageIdsIn(references);
  return named.length > 0 ? named : messageIdsIn(envelope.text("inReplyTo") ?? "", 1);
}

/** Replaces what In-Reply-To gave where there is a References field. */
async function readOldReferences(
  { engine, summary: { columns }, signal }: Listing,
  uids: Uint32Array,
  places: readonly number[],
  references: (readonly string[])[],
): Promise<void> {
  signal.throwIfAborted();
  const there = places.filter((place) => columns.indexOf(uids[place] ?? 0) >= 0);
  const named = there.map((place) => uids[place] ?? 0);
  const names = named.map((uid) => {
    const at = columns.indexOf(uid);
    return { tag: columns.bodyTag[at] ?? 0, lsn: columns.bodyLsn[at] ?? 0 };
  });
  const bodies = await readBodies(engine, columns, named, names);
  for (const [i, place] of there.entries()) {
    const body = bodies[i];
    if (body === undefined) continue;
    const bytes =
      body.kind === "bytes"
        ? body.bytes.subarray(0, mimeLimits.headerBytesMax)
        : await engine.bodies.readBlob(
            body.id,
            0,
            Math.min(body.length, mimeLimits.headerBytesMax),
          );
    const found = messageIdsIn(referencesField(asBuffer(bytes)));
    if (found.length > 0) references[place] = found;
  }
}

function referencesField(header: Buffer): string {
  for (const { name, valueStart, end } of headerFieldsOf(header)) {
    if (name === "references") return header.toString("latin1", valueStart, end);
  }
  return "";
}
