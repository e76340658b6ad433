// Bytes of messages: from body ids to places on this node to bytes, many at once. Places are kept in
// the columns, so that a mailbox read again needs no look-ups.

import { MailError, isMailError } from "../mail/errors.ts";
import type { Columns } from "./columns.ts";
import type { Engine } from "./engine.ts";
import type { Location } from "./journal.ts";
import { bodyKey } from "./keyspace.ts";
import { openRow } from "./row.ts";
import { noticeOf } from "./lost-body.ts";
import { readPlace } from "./rows.ts";
import type { BodyPlace } from "./rows.ts";
import { spreadReads } from "./spread-reads.ts";

export interface BodyName {
  readonly tag: number;
  readonly lsn: number;
}

/** A message's bytes in memory, or where to stream them from. */
export type Body =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "blob"; readonly id: string; readonly length: number };

const triesMax = 4;
const placesPerCall = 128;

/**
 * The bodies of messages, in the order of `uids`, which have these names (they stay readable when the
 * message is expunged meanwhile). @throws MailError DAMAGED
 */
export async function readBodies(
  engine: Engine,
  columns: Columns,
  uids: readonly number[],
  names: readonly BodyName[],
): Promise<Body[]> {
  for (let tries = 1; ; tries++) {
    try {
      return await readPlaces(engine, await placesOf(engine, columns, uids, names));
    } catch (error) {
      // Garbage rewriting moved a body between the two steps: its row has the new place.
      const isMoved = engine.bodies.isMoved(error);
      if (tries === triesMax || (!isMoved && !isMailError(error, "DAMAGED"))) throw error;
      for (const uid of uids) keepPlace(columns, uid, undefined);
      if (!isMoved && !(await mendBodies(engine, names))) throw error;
    }
  }
}

/** Has the bad ones among these bodies replaced. False when some can't be now. */
async function mendBodies(engine: Engine, names: readonly BodyName[]): Promise<boolean> {
  let good = true;
  for (const { tag, lsn } of names) {
    const key = bodyKey(tag, lsn);
    try {
      const value = await engine.rows.get(key);
      if (value !== undefined) {
        await readPlaces(engine, [readPlace(openRow(key, value))]);
        continue;
      }
    } catch (error) {
      if (engine.bodies.isMoved(error)) continue;
      if (!isMailError(error, "DAMAGED")) throw error;
    }
    good = (await engine.mendBody(tag, lsn)) && good;
  }
  return good;
}

async function placesOf(
  engine: Engine,
  columns: Columns,
  uids: readonly number[],
  names: readonly BodyName[],
): Promise<BodyPlace[]> {
  const places: (BodyPlace | undefined)[] = uids.map((uid) => knownPlace(columns, uid));
  const missing: number[] = [];
  for (let at = 0; at < places.length; at++) if (places[at] === undefined) missing.push(at);
  if (missing.length > 0) {
    const keys = missing.map((at) => bodyKey(names[at]?.tag ?? 0, names[at]?.lsn ?? 0));
    const values = await spreadReads(engine.rows, keys, placesPerCall);
    keys.forEach((key, i) => {
      const value = values[i];
      if (value === undefined) {
        throw new MailError({ code: "DAMAGED", what: `place of body ${key.toString("hex")}` });
      }
      const place = readPlace(openRow(key, value));
      const at = missing[i] ?? 0;
      places[at] = place;
      if (isAlone(place)) keepPlace(columns, uids[at] ?? 0, place.location);
    });
  }
  return places.flatMap((place) => place ?? []);
}

function knownPlace(columns: Columns, uid: number): BodyPlace | undefined {
  const at = columns.indexOf(uid);
  const location = at < 0 ? undefined : columns.placeOf(at);
  if (location === undefined) return undefined;
  return { kind: "segment", location, offset: 0, length: location.bodyBytes };
}

function keepPlace(columns: Columns, uid: number, location: Location | undefined): void {
  const at = columns.indexOf(uid);
  if (at >= 0) columns.setPlace(at, location);
}

/** True when the body is its entry's only one. */
function isAlone(place: BodyPlace): place is Extract<BodyPlace, { kind: "segment" }> {
  return (
    place.kind === "segment" && place.offset === 0 && place.length === place.location.bodyBytes
  );
}

async function readPlaces(engine: Engine, places: readonly BodyPlace[]): Promise<Body[]> {
  const locations: Location[] = [];
  for (const place of places) if (place.kind === "segment") locations.push(place.location);
  const wholes = locations.length === 0 ? [] : await engine.bodies.readMany(locations);
  let next = 0;
  return places.map((place): Body => {
    if (place.kind === "blob") return { kind: "blob", id: place.id, length: place.length };
    if (place.kind === "lost") return { kind: "bytes", bytes: noticeOf(place.length) };
    const whole = wholes[next++];
    if (whole === undefined || whole.length < place.offset + place.length) {
      throw new MailError({ code: "DAMAGED", what: "a message's bytes" });
    }
    const alone = place.offset === 0 && place.length === whole.length;
    return {
      kind: "bytes",
      bytes: alone ? whole : whole.subarray(place.offset, place.offset + place.length),
    };
  });
}
