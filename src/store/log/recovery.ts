// Opening a log after whatever happened to it: finds its segments, replays them from CHECKPOINT,
// tells a torn tail (cut off) from corruption (reported), and makes the end fit for appending.

import type { Disk, DiskFile } from "../../lib/disk.ts";
import { MailError } from "../../mail/errors.ts";
import type { StoreId } from "../../mail/ids.ts";
import { type Checkpoint, readCheckpoint, writeCheckpoint } from "./checkpoint-file.ts";
import { createSegment, type OpenSegment } from "./group-writer.ts";
import { LogWindow } from "./log-window.ts";
import { recordType } from "./record.ts";
import { Replay } from "./replay.ts";
import {
  decodeSegmentHeader,
  findGroup,
  segmentHeaderBytes,
  type SegmentHeader,
  segmentOfName,
  segmentPath,
  walkSegment,
} from "./segment-file.ts";
import { TailTable } from "./tail-log.ts";
import type { Position, SegmentLogOptions } from "./types.ts";

export interface SegmentInfo {
  readonly createdMs: number;
  /** Length of the file; the newest segment's grows. */
  readonly bytes: number;
}

export interface Recovered {
  readonly replay: Replay;
  readonly window: LogWindow;
  readonly tails: TailTable;
  readonly last: OpenSegment;
  readonly segments: Map<number, SegmentInfo>;
  readonly from: Position;
}

interface Tail {
  /** End of the last good record. */
  readonly end: number;
  /** Where the last group begins, or the first record would. */
  readonly groupAt: number;
}

export async function recover(
  disk: Disk,
  folder: string,
  options: SegmentLogOptions,
): Promise<Recovered> {
  const checkpoint = await checkpointOf(disk, folder, options);
  const headers = await readHeaders(disk, folder, options.storeId);
  await dropTornSegment(disk, folder, headers);
  const segments = new Map<number, SegmentInfo>();
  for (const [segment, { header, bytes }] of headers) {
    segments.set(segment, { bytes, createdMs: header?.createdMs ?? 0 });
  }
  const numbers = [...headers.keys()];
  const newest = numbers.at(-1);
  const oldest = contiguousFrom(numbers);
  const window = new LogWindow(disk, folder, oldest);
  const tails = new TailTable(new LogWindow(disk, folder, oldest, true));
  const replay = new Replay(checkpoint, window, tails, options.apply);
  let last: OpenSegment | undefined;
  for (
    let segment = checkpoint.from.segment;
    newest !== undefined && segment <= newest;
    segment++
  ) {
    const header = headers.get(segment)?.header;
    if (header === undefined) throw unreadable(`segment ${segment}`);
    last = await replaySegment(disk, folder, header, segment === newest, checkpoint, replay);
  }
  last ??= await firstSegment(disk, folder, checkpoint, options, segments);
  await replay.finish({ segment: last.segment, offset: last.end });
  window.setDurable(last.segment);
  tails.window.setDurable(last.segment);
  return { replay, window, tails, last, segments, from: checkpoint.from };
}

async function checkpointOf(
  disk: Disk,
  folder: string,
  { storeId }: SegmentLogOptions,
): Promise<Checkpoint> {
  const known = await readCheckpoint(disk, folder);
  if (known !== undefined) return known;
  const headers = await readHeaders(disk, folder, storeId);
  // CHECKPOINT is written before the first segment, so segments without one have lost it.
  if (headers.size > 0) throw unreadable("CHECKPOINT (missing)");
  const start = { segment: 1, offset: segmentHeaderBytes };
  const fresh = { from: start, asOf: start, shards: [] };
  await disk.makeFolder(folder);
  await disk.syncFolder(".");
  await writeCheckpoint(disk, folder, fresh);
  return fresh;
}

type Headers = Map<number, { readonly header: SegmentHeader | undefined; readonly bytes: number }>;

async function readHeaders(disk: Disk, folder: string, storeId: StoreId): Promise<Headers> {
  const headers: Headers = new Map();
  for (const name of await disk.list(folder)) {
    const segment = segmentOfName(name);
    if (segment === undefined) continue;
    const file = await disk.open(segmentPath(folder, segment), "read");
    try {
      const header = decodeSegmentHeader(await file.read(0, segmentHeaderBytes));
      if (header !== undefined && header.storeId !== storeId) {
        const why = `segment ${segment} belongs to store ${header.storeId}, this is ${storeId}`;
        throw new MailError({ code: "INVALID", why });
      }
      const own = header?.segment === segment ? header : undefined;
      headers.set(segment, { header: own, bytes: await file.size() });
    } finally {
      await file.close();
    }
  }
  return headers;
}

/** The newest file may have been cut off while it was made; nothing was in it yet. */
async function dropTornSegment(disk: Disk, folder: string, headers: Headers): Promise<void> {
  const newest = [...headers.entries()].at(-1);
  if (newest === undefined) return;
  const [segment, { header, bytes }] = newest;
  if (header !== undefined || bytes > segmentHeaderBytes) return;
  await disk.unlink(segmentPath(folder, segment));
  await disk.syncFolder(folder);
  headers.delete(segment);
}

async function firstSegment(
  disk: Disk,
  folder: string,
  checkpoint: Checkpoint,
  { storeId, clock, random }: SegmentLogOptions,
  segments: Map<number, SegmentInfo>,
): Promise<OpenSegment> {
  const { segment, offset } = checkpoint.asOf;
  if (segment !== 1 || offset !== segmentHeaderBytes) throw unreadable("segments (missing)");
  const salt = random.bytes(16);
  const createdMs = clock.nowMs();
  const file = await createSegment(disk, folder, { segment, storeId, createdMs, salt });
  segments.set(segment, { createdMs, bytes: segmentHeaderBytes });
  return { segment, salt, file, end: segmentHeaderBytes };
}

async function replaySegment(
  disk: Disk,
  folder: string,
  header: SegmentHeader,
  newest: boolean,
  checkpoint: Checkpoint,
  replay: Replay,
): Promise<OpenSegment> {
  const { segment, salt } = header;
  const file = await disk.open(segmentPath(folder, segment), newest ? "write" : "read");
  try {
    const tail = await replayRecords(file, header, newest, checkpoint, replay);
    if (newest) await mendTail(file, tail);
    else await file.close();
    return { segment, salt, file, end: tail.end };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function replayRecords(
  file: DiskFile,
  { segment, salt }: SegmentHeader,
  newest: boolean,
  { from, asOf }: Checkpoint,
  replay: Replay,
): Promise<Tail> {
  let next = segmentHeaderBytes;
  let groupAt = next;
  for (;;) {
    const stop = await walkSegment(file, next, false, (record) => {
      if (record.header.type === recordType.group) groupAt = record.offset;
      return replay.record(segment, record);
    });
    if (stop.kind === "end") return { end: stop.offset, groupAt };
    // Places behind the bad record that are known to begin a record, and to have been synced later.
    const known = [from, asOf]
      .filter((place) => place.segment === segment && place.offset > stop.offset)
      .map((place) => place.offset);
    const group = await findGroup(file, segment, salt, stop.offset);
    const resume = Math.min(...known, group ?? Number.POSITIVE_INFINITY);
    // Nothing behind says that this was ever synced: the tail of the last, unacknowledged group.
    const synced = !newest || resume !== Number.POSITIVE_INFINITY || from.segment > segment;
    if (!synced) return { end: stop.offset, groupAt };
    const size = await file.size();
    next = stop.header === undefined ? Math.min(resume, size) : stop.offset + stop.header.length;
    replay.bad({ segment, offset: stop.offset }, stop.header, { segment, offset: next });
    if (next >= size) return { end: Math.min(next, size), groupAt };
  }
}

/**
 * Cuts off what is torn, writes the last group again and syncs. Again, because a sync that failed
 * before the process ended may have left pages that are in RAM, marked clean, and not on the disk.
 */
async function mendTail(file: DiskFile, tail: Tail): Promise<void> {
  if ((await file.size()) > tail.end) await file.truncate(tail.end);
  const bytes = await file.read(tail.groupAt, tail.end - tail.groupAt);
  if (bytes.byteLength > 0) await file.writev([bytes], tail.groupAt);
  await file.sync();
}

/** The lowest number from which no segment is missing. */
function contiguousFrom(numbers: readonly number[]): number {
  let oldest = numbers.at(-1) ?? 1;
  for (const segment of numbers.toReversed()) {
    if (segment < oldest - 1) break;
    oldest = segment;
  }
  return oldest;
}

function unreadable(what: string): MailError {
  return new MailError({ code: "DAMAGED", what: `log: ${what}` });
}
