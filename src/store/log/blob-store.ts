// Bodies too large for the log: one file each, written in pieces while they arrive, synced with
// their folder before anybody hears of them, with the checksums of their pieces beside them. Which
// entry refers to a blob is the engine's knowledge.

import { createHash, type Hash } from "node:crypto";
import { assert } from "../../lib/assert.ts";
import { isNoSpace } from "../../lib/ballast.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Disk, DiskFile } from "../../lib/disk.ts";
import { errorCode } from "../../lib/real-disk.ts";
import { MailError } from "../../mail/errors.ts";
import {
  decodeSums,
  encodeSums,
  pieceBytes,
  readChecked,
  SumsMaker,
  sumSuffix,
} from "./blob-sums.ts";
import type { BlobSums } from "./blob-sums.ts";

const sumsKept = 64;
const nameForm = /^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$/;

export interface BlobInfo {
  readonly name: string;
  readonly bytes: number;
  /** SHA-256, 64 hex digits. */
  readonly sha256: string;
}

/** A blob while it arrives. One writer, calls one after the other. */
export interface BlobWriter {
  readonly bytes: number;
  write(bytes: Uint8Array): Promise<void>;
  /** Syncs file and folder; then the blob exists under its name. */
  finish(): Promise<BlobInfo>;
  /** As `finish` when this is what came, else as `abort`. True when it exists now. */
  finishIf(expected: BlobInfo): Promise<boolean>;
  /** Throws away what was written. */
  abort(): Promise<void>;
}

export class BlobStore {
  readonly #disk: Disk;
  readonly #folder: string;
  readonly #clock: Clock;
  #writers = 0;
  /** Checksums of blobs read lately. */
  readonly #sums = new Map<string, BlobSums>();
  /** When this process first saw a blob that nothing referred to. */
  readonly #unusedSinceMs = new Map<string, number>();

  private constructor(disk: Disk, folder: string, clock: Clock) {
    this.#disk = disk;
    this.#folder = folder;
    this.#clock = clock;
  }

  /** Makes the folder when missing and removes what an earlier process left half written. */
  static async open(disk: Disk, folder: string, clock: Clock): Promise<BlobStore> {
    await disk.makeFolder(folder);
    await disk.syncFolder(".");
    const names = new Set(await disk.list(folder));
    for (const name of names) {
      const orphan = name.endsWith(sumSuffix) && !names.has(name.slice(0, -sumSuffix.length));
      if (orphan || name.endsWith(".part")) await disk.unlink(`${folder}/${name}`);
    }
    return new BlobStore(disk, folder, clock);
  }

  /** @param name letters, digits, `-` and `_`, at most 64: a deliveryId and a part. */
  async create(name: string): Promise<BlobWriter> {
    const path = this.#path(name);
    // The same blob may come twice at once (sent again, while the first stream is not yet known to be
    // broken): each has a file of its own, and a name always stands for a whole blob.
    const part = `${path}.${++this.#writers}.part`;
    const file = await this.#disk.open(part, "create");
    return new FileWriter(file, {
      finish: async (sums) => {
        await this.#putSums(name, sums);
        await this.#disk.rename(part, path);
        await this.#disk.syncFolder(this.#folder);
        this.#unusedSinceMs.delete(name);
      },
      abort: () => this.#disk.unlink(part),
      name,
    });
  }

  /** True when the blob is here, whole and unharmed: reads all of it, `pace` by piece. */
  async isComplete(
    { name, bytes, sha256 }: BlobInfo,
    pace?: (bytes: number) => Promise<void>,
  ): Promise<boolean> {
    const file = await this.#open(name);
    if (file === undefined) return false;
    const sums = new SumsMaker();
    try {
      if ((await file.size()) !== bytes) return false;
      const hash = createHash("sha256");
      for (let at = 0; at < bytes; at += pieceBytes) {
        const piece = await file.read(at, pieceBytes);
        hash.update(piece);
        sums.add(piece);
        await pace?.(piece.byteLength);
      }
      if (hash.digest("hex") !== sha256) return false;
    } finally {
      await file.close();
    }
    // The file is right, so what reads compare it with must be.
    if ((await this.#sumsOf(name))?.equals(sums.finish()) !== true) {
      await this.#putSums(name, sums.finish());
    }
    return true;
  }

  /** Its length in bytes, or undefined when it isn't here. */
  async size(name: string): Promise<number | undefined> {
    const file = await this.#open(name);
    if (file === undefined) return undefined;
    try {
      return await file.size();
    } finally {
      await file.close();
    }
  }

  /** Up to `length` bytes from `offset`. @throws {MailError} DAMAGED when they aren't here unharmed. */
  async read(name: string, offset: number, length: number): Promise<Uint8Array> {
    const sums = await this.#needSums(name);
    const file = await this.#need(name);
    try {
      return await readChecked(file, name, sums, offset, length);
    } finally {
      await file.close();
    }
  }

  /** Bytes from `offset` on, `length` at most, in pieces of 64 KiB. @throws {MailError} DAMAGED. */
  async *stream(
    name: string,
    offset = 0,
    length = Number.POSITIVE_INFINITY,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const sums = await this.#needSums(name);
    const file = await this.#need(name);
    try {
      const end = Math.min(await file.size(), offset + length);
      for (let at = offset; at < end; at += pieceBytes) {
        yield await readChecked(file, name, sums, at, Math.min(pieceBytes, end - at));
      }
    } finally {
      await file.close();
    }
  }

  /** Names of the whole blobs, sorted. */
  async list(): Promise<readonly string[]> {
    return (await this.#disk.list(this.#folder)).filter((name) => nameForm.test(name));
  }

  /** Removes a blob; that it isn't there is no error. */
  async remove(name: string): Promise<void> {
    this.#unusedSinceMs.delete(name);
    this.#sums.delete(name);
    for (const path of [this.#path(name), `${this.#path(name)}${sumSuffix}`]) {
      try {
        await this.#disk.unlink(path);
      } catch (error) {
        if (errorCode(error) !== "ENOENT") throw error;
      }
    }
  }

  /**
   * Removes blobs that were unused at every sweep for `unusedMs` (a day): an entry that is still
   * under way, or not yet applied here, may refer to a young one.
   */
  async sweep(isUsed: (name: string) => Promise<boolean>, unusedMs: number): Promise<number> {
    const nowMs = this.#clock.monotonicMs();
    let removed = 0;
    for (const name of await this.list()) {
      if (await isUsed(name)) {
        this.#unusedSinceMs.delete(name);
        continue;
      }
      const since = this.#unusedSinceMs.get(name) ?? nowMs;
      this.#unusedSinceMs.set(name, since);
      if (nowMs - since < unusedMs) continue;
      await this.remove(name);
      removed += 1;
    }
    return removed;
  }

  /** @throws {MailError} DAMAGED when there are none: `isComplete` makes them, if the blob is whole. */
  async #needSums(name: string): Promise<BlobSums> {
    const sums = await this.#sumsOf(name);
    if (sums !== undefined) return sums;
    throw new MailError({ code: "DAMAGED", what: `checksums of blob ${name}` });
  }

  async #sumsOf(name: string): Promise<BlobSums | undefined> {
    const known = this.#sums.get(name);
    if (known !== undefined) return known;
    const file = await this.#openPath(`${this.#path(name)}${sumSuffix}`);
    if (file === undefined) return undefined;
    try {
      const sums = decodeSums(await file.read(0, await file.size()));
      if (sums === undefined) return undefined;
      this.#keepSums(name, sums);
      return sums;
    } finally {
      await file.close();
    }
  }

  async #putSums(name: string, sums: BlobSums): Promise<void> {
    const path = `${this.#path(name)}${sumSuffix}`;
    const part = `${path}.${++this.#writers}.part`;
    const file = await this.#disk.open(part, "create");
    try {
      await file.writev([encodeSums(sums)], 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await this.#disk.rename(part, path);
    this.#keepSums(name, sums);
  }

  #keepSums(name: string, sums: BlobSums): void {
    this.#sums.set(name, sums);
    if (this.#sums.size <= sumsKept) return;
    const [oldest] = this.#sums.keys();
    if (oldest !== undefined) this.#sums.delete(oldest);
  }

  #open(name: string): Promise<DiskFile | undefined> {
    return this.#openPath(this.#path(name));
  }

  async #openPath(path: string): Promise<DiskFile | undefined> {
    try {
      return await this.#disk.open(path, "read");
    } catch (error) {
      if (errorCode(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  async #need(name: string): Promise<DiskFile> {
    const file = await this.#open(name);
    if (file === undefined) throw new MailError({ code: "DAMAGED", what: `blob ${name}` });
    return file;
  }

  #path(name: string): string {
    assert(nameForm.test(name), "a blob's name is a plain word");
    return `${this.#folder}/${name}`;
  }
}

interface FileEnds {
  readonly name: string;
  finish(sums: BlobSums): Promise<void>;
  abort(): Promise<void>;
}

class FileWriter implements BlobWriter {
  readonly #file: DiskFile;
  readonly #ends: FileEnds;
  readonly #hash: Hash = createHash("sha256");
  readonly #sums = new SumsMaker();
  #parts: Uint8Array[] = [];
  #waitingBytes = 0;
  #writtenBytes = 0;

  constructor(file: DiskFile, ends: FileEnds) {
    this.#file = file;
    this.#ends = ends;
  }

  get bytes(): number {
    return this.#writtenBytes + this.#waitingBytes;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes);
    this.#sums.add(bytes);
    this.#parts.push(bytes);
    this.#waitingBytes += bytes.byteLength;
    if (this.#waitingBytes >= pieceBytes) await this.#flush();
  }

  async finish(): Promise<BlobInfo> {
    await this.#flush();
    await this.#file.sync();
    await this.#file.close();
    await this.#ends.finish(this.#sums.finish());
    return { name: this.#ends.name, bytes: this.bytes, sha256: this.#hash.digest("hex") };
  }

  async finishIf({ bytes, sha256 }: BlobInfo): Promise<boolean> {
    if (this.bytes === bytes && this.#hash.copy().digest("hex") === sha256) {
      await this.finish();
      return true;
    }
    await this.abort();
    return false;
  }

  async abort(): Promise<void> {
    await this.#file.close();
    await this.#ends.abort();
  }

  async #flush(): Promise<void> {
    const parts = this.#parts;
    const bytes = this.#waitingBytes;
    if (bytes === 0) return;
    this.#parts = [];
    this.#waitingBytes = 0;
    const at = this.#writtenBytes;
    this.#writtenBytes += bytes;
    try {
      await this.#file.writev(parts, at);
    } catch (error) {
      throw isNoSpace(error) ? new MailError({ code: "DISK_FULL" }, { cause: error }) : error;
    }
  }
}
