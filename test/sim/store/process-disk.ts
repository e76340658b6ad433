// The disk as one process sees it: once the process is gone, nothing that it still has under way
// reaches the disk, nor comes back from it.

import type { Disk, DiskFile } from "../../../src/lib/disk.ts";
import type { Life } from "../world/life.ts";

export class ProcessDisk implements Disk {
  readonly #disk: Disk;
  readonly #life: Life;

  constructor(disk: Disk, life: Life) {
    this.#disk = disk;
    this.#life = life;
  }

  async open(path: string, mode: "read" | "write" | "create"): Promise<DiskFile> {
    const file = await this.#run(() => this.#disk.open(path, mode));
    return {
      writev: (parts, offset) => this.#run(() => file.writev(parts, offset)),
      read: (offset, length) => this.#run(() => file.read(offset, length)),
      sync: () => this.#run(() => file.sync()),
      truncate: (length) => this.#run(() => file.truncate(length)),
      size: () => this.#run(() => file.size()),
      close: () => this.#run(() => file.close()),
    };
  }

  list(folder: string): Promise<readonly string[]> {
    return this.#run(() => this.#disk.list(folder));
  }

  exists(path: string): Promise<boolean> {
    return this.#run(() => this.#disk.exists(path));
  }

  makeFolder(folder: string): Promise<void> {
    return this.#run(() => this.#disk.makeFolder(folder));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run(() => this.#disk.rename(from, to));
  }

  unlink(path: string): Promise<void> {
    return this.#run(() => this.#disk.unlink(path));
  }

  syncFolder(folder: string): Promise<void> {
    return this.#run(() => this.#disk.syncFolder(folder));
  }

  freeBytes(): Promise<{ readonly free: number; readonly total: number }> {
    return this.#run(() => this.#disk.freeBytes());
  }

  #run<T>(work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!this.#life.alive) return;
      work().then(
        (value) => {
          if (this.#life.alive) resolve(value);
        },
        (error: unknown) => {
          if (this.#life.alive) reject(error instanceof Error ? error : new Error(String(error)));
        },
      );
    });
  }
}
