// The Disk of production: one folder of the machine's file system. Checks nothing that the kernel
// checks; leaves the meaning of errors (a failed fsync is final) to the caller, as Disk says.

import { constants, type Dirent, read } from "node:fs";
import {
  access,
  type FileHandle,
  mkdir,
  open,
  readdir,
  rename,
  statfs,
  unlink,
} from "node:fs/promises";
import { join } from "node:path";
import type { Disk, DiskFile } from "./disk.ts";

const flags = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR | constants.O_CREAT,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
} as const;

/** The disk below `root`, an absolute folder that must exist. Files are made with mode 0600. */
export function realDisk(root: string): Disk {
  const at = (path: string): string => join(root, path);
  return {
    open: async (path, mode) => new RealFile(await open(at(path), flags[mode], 0o600)),
    list: async (folder) => {
      const entries = await listFolder(at(folder));
      return entries.map((entry) => entry.name).toSorted();
    },
    exists: async (path) => {
      try {
        await access(at(path));
        return true;
      } catch (error) {
        if (errorCode(error) === "ENOENT") return false;
        throw error;
      }
    },
    makeFolder: async (folder) => {
      await mkdir(at(folder), { recursive: true, mode: 0o700 });
    },
    rename: (from, to) => rename(at(from), at(to)),
    unlink: (path) => unlink(at(path)),
    syncFolder: async (folder) => {
      const handle = await open(at(folder), constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    },
    freeBytes: async () => {
      const { bavail, blocks, bsize } = await statfs(root);
      return { free: bavail * bsize, total: blocks * bsize };
    },
  };
}

/** The errno name of a system error, e.g. `ENOSPC`; undefined for anything else. */
export function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

async function listFolder(folder: string): Promise<readonly Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
}

class RealFile implements DiskFile {
  readonly #handle: FileHandle;
  /** Reads under way, which use the descriptor itself, and who waits for their end. */
  #reads = 0;
  #unread: (() => void) | undefined;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async writev(parts: readonly Uint8Array[], offset: number): Promise<void> {
    let rest = parts;
    let at = offset;
    while (rest.length > 0) {
      const { bytesWritten } = await this.#handle.writev([...rest], at);
      at += bytesWritten;
      rest = behind(rest, bytesWritten);
      // A write of nothing without an error would turn this loop into a spin.
      if (bytesWritten === 0 && rest.length > 0) throw new Error("the disk took no bytes");
    }
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const buffer = Buffer.allocUnsafeSlow(length);
    let filled = 0;
    while (filled < length) {
      const bytes = await this.#readAt(buffer, filled, offset + filled);
      if (bytes === 0) break;
      filled += bytes;
    }
    return filled === length ? buffer : buffer.subarray(0, filled);
  }

  sync(): Promise<void> {
    return this.#handle.datasync();
  }

  truncate(length: number): Promise<void> {
    return this.#handle.truncate(length);
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  async close(): Promise<void> {
    if (this.#reads > 0) {
      await new Promise<void>((resolve) => {
        this.#unread = resolve;
      });
    }
    await this.#handle.close();
  }

  /** Fills `buffer` from `from` on; by callback, which costs less than the handle's promises. */
  async #readAt(buffer: Buffer, from: number, offset: number): Promise<number> {
    // A closed handle has no descriptor, and knows the error to say so.
    if (this.#handle.fd < 0) return (await this.#handle.read(buffer, from)).bytesRead;
    return new Promise((resolve, reject) => {
      this.#reads++;
      read(this.#handle.fd, buffer, from, buffer.length - from, offset, (error, bytes) => {
        if (--this.#reads === 0) this.#unread?.();
        if (error === null) resolve(bytes);
        else reject(error);
      });
    });
  }
}

/** What is left of `parts` after their first `count` bytes; empty parts fall away. */
function behind(parts: readonly Uint8Array[], count: number): readonly Uint8Array[] {
  let skip = count;
  for (const [index, part] of parts.entries()) {
    if (skip < part.byteLength) return [part.subarray(skip), ...parts.slice(index + 1)];
    skip -= part.byteLength;
  }
  return [];
}
