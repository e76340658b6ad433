// What the worker needs of messages, read on the main thread: part offsets and the bytes that SEARCH looks
// at. Repairs nothing: a message that can't be read now is left out, and read through by searches.

import { asBuffer } from "../../lib/bytes.ts";
import type { PartIndex } from "../../mail/message-index.ts";
import type { BodyName } from "../bodies.ts";
import type { Columns } from "../columns.ts";
import type { Engine } from "../engine.ts";
import { bodyKey } from "../keyspace.ts";
import { noticeOf } from "../lost-body.ts";
import type { MailboxSummary } from "../mailbox-state.ts";
import { forPieces } from "../message-pieces.ts";
import { openRow } from "../row.ts";
import { readPlace } from "../rows.ts";
import type { BodyPlace } from "../rows.ts";
import { readParts, staticAt } from "../static-row.ts";
import { StaticReader } from "../statics.ts";
import type { MailboxPlace } from "./index-keys.ts";
import type { Piece, RawMessage } from "./index-job.ts";
import { checkOf } from "./narrow.ts";

/** Whole messages up to here; of larger ones only what is needed. */
const wholeBytesMax = 16 * 1024;
/** A message with more text than this, or in more pieces, is a candidate for every search. */
const textBytesMax = 4 * 1024 * 1024;
const piecesMax = 256;

/** Reads messages by UID, ascending; those that are gone or can't be read are not among them. */
export async function readRawMessages(
  engine: Engine,
  place: MailboxPlace,
  summary: MailboxSummary,
  uids: readonly number[],
): Promise<RawMessage[]> {
  try {
    return await readTogether(engine, place, summary, uids);
  } catch {
    // One of them is damaged, or was moved by garbage collection.
    const found: RawMessage[] = [];
    for (const uid of uids) {
      const one = await readTogether(engine, place, summary, [uid]).catch(() => []);
      found.push(...one);
    }
    return found;
  }
}

interface Wanted {
  readonly uid: number;
  readonly check: number;
  readonly name: BodyName;
}

async function readTogether(
  engine: Engine,
  place: MailboxPlace,
  summary: MailboxSummary,
  uids: readonly number[],
): Promise<RawMessage[]> {
  const wanted = uids.flatMap((uid) => wantedOf(summary.columns, uid) ?? []);
  if (wanted.length === 0) return [];
  const names = wanted.map(({ name }) => name);
  const reader = new StaticReader(engine.rows, place.account, place.mailbox, summary);
  const [statics, places] = await Promise.all([
    reader.read({ uids: wanted.map(({ uid }) => uid), names }),
    placesOf(engine, names),
  ]);
  const locations = places.flatMap((one) => (one.kind === "segment" ? [one.location] : []));
  const bodies = locations.length === 0 ? [] : await engine.bodies.readMany(locations);
  const found: RawMessage[] = [];
  let next = 0;
  for (const [at, { uid, check }] of wanted.entries()) {
    const row = statics.bytes[at];
    const body = places[at];
    if (row === undefined || body === undefined) continue;
    const { parts: offsets } = staticAt(row, statics.starts[at] ?? 0);
    const from = offsets.at;
    const root = readParts(offsets);
    const parts = row.subarray(from, offsets.at);
    const whole = body.kind === "segment" ? bodies[next++] : undefined;
    const pieces =
      body.kind === "segment" && whole !== undefined
        ? piecesOf(root, whole.subarray(body.offset, body.offset + body.length))
        : body.kind === "blob"
          ? await blobPieces(engine, root, body.id)
          : [];
    found.push({ uid, check, parts, pieces });
  }
  return found;
}

function wantedOf(columns: Columns, uid: number): Wanted | undefined {
  const row = columns.indexOf(uid);
  if (row < 0) return undefined;
  const name = { tag: columns.bodyTag[row] ?? 0, lsn: columns.bodyLsn[row] ?? 0 };
  return { uid, check: checkOf(columns, row), name };
}

/** Where bodies lie. @throws MailError DAMAGED, and when one has no row */
async function placesOf(engine: Engine, names: readonly BodyName[]): Promise<BodyPlace[]> {
  const keys = names.map(({ tag, lsn }) => bodyKey(tag, lsn));
  const values = await engine.rows.getMany(keys);
  return keys.map((key, at) => {
    const value = values[at];
    if (value === undefined) throw new Error("a body without a place");
    return readPlace(openRow(key, value));
  });
}

function piecesOf(root: PartIndex, bytes: Uint8Array): readonly Piece[] {
  if (bytes.length <= wholeBytesMax) return [{ start: 0, bytes }];
  return spans(root).map(({ start, end }) => ({ start, bytes: bytes.subarray(start, end) }));
}

/** Nothing for one that has too much text, or is lost. */
async function blobPieces(engine: Engine, root: PartIndex, id: string): Promise<readonly Piece[]> {
  const wanted = spans(root);
  const bytes = wanted.reduce((sum, { start, end }) => sum + end - start, 0);
  if (bytes > textBytesMax || wanted.length > piecesMax) return [];
  const pieces: Piece[] = [];
  for (const { start, end } of wanted) {
    const piece = await engine.bodies.readBlob(id, start, end - start);
    // It may be found again on another member.
    if (piece.length > 0 && asBuffer(piece).equals(noticeOf(piece.length))) return [];
    pieces.push({ start, bytes: piece });
  }
  return pieces;
}

/** The header and all that `forPieces` names. */
function spans(root: PartIndex): readonly { readonly start: number; readonly end: number }[] {
  const found = [{ start: root.headerStart, end: root.bodyStart }];
  forPieces(root, (start, end) => found.push({ start, end }));
  return found;
}
