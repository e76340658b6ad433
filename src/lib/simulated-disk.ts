// A disk in RAM for crash tests and the simulator. Like a real one it may lose, at a crash, whatever
// was not synced: any sectors of a write, the newest changes of names. It fails and waits on demand
// and records what was done, so that a crash after each single step can be tried.

import { assert } from "./assert.ts";
import type { Clock } from "./clock.ts";
import type { Disk, DiskFile } from "./disk.ts";
import { type FileNode, type NameChange, SimulatedFiles } from "./simulated-files.ts";
import { SeededRandom } from "./random.ts";

/** One step as recorded; written bytes are copies. */
export type DiskStep =
  | { readonly kind: "create"; readonly path: string }
  | {
      readonly kind: "write";
      readonly path: string;
      readonly offset: number;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: "truncate"; readonly path: string; readonly length: number }
  | { readonly kind: "sync"; readonly path: string }
  | { readonly kind: "makeFolder"; readonly path: string }
  | { readonly kind: "rename"; readonly path: string; readonly to: string }
  | { readonly kind: "unlink"; readonly path: string }
  | { readonly kind: "syncFolder"; readonly path: string };

export type DiskOperation = DiskStep["kind"] | "read";

export interface SimulatedDiskOptions {
  readonly seed?: number;
  /** Bytes that all files together may have before ENOSPC. */
  readonly capacityBytes?: number;
  /** Needed for `delayMs`. */
  readonly clock?: Clock;
}

/** What a crash leaves of unsynced writes: nothing, everything, or random sectors of each. */
export type CrashMode = "lose" | "keep" | "random";

export class SimulatedDisk implements Disk {
  /** Throw-in point: the error returned for an operation happens instead of it. */
  fault: ((kind: DiskOperation, path: string) => Error | undefined) | undefined;
  /** How long an operation takes; needs the clock of the options. */
  delayMs: ((kind: DiskOperation, path: string) => number) | undefined;
  capacityBytes: number;
  readonly #files: SimulatedFiles;
  readonly #random: SeededRandom;
  readonly #clock: Clock | undefined;
  readonly #trace: DiskStep[] = [];
  /** Counts crashes: a handle of an earlier life is dead. */
  #life = 0;

  constructor(options: SimulatedDiskOptions = {}) {
    this.#files = new SimulatedFiles();
    this.#random = new SeededRandom(options.seed ?? 1);
    this.#clock = options.clock;
    this.capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY;
  }

  /** All steps so far that changed something, or made a change durable. */
  get trace(): readonly DiskStep[] {
    return this.#trace;
  }

  /** A disk on which the first `count` steps of a trace were done; crash it to lose what is unsynced. */
  static replay(trace: readonly DiskStep[], count: number, seed = 1): SimulatedDisk {
    const disk = new SimulatedDisk({ seed });
    for (const step of trace.slice(0, count)) disk.#perform(step);
    return disk;
  }

  /** The machine loses power, or with `keep` only the process dies: open files are dead. */
  crash(mode: CrashMode): void {
    this.#life += 1;
    this.#files.crash(mode, this.#random);
  }

  /** Flips one bit of what is stored. */
  flipBit(path: string, offset: number, bit: number): void {
    const node = this.#need(path);
    const byte = node.now[offset];
    assert(byte !== undefined, "a bit to flip lies inside the file");
    node.now[offset] = byte ^ (1 << bit);
    if (offset < node.synced.byteLength) node.synced[offset] = byte ^ (1 << bit);
  }

  /** Cuts the file, as a torn write would, durably. */
  tear(path: string, length: number): void {
    const node = this.#need(path);
    node.now = Buffer.from(node.now.subarray(0, length));
    node.synced = Buffer.from(node.now);
    node.unsynced = [];
  }

  /** What a crash that loses everything unsynced would leave, by path; not to be written to. */
  durable(): Iterable<readonly [path: string, contents: Buffer]> {
    return this.#files.durable();
  }

  contents(path: string): Buffer {
    return Buffer.from(this.#need(path).now);
  }

  async open(path: string, mode: "read" | "write" | "create"): Promise<DiskFile> {
    await this.#before("read", path);
    const known = this.#files.find(path);
    if (known === undefined && mode === "read") throw systemError("ENOENT", path);
    if (known !== undefined && mode === "create") throw systemError("EEXIST", path);
    if (known === undefined) await this.#do({ kind: "create", path });
    const node = this.#need(path);
    return this.#handle(node, path, this.#life);
  }

  async list(folder: string): Promise<readonly string[]> {
    await this.#before("read", folder);
    return this.#files.list(folder);
  }

  async exists(path: string): Promise<boolean> {
    await this.#before("read", path);
    return this.#files.find(path) !== undefined || this.#files.hasFolder(path);
  }

  async makeFolder(folder: string): Promise<void> {
    if (!this.#files.hasFolder(folder)) await this.#do({ kind: "makeFolder", path: folder });
  }

  async rename(from: string, to: string): Promise<void> {
    this.#need(from);
    await this.#do({ kind: "rename", path: from, to });
  }

  async unlink(path: string): Promise<void> {
    this.#need(path);
    await this.#do({ kind: "unlink", path });
  }

  async syncFolder(folder: string): Promise<void> {
    await this.#do({ kind: "syncFolder", path: folder });
  }

  async freeBytes(): Promise<{ readonly free: number; readonly total: number }> {
    const total = Math.min(this.capacityBytes, 2 ** 40);
    return { total, free: Math.max(0, total - this.#files.totalBytes()) };
  }

  #handle(node: FileNode, path: string, life: number): DiskFile {
    let open = true;
    const check = (): void => {
      if (!open || life !== this.#life) throw systemError("EBADF", path);
    };
    const change = async (step: DiskStep): Promise<void> => {
      check();
      try {
        await this.#before(step.kind, path);
      } catch (error) {
        if (step.kind === "sync") this.#files.syncFailed(node);
        throw error;
      }
      check(); // The crash may have come while we waited.
      this.#perform(step, node);
      this.#trace.push(step);
    };
    return {
      writev: async (parts, offset) => {
        const bytes = Buffer.concat(parts);
        const grows = Math.max(0, offset + bytes.byteLength - node.now.byteLength);
        if (this.#files.totalBytes() + grows > this.capacityBytes)
          throw systemError("ENOSPC", path);
        await change({ kind: "write", path, offset, bytes });
      },
      read: async (offset, length) => {
        check();
        await this.#before("read", path);
        check();
        return Buffer.from(node.now.subarray(offset, offset + length));
      },
      sync: () => change({ kind: "sync", path }),
      truncate: (length) => change({ kind: "truncate", path, length }),
      size: async () => {
        check();
        return node.now.byteLength;
      },
      close: async () => {
        open = false;
      },
    };
  }

  async #do(step: DiskStep): Promise<void> {
    const life = this.#life;
    await this.#before(step.kind, step.path);
    if (life !== this.#life) throw systemError("EIO", step.path);
    this.#perform(step);
    this.#trace.push(step);
  }

  async #before(kind: DiskOperation, path: string): Promise<void> {
    const delay = this.delayMs?.(kind, path) ?? 0;
    const clock = this.#clock;
    if (delay > 0 && clock !== undefined) {
      await new Promise<void>((resolve) => {
        clock.after(delay, resolve);
      });
    }
    const error = this.fault?.(kind, path);
    if (error !== undefined) throw error;
  }

  #perform(step: DiskStep, handle?: FileNode): void {
    switch (step.kind) {
      case "create":
      case "makeFolder":
      case "rename":
      case "unlink":
        this.#files.change(step satisfies NameChange);
        return;
      case "syncFolder":
        this.#files.syncFolder(step.path);
        return;
      case "write":
        this.#files.write(handle ?? this.#need(step.path), step.offset, step.bytes);
        return;
      case "truncate":
        this.#files.truncate(handle ?? this.#need(step.path), step.length);
        return;
      case "sync":
        this.#files.sync(handle ?? this.#need(step.path));
        return;
    }
  }

  #need(path: string): FileNode {
    const node = this.#files.find(path);
    if (node === undefined) throw systemError("ENOENT", path);
    return node;
  }
}

/** An error as the kernel gives it, e.g. `EIO`. */
export function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: simulated, ${path}`), { code });
}
