// An append-only file of checksummed records: one record at a time is written and synced, so that a
// crash tears at most the last one. Leaves the meaning of records to embedded.ts.
//
// Record = magic "PBC1", u32 payload length, u32 CRC-32C of length and payload, payload.

import { assert } from "../../lib/assert.ts";
import { crc32c } from "../../lib/crc32c.ts";
import type { Disk, DiskFile } from "../../lib/disk.ts";
import { MailError } from "../../mail/errors.ts";

const magic = Buffer.from("PBC1");
const headerBytes = 12;
const payloadBytesMax = 64 * 1024 * 1024;

export class RecordLog {
  readonly #disk: Disk;
  readonly #path: string;
  #file: DiskFile;
  #bytes: number;

  private constructor(disk: Disk, path: string, file: DiskFile, bytes: number) {
    this.#disk = disk;
    this.#path = path;
    this.#file = file;
    this.#bytes = bytes;
  }

  /**
   * Opens the log and gives its payloads; a torn last record is cut off. With no file, one is made that
   * begins with `first`.
   * @throws {MailError} DAMAGED when a record is bad that is not the torn last one.
   */
  static async open(
    disk: Disk,
    path: string,
    first: Uint8Array,
  ): Promise<{
    readonly log: RecordLog;
    readonly payloads: readonly Uint8Array[];
    readonly cut: number;
  }> {
    if (!(await disk.exists(path))) await replace(disk, path, first);
    const file = await disk.open(path, "write");
    const bytes = await file.read(0, await file.size());
    const { payloads, end } = scan(path, asBuffer(bytes));
    if (end < bytes.length) {
      await file.truncate(end);
      await file.sync();
    }
    return { log: new RecordLog(disk, path, file, end), payloads, cut: bytes.length - end };
  }

  /** Bytes of the file. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Returns once the record is on the disk. One at a time.
   * After ENOSPC nothing was added and the log can be used; after any other error it can't.
   */
  async append(payload: Uint8Array): Promise<void> {
    const record = encodeRecord(payload);
    try {
      await this.#file.writev(record, this.#bytes);
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      await this.#file.truncate(this.#bytes);
      throw new MailError({ code: "DISK_FULL" }, { cause: error });
    }
    await this.#file.sync();
    this.#bytes += headerBytes + payload.length;
  }

  /** Replaces the whole log by one record, at once or not at all. */
  async rewrite(payload: Uint8Array): Promise<void> {
    await replace(this.#disk, this.#path, payload);
    const old = this.#file;
    this.#file = await this.#disk.open(this.#path, "write");
    this.#bytes = headerBytes + payload.length;
    await old.close();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** True for the errors of a full disk or quota. */
export function isDiskFull(error: unknown): boolean {
  if (!(error instanceof Error) || !("code" in error)) return false;
  return error.code === "ENOSPC" || error.code === "EDQUOT";
}

async function replace(disk: Disk, path: string, payload: Uint8Array): Promise<void> {
  const draft = `${path}.new`;
  if (await disk.exists(draft)) await disk.unlink(draft);
  const file = await disk.open(draft, "create");
  try {
    await file.writev(encodeRecord(payload), 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(draft, path);
  await disk.syncFolder(folderOf(path));
}

function encodeRecord(payload: Uint8Array): readonly Uint8Array[] {
  assert(payload.length <= payloadBytesMax, "a record fits its length field");
  const header = Buffer.alloc(headerBytes);
  magic.copy(header);
  header.writeUInt32BE(payload.length, 4);
  header.writeUInt32BE(crc32c(payload, crc32c(header.subarray(4, 8))), 8);
  return [header, payload];
}

function scan(path: string, bytes: Buffer): { payloads: Uint8Array[]; end: number } {
  const payloads: Uint8Array[] = [];
  let at = 0;
  for (;;) {
    const payload = payloadAt(bytes, at);
    if (payload === undefined) break;
    payloads.push(payload);
    at += headerBytes + payload.length;
  }
  // The first record came by rename, whole; and behind a torn record there is never a good one.
  const damaged = payloads.length === 0 || goodRecordAfter(bytes, at);
  if (damaged) throw new MailError({ code: "DAMAGED", what: `${path} at byte ${at}` });
  return { payloads, end: at };
}

function payloadAt(bytes: Buffer, at: number): Uint8Array | undefined {
  if (bytes.length - at < headerBytes) return undefined;
  if (bytes.compare(magic, 0, magic.length, at, at + magic.length) !== 0) return undefined;
  const start = at + headerBytes;
  const length = bytes.readUInt32BE(at + 4);
  if (bytes.length - start < length) return undefined;
  const payload = bytes.subarray(start, start + length);
  const crc = crc32c(payload, crc32c(bytes.subarray(at + 4, at + 8)));
  return crc === bytes.readUInt32BE(at + 8) ? payload : undefined;
}

function goodRecordAfter(bytes: Buffer, at: number): boolean {
  let found = bytes.indexOf(magic, at + 1);
  while (found >= 0) {
    if (payloadAt(bytes, found) !== undefined) return true;
    found = bytes.indexOf(magic, found + 1);
  }
  return false;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function folderOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : path.slice(0, slash);
}
