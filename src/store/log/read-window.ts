// Reading entries back from the log window as raw records, for a member that catches up and for
// the unapplied tail after a restart. Finding places is log-window.ts's, reading segment-reader.ts's.

import { MailError } from "../../mail/errors.ts";
import { type Lsn, lsn, type ShardId } from "../../mail/ids.ts";
import type { EntryPlace, LogWindow } from "./log-window.ts";
import { decodeEntry } from "./record.ts";
import { isBefore } from "./replay.ts";
import type { SegmentReader } from "./segment-reader.ts";
import type { EntriesRead, Position } from "./types.ts";

interface Sources {
  readonly window: LogWindow;
  readonly reader: SegmentReader;
  /** Nothing from here on is on disk yet. */
  readonly durableEnd: Position;
}

interface Wanted {
  readonly shard: ShardId;
  readonly from: Lsn;
  readonly last: Lsn;
  readonly maxBytes: number;
}

const gapBytesMax = 65_536;
const readBytesMax = 1_048_576;

/**
 * @param restore makes the record of an entry from what lies in the file.
 * @throws {MailError} DAMAGED when a record of the window fails its checksum.
 */
export async function readWindow(
  { window, reader, durableEnd }: Sources,
  { shard, from, last, maxBytes }: Wanted,
  restore?: (record: Uint8Array) => Uint8Array,
): Promise<EntriesRead> {
  const places: EntryPlace[] = [];
  let bytes = 0;
  for (let at = from; at <= last; at = lsn(at + 1)) {
    const near = places.at(-1)?.segment;
    const place =
      (near === undefined ? undefined : window.findNow(shard, at, near)) ??
      (await window.find(shard, at));
    if (place === undefined) return { kind: "pruned" };
    if (!isBefore(place, durableEnd)) break;
    if (places.length > 0 && bytes + place.length > maxBytes) break;
    places.push(place);
    bytes += place.length;
  }
  const records: Uint8Array[] = [];
  for (let start = 0; start < places.length; ) {
    const run = runFrom(places, start);
    const base = run[0]?.offset ?? 0;
    const end = run.at(-1) ?? { offset: 0, length: 0 };
    const segment = run[0]?.segment ?? 0;
    const chunk = await reader.readRange(segment, base, end.offset + end.length - base);
    for (const place of run) {
      const bytes = chunk.subarray(place.offset - base, place.offset - base + place.length);
      const record = restore === undefined ? bytes : restore(bytes);
      if (decodeEntry(record)?.hash !== place.hash) {
        throw new MailError({ code: "DAMAGED", what: `record at ${segment}:${place.offset}` });
      }
      records.push(record);
    }
    start += run.length;
  }
  return { kind: "entries", records };
}

/** Places from `start` on that one pread may cover. */
function runFrom(places: readonly EntryPlace[], start: number): readonly EntryPlace[] {
  const first = places[start];
  let end = start + 1;
  for (; first !== undefined && end < places.length; end++) {
    const before = places[end - 1];
    const place = places[end];
    if (before === undefined || place === undefined || place.segment !== first.segment) break;
    if (place.offset - (before.offset + before.length) > gapBytesMax) break;
    if (place.offset + place.length - first.offset > readBytesMax) break;
  }
  return places.slice(start, end);
}
