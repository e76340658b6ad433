// The pieces of a full copy as they travel: a head of a few values and a body, with a checksum over
// the body, as not every link has one. What the pieces mean is store/shard-copy.ts.

import { crc32c } from "../../lib/crc32c.ts";
import { unreachable } from "../../lib/assert.ts";
import { lsn as makeLsn, shardId, shardMax } from "../../mail/ids.ts";
import type { CopiedBody, CopyPiece } from "../../store/shard-copy.ts";
import type { RpcReply } from "../link/rpc.ts";
import { asArray, asBoolean, asCount, asOptional, asText, malformed } from "./decode.ts";

/** Numbers of the wire: never reused. */
const wireKind = { begin: 0, rows: 1, bodies: 2, blob: 3, blobBytes: 4, end: 5 } as const;

const partMax = 0xffff;
const crcMax = 0xffff_ffff;
const none = new Uint8Array(0);

export function encodePiece(piece: CopyPiece): RpcReply {
  switch (piece.kind) {
    case "begin": {
      const { shard, point, accounts, bytes } = piece;
      return { head: [wireKind.begin, shard, point.lsn, point.hash, accounts, bytes] };
    }
    case "rows":
      return { head: [wireKind.rows, crc32c(piece.bytes)], body: piece.bytes };
    case "bodies": {
      const list = piece.bodies.flatMap(({ lsn, part, length, crc }) => [
        lsn,
        part,
        length,
        crc ?? null,
      ]);
      return { head: [wireKind.bodies, crc32c(piece.bytes), list], body: piece.bytes };
    }
    case "blob": {
      const { lsn, part, name, length, sha256 } = piece;
      return { head: [wireKind.blob, lsn, part, name, length, sha256] };
    }
    case "blobBytes": {
      const { bytes, last } = piece;
      return { head: [wireKind.blobBytes, crc32c(bytes), last], body: bytes };
    }
    case "end":
      return { head: [wireKind.end, piece.rows, piece.bodies] };
    default:
      return unreachable(piece);
  }
}

/** @throws {MailError} INVALID */
export function decodePiece({ head, body = none }: RpcReply): CopyPiece {
  const fields = asArray(head, "piece");
  const kind = asCount(fields[0], "piece", 255);
  switch (kind) {
    case wireKind.begin:
      return {
        kind: "begin",
        shard: shardId(asCount(fields[1], "shard", shardMax)),
        point: { lsn: makeLsn(asCount(fields[2], "lsn")), hash: asCount(fields[3], "hash") },
        accounts: asCount(fields[4], "accounts"),
        bytes: asCount(fields[5], "bytes"),
      };
    case wireKind.rows:
      return { kind: "rows", bytes: checked(fields[1], body) };
    case wireKind.bodies:
      return { kind: "bodies", bytes: checked(fields[1], body), bodies: decodeBodies(fields[2]) };
    case wireKind.blob:
      return {
        kind: "blob",
        lsn: asCount(fields[1], "lsn"),
        part: asCount(fields[2], "part", partMax),
        name: blobName(fields[3]),
        length: asCount(fields[4], "length"),
        sha256: asText(fields[5], "digest", 64),
      };
    case wireKind.blobBytes: {
      const last = asBoolean(fields[2], "end of a blob");
      return { kind: "blobBytes", bytes: checked(fields[1], body), last };
    }
    case wireKind.end:
      return {
        kind: "end",
        rows: asCount(fields[1], "rows"),
        bodies: asCount(fields[2], "bodies"),
      };
    default:
      throw malformed("kind of piece");
  }
}

/** A blob's name becomes a file's: nothing else may come in. */
export function blobName(value: unknown): string {
  const name = asText(value, "blob", 64);
  if (!/^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$/.test(name)) throw malformed("blob");
  return name;
}

/** The body, if its checksum is the one that was sent. */
export function checked(crc: unknown, body: Uint8Array): Uint8Array {
  if (crc32c(body) !== asCount(crc, "checksum", crcMax)) throw malformed("checksum");
  return body;
}

function decodeBodies(value: unknown): readonly CopiedBody[] {
  const list = asArray(value, "bodies");
  if (list.length % 4 !== 0) throw malformed("bodies");
  const bodies: CopiedBody[] = [];
  for (let at = 0; at < list.length; at += 4) {
    bodies.push({
      lsn: asCount(list[at], "lsn"),
      part: asCount(list[at + 1], "part", partMax),
      length: asCount(list[at + 2], "length"),
      crc: asOptional(list[at + 3], "checksum", (crc, what) => asCount(crc, what, crcMax)),
    });
  }
  return bodies;
}
