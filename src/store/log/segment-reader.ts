// Reads bodies and records back, with a bounded set of open files and one pread for neighbours.
// Checks every byte against its checksums; finding the peer's copy of a bad one is the caller's.

import { assert } from "../../lib/assert.ts";
import { asBuffer } from "../../lib/bytes.ts";
import type { Disk, DiskFile } from "../../lib/disk.ts";
import { errorCode } from "../../lib/real-disk.ts";
import { MailError } from "../../mail/errors.ts";
import type { Location } from "../journal.ts";
import { contentIntact, decodeHeader, headerBytes } from "./record.ts";
import { segmentPath } from "./segment-file.ts";

/** The segment was rewritten and removed: the location is an old one, look it up again. */
export class SegmentGone extends Error {
  override readonly name = "SegmentGone";
}

interface OpenFile {
  readonly file: Promise<DiskFile>;
  users: number;
  dropped: boolean;
}

const filesMax = 64;
/** A gap this long costs less to read over than a second pread. */
const gapBytesMax = 16_384;
const readBytesMax = 1_048_576;

export class SegmentReader {
  readonly #disk: Disk;
  readonly #folder: string;
  readonly #files = new Map<number, OpenFile>();

  constructor(disk: Disk, folder: string) {
    this.#disk = disk;
    this.#folder = folder;
  }

  async read(location: Location): Promise<Uint8Array> {
    const bytes = await this.readRange(location.segment, location.offset, recordBytes(location));
    return bodyOf(location, bytes, location.offset);
  }

  async readMany(locations: readonly Location[]): Promise<readonly Uint8Array[]> {
    const bodies = new Array<Uint8Array>(locations.length);
    const ascending = locations
      .map((location, index) => ({ location, index }))
      .sort(
        (a, b) => a.location.segment - b.location.segment || a.location.offset - b.location.offset,
      );
    let start = 0;
    while (start < ascending.length) {
      const first = ascending[start]?.location;
      assert(first !== undefined, "the loop ends before its end");
      let end = first.offset + recordBytes(first);
      let next = start + 1;
      for (; next < ascending.length; next++) {
        const other = ascending[next]?.location;
        if (other === undefined || other.segment !== first.segment) break;
        const otherEnd = other.offset + recordBytes(other);
        if (other.offset > end + gapBytesMax || otherEnd - first.offset > readBytesMax) break;
        end = Math.max(end, otherEnd);
      }
      const bytes = await this.readRange(first.segment, first.offset, end - first.offset);
      let before: { readonly location: Location; readonly body: Uint8Array } | undefined;
      for (; start < next; start++) {
        const one = ascending[start];
        if (one === undefined) continue;
        const { location, index } = one;
        // Messages of one entry share its record, which is looked through once.
        if (before === undefined || !isSame(before.location, location)) {
          before = { location, body: bodyOf(location, bytes, first.offset) };
        }
        bodies[index] = before.body;
      }
    }
    return bodies;
  }

  /** @throws SegmentGone when there is no such file. */
  async readRange(segment: number, offset: number, length: number): Promise<Uint8Array> {
    const open = this.#open(segment);
    open.users += 1;
    try {
      const file = await open.file;
      return await file.read(offset, length);
    } catch (cause) {
      if (errorCode(cause) !== "ENOENT") throw cause;
      throw new SegmentGone(`segment ${segment}`, { cause });
    } finally {
      open.users -= 1;
      await closeUnused(open);
    }
  }

  /** Closes the file once nobody reads it; later reads find it gone if it was unlinked. */
  async drop(segment: number): Promise<void> {
    const open = this.#files.get(segment);
    if (open === undefined) return;
    this.#files.delete(segment);
    open.dropped = true;
    await closeUnused(open);
  }

  async close(): Promise<void> {
    for (const segment of this.#files.keys()) await this.drop(segment);
  }

  #open(segment: number): OpenFile {
    const known = this.#files.get(segment);
    if (known !== undefined) {
      this.#files.delete(segment);
      this.#files.set(segment, known);
      return known;
    }
    const file = this.#disk.open(segmentPath(this.#folder, segment), "read");
    const fresh: OpenFile = { file, users: 0, dropped: false };
    this.#files.set(segment, fresh);
    file.catch(() => {
      if (this.#files.get(segment) === fresh) this.#files.delete(segment);
    });
    if (this.#files.size > filesMax) {
      for (const [oldest, open] of this.#files) {
        this.#files.delete(oldest);
        open.dropped = true;
        closeUnused(open).catch(() => undefined); // Only a descriptor for reading: nothing is lost.
        break;
      }
    }
    return fresh;
  }
}

async function closeUnused(open: OpenFile): Promise<void> {
  if (!open.dropped || open.users > 0) return;
  const file = await open.file.catch(() => undefined);
  await file?.close();
}

/** In one segment. */
function isSame(a: Location, b: Location): boolean {
  return a.offset === b.offset && a.bodyOffset === b.bodyOffset && a.bodyBytes === b.bodyBytes;
}

function recordBytes(location: Location): number {
  return location.bodyOffset + location.bodyBytes - location.offset;
}

function bodyOf(location: Location, bytes: Uint8Array, base: number): Uint8Array {
  const buffer = asBuffer(bytes);
  const at = location.offset - base;
  const header = at <= buffer.byteLength ? decodeHeader(buffer, at) : "short";
  const intact =
    typeof header === "object" &&
    header.length === recordBytes(location) &&
    headerBytes + header.headLength === location.bodyOffset - location.offset &&
    at + header.length <= buffer.byteLength &&
    contentIntact(buffer, at, header.length);
  if (!intact) {
    const what = `record at ${location.segment}:${location.offset}`;
    throw new MailError({ code: "DAMAGED", what });
  }
  const from = location.bodyOffset - base;
  return buffer.subarray(from, from + location.bodyBytes);
}
