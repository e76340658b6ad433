// Group commit without a timer: while one group is being written and synced, the next gathers.
// Rolls to a new segment between groups. Knows bytes and places; chains and marks are its caller's.
// A failed write or sync is final: nothing is written after it, and the process is to end.

import { assert } from "../../lib/assert.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Disk, DiskFile } from "../../lib/disk.ts";
import type { Random } from "../../lib/random.ts";
import { isNoSpace } from "../../lib/ballast.ts";
import { MailError } from "../../mail/errors.ts";
import type { Lsn, ShardId, StoreId } from "../../mail/ids.ts";
import {
  encodeGroup,
  encodeSegmentHeader,
  segmentHeaderBytes,
  segmentPath,
} from "./segment-file.ts";
import type { CommitGroup, Position, SegmentLogOptions } from "./types.ts";

/** A group while it gathers and is written. */
export interface Group extends CommitGroup {
  readonly segment: number;
  readonly offset: number;
  readonly marks: Map<ShardId, Lsn>;
  tails: Set<ShardId> | undefined;
  readonly parts: Uint8Array[];
  bytes: number;
  /** The salt of the segment that this group opens; undefined when it goes on in the last one. */
  readonly opens: Uint8Array | undefined;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export interface OpenSegment {
  readonly segment: number;
  readonly salt: Uint8Array;
  readonly file: DiskFile;
  /** Where the next group goes. */
  readonly end: number;
}

export interface GroupWriterOptions {
  readonly disk: Disk;
  readonly folder: string;
  readonly storeId: StoreId;
  readonly clock: Clock;
  readonly random: Random;
  readonly segmentBytes: number;
  readonly groupBytesMax: number;
  readonly queueBytesMax: number;
  readonly onDurable: (group: CommitGroup, end: Position) => void;
  readonly onSegment: (segment: number, createdMs: number) => void;
  readonly giveWay: () => Promise<boolean>;
  readonly onFatal: (error: unknown) => void;
}

const mebibyte = 1_048_576;

export function groupWriterOptions(
  disk: Disk,
  folder: string,
  options: SegmentLogOptions,
  hooks: Pick<GroupWriterOptions, "onDurable" | "onSegment">,
): GroupWriterOptions {
  const { storeId, clock, random, onFatal, giveWay = noRoom } = options;
  const { segmentBytes = 64 * mebibyte, groupBytesMax = 4 * mebibyte } = options;
  const { queueBytesMax = 64 * mebibyte } = options;
  const limits = { segmentBytes, groupBytesMax, queueBytesMax };
  return { disk, folder, storeId, clock, random, onFatal, giveWay, ...limits, ...hooks };
}

const noRoom = (): Promise<boolean> => Promise.resolve(false);

export class GroupWriter {
  readonly #options: GroupWriterOptions;
  readonly #queue: Group[] = [];
  #file: DiskFile;
  #salt: Uint8Array;
  #segment: number;
  /** End of everything placed so far, in `#segment`. */
  #end: number;
  #queuedBytes = 0;
  #gathering: Group | undefined;
  #running = false;
  #failure: Error | undefined;

  constructor(options: GroupWriterOptions, at: OpenSegment) {
    this.#options = options;
    this.#file = at.file;
    this.#salt = at.salt;
    this.#segment = at.segment;
    this.#end = at.end;
  }

  /** Behind the last record placed, durable or not. */
  get end(): Position {
    return { segment: this.#segment, offset: this.#end };
  }

  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** @throws {MailError} UNAVAILABLE after a failure, BUSY when `bytes` more are too many; 0 never are. */
  admit(bytes: number): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (bytes > 0 && this.#queuedBytes + bytes > this.#options.queueBytesMax) {
      throw new MailError({ code: "BUSY", what: "log" });
    }
  }

  /** The group that takes the next `bytes`, which begin at `end` in its segment. Follow with `put`. */
  place(bytes: number): Group {
    const open = this.#gathering;
    if (open !== undefined && open.bytes + bytes <= this.#options.groupBytesMax) return open;
    return this.#open();
  }

  /** Adds a record to the group that `place` just gave. */
  put(group: Group, parts: readonly Uint8Array[], bytes: number): void {
    for (const part of parts) group.parts.push(part);
    group.bytes += bytes;
    this.#end += bytes;
    this.#queuedBytes += bytes;
  }

  /** Waits until everything placed so far is durable. */
  async settle(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    await this.#queue.at(-1)?.durable;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  #open(): Group {
    const { segmentBytes, random } = this.#options;
    let opens: Uint8Array | undefined;
    if (this.#end >= segmentBytes) {
      opens = random.bytes(16);
      this.#salt = opens;
      this.#segment += 1;
      this.#end = segmentHeaderBytes;
    }
    const group = newGroup(this.#segment, this.#end, opens);
    this.#gathering = group;
    this.#queue.push(group);
    const header = encodeGroup(this.#salt, this.end);
    this.put(group, [header], header.byteLength);
    if (!this.#running) {
      this.#running = true;
      // One turn of the event loop: what arrives in this turn shares the sync.
      setImmediate(() => {
        this.#run().catch((error: unknown) => this.#fail(error));
      });
    }
    return group;
  }

  async #run(): Promise<void> {
    for (let group = this.#queue[0]; group !== undefined; group = this.#queue[0]) {
      if (this.#gathering === group) this.#gathering = undefined;
      const { opens, segment, parts, offset } = group;
      if (opens !== undefined) await this.#withRoom(() => this.#roll(segment, opens));
      await this.#withRoom(() => this.#file.writev(parts, offset));
      await this.#file.sync();
      this.#queue.shift();
      this.#queuedBytes -= group.bytes;
      this.#options.onDurable(group, {
        segment: group.segment,
        offset: group.offset + group.bytes,
      });
      group.resolve();
    }
    this.#running = false;
  }

  /** A write that found no room may be repeated at the same place; a sync never. */
  async #withRoom(write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      if (!isNoSpace(error) || !(await this.#options.giveWay())) throw error;
      await write();
    }
  }

  async #roll(segment: number, salt: Uint8Array): Promise<void> {
    const { disk, folder, storeId, clock, onSegment } = this.#options;
    const createdMs = clock.nowMs();
    const next = await createSegment(disk, folder, { segment, storeId, createdMs, salt });
    await this.#file.close();
    this.#file = next;
    onSegment(segment, createdMs);
  }

  #fail(cause: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = isNoSpace(cause)
      ? new MailError({ code: "DISK_FULL" }, { cause })
      : new MailError({ code: "UNAVAILABLE", why: "the log failed" }, { cause });
    this.#gathering = undefined;
    for (const group of this.#queue.splice(0)) group.reject(this.#failure);
    this.#options.onFatal(cause);
  }
}

/** Makes a segment file whose name and header survive a crash. */
export async function createSegment(
  disk: Disk,
  folder: string,
  header: Parameters<typeof encodeSegmentHeader>[0],
): Promise<DiskFile> {
  const file = await disk.open(segmentPath(folder, header.segment), "create");
  try {
    await file.writev([encodeSegmentHeader(header)], 0);
    await file.sync();
  } catch (error) {
    await file.close();
    if (isNoSpace(error)) await disk.unlink(segmentPath(folder, header.segment));
    throw error;
  }
  await disk.syncFolder(folder);
  return file;
}

function newGroup(segment: number, offset: number, opens: Uint8Array | undefined): Group {
  let resolve: (() => void) | undefined;
  let reject: ((error: Error) => void) | undefined;
  const durable = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  // A failure reaches everyone through onFatal; whoever waits for the group hears it as well.
  durable.catch(() => undefined);
  assert(resolve !== undefined && reject !== undefined, "a promise runs its executor at once");
  return {
    segment,
    offset,
    opens,
    durable,
    marks: new Map(),
    tails: undefined,
    parts: [],
    bytes: 0,
    resolve,
    reject,
  };
}
