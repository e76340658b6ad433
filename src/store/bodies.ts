// Bytes of messages: from body ids to places on this node to bytes, many at once.

import { MailError } from "../mail/errors.ts";
import type { Engine } from "./engine.ts";
import type { Location } from "./journal.ts";
import { bodyKey } from "./keyspace.ts";
import { openRow } from "./row.ts";
import { readPlace } from "./rows.ts";
import type { BodyPlace } from "./rows.ts";

export interface BodyName {
  readonly tag: number;
  readonly lsn: number;
}

/** A message's bytes in memory, or where to stream them from. */
export type Body =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "blob"; readonly id: string; readonly length: number };

const triesMax = 4;

/** The bodies in the order asked. @throws MailError DAMAGED */
export async function readBodies(engine: Engine, names: readonly BodyName[]): Promise<Body[]> {
  for (let tries = 1; ; tries++) {
    try {
      return await readPlaces(engine, await placesOf(engine, names));
    } catch (error) {
      // Garbage rewriting moved a body between the two steps: its row has the new place.
      if (tries === triesMax || !engine.bodies.isMoved(error)) throw error;
    }
  }
}

async function placesOf(engine: Engine, names: readonly BodyName[]): Promise<BodyPlace[]> {
  const keys = names.map(({ tag, lsn }) => bodyKey(tag, lsn));
  const values = await engine.rows.getMany(keys);
  return keys.map((key, at) => {
    const value = values[at];
    if (value === undefined) {
      throw new MailError({ code: "DAMAGED", what: `place of body ${key.toString("hex")}` });
    }
    return readPlace(openRow(key, value));
  });
}

async function readPlaces(engine: Engine, places: readonly BodyPlace[]): Promise<Body[]> {
  const locations: Location[] = [];
  for (const place of places) if (place.kind === "segment") locations.push(place.location);
  const wholes = locations.length === 0 ? [] : await engine.bodies.readMany(locations);
  let next = 0;
  return places.map((place): Body => {
    if (place.kind === "blob") return { kind: "blob", id: place.id, length: place.length };
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
