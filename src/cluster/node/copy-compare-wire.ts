// Frames of comparisons between copies (copy-compare.ts): digests of units as of one entry, sums of bodies.

import { MailError } from "../../mail/errors.ts";
import { lsn as makeLsn, shardId, shardMax } from "../../mail/ids.ts";
import type { Lsn, ShardId } from "../../mail/ids.ts";
import type { BodySum } from "../../store/body-sums.ts";
import type { BodyId } from "../../store/log/types.ts";
import { digestVersion } from "../../store/shard-digest.ts";
import type { DigestPage } from "../../store/shard-digest.ts";
import {
  asArray,
  asBoolean,
  asCount,
  asInteger,
  asListOf,
  asOptional,
  asText,
  malformed,
} from "./decode.ts";

export const compareMethods = {
  /** Call, secondary to primary. UnitsRequest → lsn and units */
  units: "compare.units",
  /** Call, secondary to primary. SumsRequest → a sum or nothing for each */
  bodies: "compare.bodies",
} as const;

export interface UnitsRequest {
  readonly shard: ShardId;
  /** Not before this entry is applied. */
  readonly atLeast: Lsn;
  readonly after: number;
  readonly through: number;
}

export interface SumsRequest {
  readonly shard: ShardId;
  readonly ids: readonly BodyId[];
}

const idsMax = 4096;
const partMax = 0xffff;

export function encodeUnitsRequest({ shard, atLeast, after, through }: UnitsRequest): unknown {
  return [digestVersion, shard, atLeast, after, through];
}

/** @throws {MailError} INVALID */
export function decodeUnitsRequest(head: unknown): UnitsRequest {
  const fields = asArray(head, "units");
  sameVersion(fields[0]);
  return {
    shard: asShard(fields[1]),
    atLeast: makeLsn(asCount(fields[2], "lsn")),
    after: asInteger(fields[3], "unit"),
    through: asCount(fields[4], "unit"),
  };
}

export function encodeUnitsAnswer({ lsn, units }: Pick<DigestPage, "lsn" | "units">): unknown {
  return [lsn, units.map(({ unit, digest, sound }) => [unit, digest, sound])];
}

/** @throws {MailError} INVALID */
export function decodeUnitsAnswer(head: unknown): Pick<DigestPage, "lsn" | "units"> {
  const fields = asArray(head, "units");
  const units = asListOf(fields[1], "units", (value) => {
    const one = asArray(value, "unit");
    const unit = asCount(one[0], "unit");
    return { unit, digest: asText(one[1], "digest", 32), sound: asBoolean(one[2], "unit") };
  });
  return { lsn: makeLsn(asCount(fields[0], "lsn")), units };
}

export function encodeSumsRequest({ shard, ids }: SumsRequest): unknown {
  return [digestVersion, shard, ids.flatMap(({ lsn, part }) => [lsn, part])];
}

/** @throws {MailError} INVALID */
export function decodeSumsRequest(head: unknown): SumsRequest {
  const fields = asArray(head, "sums");
  sameVersion(fields[0]);
  const shard = asShard(fields[1]);
  const flat = asListOf(fields[2], "bodies", asCount);
  if (flat.length % 2 !== 0 || flat.length > idsMax * 2) throw malformed("bodies");
  const ids: BodyId[] = [];
  for (let at = 0; at < flat.length; at += 2) {
    const part = asCount(flat[at + 1], "part", partMax);
    ids.push({ shard, lsn: makeLsn(flat[at] ?? 0), part });
  }
  return { shard, ids };
}

export function encodeSumsAnswer(sums: readonly (BodySum | undefined)[]): unknown {
  return sums.map((one) => (one === undefined ? null : [one.length, one.sum]));
}

/** @param count bodies that were asked for. @throws {MailError} INVALID */
export function decodeSumsAnswer(head: unknown, count: number): readonly (BodySum | undefined)[] {
  const sums = asListOf(head, "sums", (value) =>
    asOptional(value, "sum", (one) => {
      const fields = asArray(one, "sum");
      return { length: asCount(fields[0], "length"), sum: asText(fields[1], "sum", 64) };
    }),
  );
  if (sums.length !== count) throw malformed("sums");
  return sums;
}

/** Another version takes them in another way. */
function sameVersion(version: unknown): void {
  if (version === digestVersion) return;
  throw new MailError({ code: "INVALID", why: "digests of another version" });
}

function asShard(value: unknown): ShardId {
  return shardId(asCount(value, "shard", shardMax));
}
