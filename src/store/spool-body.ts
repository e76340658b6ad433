// The bytes of spooled mail, from this member's log or blob files.

import { MailError } from "../mail/errors.ts";
import type { ShardId } from "../mail/ids.ts";
import { bodyTag } from "./apply-rows.ts";
import type { Body } from "./bodies.ts";
import type { Engine } from "./engine.ts";
import { bodyKey } from "./keyspace.ts";
import { openRow } from "./row.ts";
import { readPlace } from "./rows.ts";

const triesMax = 4;
const pieceBytes = 128 * 1024;

/** The body of a spool entry. @throws MailError DAMAGED */
export async function readSpooledBody(engine: Engine, shard: ShardId, lsn: number): Promise<Body> {
  const key = bodyKey(bodyTag(shard, 0), lsn);
  for (let tries = 1; ; tries++) {
    const value = await engine.rows.get(key);
    if (value === undefined) throw damaged(key);
    const place = readPlace(openRow(key, value));
    if (place.kind === "blob") return { kind: "blob", id: place.id, length: place.length };
    if (place.kind !== "segment") throw damaged(key);
    try {
      const [bytes] = await engine.bodies.readMany([place.location]);
      if (bytes === undefined) throw damaged(key);
      return { kind: "bytes", bytes };
    } catch (error) {
      // Garbage rewriting moved it between the two steps: its row has the new place.
      if (tries === triesMax || !engine.bodies.isMoved(error)) throw error;
    }
  }
}

/** A blob's bytes in order; `see` is shown each piece. */
export async function* blobPieces(
  engine: Engine,
  blob: Extract<Body, { kind: "blob" }>,
  see: (piece: Buffer) => void,
): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < blob.length; at += pieceBytes) {
    const piece = await engine.bodies.readBlob(blob.id, at, Math.min(pieceBytes, blob.length - at));
    see(Buffer.from(piece));
    yield piece;
  }
}

function damaged(key: Buffer): MailError {
  return new MailError({ code: "DAMAGED", what: `spooled body ${key.toString("hex")}` });
}
