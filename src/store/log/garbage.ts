// Rewriting of garbage: which segments are worth it, and the one safe order: copy, sync, switch the
// locations, flush, CHECKPOINT, unlink. Whether a body is live is the engine's knowledge.

import { assert } from "../../lib/assert.ts";
import type { Disk } from "../../lib/disk.ts";
import { isMailError } from "../../mail/errors.ts";
import type { Location } from "../journal.ts";
import { headerBytes, recordType } from "./record.ts";
import { segmentHeaderBytes, segmentPath, walkSegment } from "./segment-file.ts";
import type { SegmentInfo } from "./recovery.ts";
import type {
  BodyId,
  CommitGroup,
  GarbageOwner,
  RewriteResult,
  SegmentUse,
  StoredBody,
} from "./types.ts";

const batchBodies = 1_000;
const batchBytes = 1_048_576;

/** Live bytes of each segment: a hint, kept by the engine, that only decides what is worth rewriting. */
export class LiveBytes {
  readonly #bytes = new Map<number, number>();

  constructor(known: Iterable<readonly [number, number]> = []) {
    for (const [segment, bytes] of known) this.#bytes.set(segment, bytes);
  }

  add(location: Location): void {
    const before = this.#bytes.get(location.segment) ?? 0;
    this.#bytes.set(location.segment, before + location.bodyBytes);
  }

  /** Never goes below nothing: replay may take a body away twice. */
  remove(location: Location): void {
    const before = this.#bytes.get(location.segment) ?? 0;
    this.#bytes.set(location.segment, Math.max(0, before - location.bodyBytes));
  }

  of(segment: number): number {
    return this.#bytes.get(segment) ?? 0;
  }

  forget(segment: number): void {
    this.#bytes.delete(segment);
  }

  entries(): IterableIterator<[number, number]> {
    return this.#bytes.entries();
  }
}

/** Segments under half live, the emptiest first, at most `count`. */
export function chooseGarbage(
  collectable: readonly SegmentUse[],
  live: LiveBytes,
  count: number,
): readonly number[] {
  return collectable
    .filter(({ segment, bytes }) => live.of(segment) * 2 < bytes)
    .sort((a, b) => live.of(a.segment) / a.bytes - live.of(b.segment) / b.bytes)
    .slice(0, count)
    .map(({ segment }) => segment);
}

/** Segments wholly before `below` and older, or further back, than the log window; oldest first. */
export function outsideWindow(
  segments: ReadonlyMap<number, SegmentInfo>,
  below: number,
  window: { readonly oldestMs: number; readonly bytesMax: number },
): readonly SegmentUse[] {
  const found: SegmentUse[] = [];
  let windowBytes = 0;
  let closedMs = Number.POSITIVE_INFINITY; // When the next segment began.
  const newestFirst = [...segments].sort(([a], [b]) => b - a);
  for (const [segment, { createdMs, bytes }] of newestFirst) {
    windowBytes += bytes;
    const outside = closedMs < window.oldestMs || windowBytes > window.bytesMax;
    if (outside && segment < below) found.unshift({ segment, bytes });
    closedMs = createdMs;
  }
  return found;
}

/** What rewriting needs of the log. */
export interface RewriteLog {
  readonly disk: Disk;
  readonly folder: string;
  read(location: Location): Promise<Uint8Array>;
  appendBody(
    id: BodyId,
    body: Uint8Array,
  ): { readonly location: Location; readonly group: CommitGroup };
  checkpoint(): Promise<unknown>;
  /** Closes the file, takes the segment out of the log window and its books. */
  forget(segment: number): Promise<void>;
}

export async function rewriteSegments(
  log: RewriteLog,
  segments: readonly number[],
  owner: GarbageOwner,
): Promise<RewriteResult> {
  const unreadable: number[] = [];
  const live: { readonly body: StoredBody; readonly order: number }[] = [];
  for (const segment of segments) {
    const bodies = await bodiesOf(log, segment);
    if (bodies === undefined) {
      unreadable.push(segment);
      continue;
    }
    for (let from = 0; from < bodies.length; from += batchBodies) {
      const batch = bodies.slice(from, from + batchBodies);
      const orders = await owner.liveOrder(batch);
      assert(orders.length === batch.length, "each body gets an answer");
      for (const [index, body] of batch.entries()) {
        const order = orders[index];
        if (order !== undefined) live.push({ body, order });
      }
    }
  }
  live.sort((a, b) => a.order - b.order);
  const damaged = await copyAll(
    log,
    live.map(({ body }) => body),
    owner,
  );
  await log.checkpoint();
  const kept = new Set([...unreadable, ...damaged.map(({ location }) => location.segment)]);
  const removed = segments.filter((segment) => !kept.has(segment));
  for (const segment of removed) {
    await log.forget(segment);
    await log.disk.unlink(segmentPath(log.folder, segment));
  }
  await log.disk.syncFolder(log.folder);
  return { removed, damaged, unreadable };
}

/** Copies in batches that are durable before any location is switched. Returns what can't be read. */
async function copyAll(
  log: RewriteLog,
  bodies: readonly StoredBody[],
  owner: GarbageOwner,
): Promise<readonly StoredBody[]> {
  const damaged: StoredBody[] = [];
  let copies: { readonly body: StoredBody; readonly to: Location }[] = [];
  let bytes = 0;
  let group: CommitGroup | undefined;
  const switchOver = async (): Promise<void> => {
    await group?.durable;
    for (const { body, to } of copies) await owner.relocate(body, body.location, to);
    copies = [];
    bytes = 0;
  };
  for (const body of bodies) {
    try {
      const content = await log.read(body.location);
      const copy = log.appendBody(body, content);
      group = copy.group;
      copies.push({ body, to: copy.location });
      bytes += content.byteLength;
    } catch (error) {
      if (!isMailError(error, "DAMAGED")) throw error;
      damaged.push(body);
    }
    if (bytes >= batchBytes) await switchOver();
  }
  await switchOver();
  return damaged;
}

/** Undefined when a header can't be read: what lies behind it is unknown. */
async function bodiesOf(
  log: RewriteLog,
  segment: number,
): Promise<readonly StoredBody[] | undefined> {
  const bodies: StoredBody[] = [];
  const file = await log.disk.open(segmentPath(log.folder, segment), "read");
  try {
    const stop = await walkSegment(file, segmentHeaderBytes, true, ({ header, offset }) => {
      const bodyBytes = header.length - headerBytes - header.headLength;
      if (bodyBytes === 0) return;
      if (header.type !== recordType.entry && header.type !== recordType.body) return;
      const bodyOffset = offset + headerBytes + header.headLength;
      const location = { segment, offset, bodyOffset, bodyBytes };
      const part = header.type === recordType.body ? header.kind : 0;
      bodies.push({ shard: header.shard, lsn: header.lsn, part, location });
    });
    return stop.kind === "end" ? bodies : undefined;
  } finally {
    await file.close();
  }
}
