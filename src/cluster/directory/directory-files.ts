// Where a gateway's directory lies: a LevelDB in a folder. Tests and the simulator have others. Leaves
// keys and values to directory-db.ts.

import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { Level } from "level";

/** Keys; in order. */
export interface KeyRange {
  readonly gt?: Uint8Array;
  readonly gte?: Uint8Array;
  readonly lt?: Uint8Array;
  readonly lte?: Uint8Array;
  readonly limit?: number;
}

export type Operation =
  | { readonly type: "put"; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: "del"; readonly key: Uint8Array };

/** The part of a LevelDB that is used. */
export interface DirectoryLevel {
  readonly status: string;
  open(): Promise<void>;
  close(): Promise<void>;
  getSync(key: Uint8Array): Uint8Array | undefined;
  put(key: Uint8Array, value: Uint8Array, options: { readonly sync: boolean }): Promise<void>;
  batch(operations: Operation[]): Promise<void>;
  iterator(range: KeyRange): AsyncIterable<[Uint8Array, Uint8Array]>;
  keys(range: KeyRange): AsyncIterable<Uint8Array> & {
    nextv(most: number): Promise<Uint8Array[]>;
    close(): Promise<void>;
  };
}

/** Where a directory lies. */
export interface DirectoryFiles {
  /** Not opened yet. */
  level(): DirectoryLevel;
  /** Throws everything away. */
  remove(): Promise<void>;
  /** Names this start of the machine; undefined where the system doesn't tell: every unclean end counts as a power loss. */
  bootId(): string | undefined;
}

/** A LevelDB in a folder. */
export function directoryFolder(folder: string): DirectoryFiles {
  return {
    level: () =>
      new Level<Uint8Array, Uint8Array>(folder, {
        keyEncoding: "view",
        valueEncoding: "view",
        writeBufferSize: 16 * 1024 * 1024,
        cacheSize: 32 * 1024 * 1024,
      }),
    remove: () => rm(folder, { recursive: true, force: true }),
    bootId: () => {
      try {
        return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
      } catch {
        return undefined; // Not Linux.
      }
    },
  };
}
