// The only way to the file system for code that must survive crashes: a real disk, and a simulated
// one that loses unsynced data, tears tails and fails on demand. Paths are relative to the disk's root.

/** An open file. Offsets and lengths are bytes. Every method may throw a NodeJS.ErrnoException. */
export interface DiskFile {
  /** Writes `parts` one behind the other at `offset`. All or an error. */
  writev(parts: readonly Uint8Array[], offset: number): Promise<void>;
  /** Reads up to `length` bytes at `offset`; shorter only at the end of the file. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** fdatasync. After an error the file must not be written or synced again: the process ends. */
  sync(): Promise<void>;
  truncate(length: number): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

export interface Disk {
  /** `read`: must exist. `write`: read and write, created when missing. `create`: must not exist. */
  open(path: string, mode: "read" | "write" | "create"): Promise<DiskFile>;
  /** Names in a folder, sorted; an empty list when the folder does not exist. */
  list(folder: string): Promise<readonly string[]>;
  exists(path: string): Promise<boolean>;
  makeFolder(folder: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** fsync of a folder, so that creations, renames and unlinks in it are durable. */
  syncFolder(folder: string): Promise<void>;
  freeBytes(): Promise<{ readonly free: number; readonly total: number }>;
}
