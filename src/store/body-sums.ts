// What a body is, in few bytes, so that two copies of it can be compared: bodies never change, so at any
// time. A sum is taken from the bytes themselves; for a blob it is the digest that its file is held to.

import { crc32c } from "../lib/crc32c.ts";
import { isMailError } from "../mail/errors.ts";
import { bodyTag } from "./apply-rows.ts";
import { bodyKey } from "./keyspace.ts";
import { SegmentGone } from "./log/segment-reader.ts";
import type { BodyId, SegmentLog } from "./log/types.ts";
import { payloadOf, rowIsSound } from "./row.ts";
import { readPlace } from "./rows.ts";
import type { BodyPlace } from "./rows.ts";
import type { WriteQueue } from "./write-queue.ts";

export interface BodySum {
  readonly length: number;
  readonly sum: string;
}

/** The sum of a body of which `whole`, its entry's bytes in the log, was read; of a blob without. */
export function sumOf(place: BodyPlace, whole?: Uint8Array): BodySum | undefined {
  const { length } = place;
  if (place.kind === "blob") return { length, sum: place.sha256 };
  if (place.kind === "lost" || whole === undefined) return undefined;
  const bytes = whole.subarray(place.offset, place.offset + length);
  return { length, sum: crc32c(bytes).toString(16) };
}

/** Of each body; undefined where it is not here, or damaged, which its next reader or the scrubber mends. */
export async function bodySums(
  { rows, log }: { readonly rows: WriteQueue; readonly log: SegmentLog },
  ids: readonly BodyId[],
): Promise<readonly (BodySum | undefined)[]> {
  const keys = ids.map(({ shard, lsn, part }) => bodyKey(bodyTag(shard, part), lsn));
  const values = await rows.getMany(keys);
  const sums: (BodySum | undefined)[] = [];
  for (const [at, key] of keys.entries()) {
    const value = values[at];
    const isHere = value !== undefined && rowIsSound(key, value);
    const place = isHere ? readPlace(payloadOf(value)) : undefined;
    if (place === undefined) sums.push(undefined);
    else sums.push(sumOf(place, await wholeOf(log, place)));
  }
  return sums;
}

async function wholeOf(log: SegmentLog, place: BodyPlace): Promise<Uint8Array | undefined> {
  if (place.kind !== "segment") return undefined;
  try {
    return await log.read(place.location);
  } catch (error) {
    if (isMailError(error, "DAMAGED") || error instanceof SegmentGone) return undefined;
    throw error;
  }
}
