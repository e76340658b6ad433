// The state of a simulated disk: names and contents, each as it is now and as a crash would leave
// it. The rules of loss are here; faults, delays and handles are simulated-disk.ts's.

import type { SeededRandom } from "./random.ts";

const sectorBytes = 512;

type Change =
  | { readonly offset: number; readonly bytes: Uint8Array }
  | { readonly truncateTo: number };

export interface FileNode {
  /** What a reader sees. */
  now: Buffer;
  /** What is certainly on the disk. */
  synced: Buffer;
  /** Since then, in order. */
  unsynced: Change[];
}

export type NameChange =
  | { readonly kind: "create" | "makeFolder" | "unlink"; readonly path: string }
  | { readonly kind: "rename"; readonly path: string; readonly to: string };

interface Names {
  readonly files: Map<string, FileNode>;
  readonly folders: Set<string>;
}

interface PendingName {
  readonly folders: readonly string[];
  readonly apply: (names: Names) => void;
}

export class SimulatedFiles {
  #now: Names = { files: new Map(), folders: new Set(["."]) };
  #synced: Names = { files: new Map(), folders: new Set(["."]) };
  #pending: PendingName[] = [];

  find(path: string): FileNode | undefined {
    return this.#now.files.get(path);
  }

  hasFolder(path: string): boolean {
    return this.#now.folders.has(path);
  }

  list(folder: string): readonly string[] {
    const paths = [...this.#now.files.keys(), ...this.#now.folders];
    return paths
      .filter((path) => path !== "." && folderOf(path) === folder)
      .map((path) => path.slice(path.lastIndexOf("/") + 1))
      .toSorted();
  }

  totalBytes(): number {
    let total = 0;
    for (const node of this.#now.files.values()) total += node.now.byteLength;
    return total;
  }

  /** What is certainly on the disk, by path. */
  *durable(): Generator<[string, Buffer], void, undefined> {
    for (const [path, { synced }] of this.#synced.files) yield [path, synced];
  }

  change(change: NameChange): void {
    const pending = pendingOf(change, this.#now);
    pending.apply(this.#now);
    this.#pending.push(pending);
  }

  /** Makes every change of names in the folder durable, and those before it, as a journal does. */
  syncFolder(folder: string): void {
    const last = this.#pending.findLastIndex(({ folders }) => folders.includes(folder));
    for (const { apply } of this.#pending.splice(0, last + 1)) apply(this.#synced);
  }

  write(node: FileNode, offset: number, bytes: Uint8Array): void {
    node.now = overwritten(node.now, offset, bytes);
    node.unsynced.push({ offset, bytes });
  }

  truncate(node: FileNode, length: number): void {
    node.now = resized(node.now, length);
    node.unsynced.push({ truncateTo: length });
  }

  sync(node: FileNode): void {
    for (const change of node.unsynced) node.synced = applied(node.synced, change);
    node.unsynced = [];
  }

  /** A sync has failed: as on Linux, the pages count as clean from now on and no later sync writes them. */
  syncFailed(node: FileNode): void {
    node.unsynced = [];
  }

  /**
   * `random`: a prefix of the unsynced changes of names survives, and of each unsynced write random
   * sectors, or a prefix of any length.
   */
  crash(mode: "lose" | "keep" | "random", random: SeededRandom): void {
    const kept = { lose: 0, keep: this.#pending.length, random: 0 }[mode];
    const names = mode === "random" ? random.below(this.#pending.length + 1) : kept;
    const nodes = new Set([...this.#now.files.values(), ...this.#synced.files.values()]);
    for (const { apply } of this.#pending.slice(0, names)) apply(this.#synced);
    this.#pending = [];
    for (const node of nodes) crashFile(node, mode, random);
    this.#now = {
      files: new Map(this.#synced.files),
      folders: new Set(this.#synced.folders),
    };
  }
}

function crashFile(node: FileNode, mode: "lose" | "keep" | "random", random: SeededRandom): void {
  let left: Buffer = mode === "keep" ? Buffer.from(node.now) : Buffer.from(node.synced);
  for (const change of mode === "random" ? node.unsynced : []) {
    left = surviving(left, change, random);
  }
  // After the death of a process alone, what was written is still only in the page cache.
  if (mode !== "keep") {
    node.synced = Buffer.from(left);
    node.unsynced = [];
  }
  node.now = left;
}

function surviving(before: Buffer, change: Change, random: SeededRandom): Buffer {
  if ("truncateTo" in change) {
    return random.chance(0.5) ? resized(before, change.truncateTo) : before;
  }
  const { offset, bytes } = change;
  const fate = random.below(4);
  if (fate === 0) return before;
  if (fate === 1) return overwritten(before, offset, bytes);
  if (fate === 2) {
    return overwritten(before, offset, bytes.subarray(0, random.below(bytes.byteLength + 1)));
  }
  let after = before;
  for (let at = 0; at < bytes.byteLength; ) {
    const next = Math.min(bytes.byteLength, at + sectorBytes - ((offset + at) % sectorBytes));
    if (random.chance(0.5)) after = overwritten(after, offset + at, bytes.subarray(at, next));
    at = next;
  }
  return after;
}

function applied(before: Buffer, change: Change): Buffer {
  if ("truncateTo" in change) return resized(before, change.truncateTo);
  return overwritten(before, change.offset, change.bytes);
}

function overwritten(before: Buffer, offset: number, bytes: Uint8Array): Buffer {
  const end = offset + bytes.byteLength;
  const after = end > before.byteLength ? resized(before, end) : Buffer.from(before);
  after.set(bytes, offset);
  return after;
}

function resized(before: Buffer, length: number): Buffer {
  const after = Buffer.alloc(length);
  after.set(before.subarray(0, length));
  return after;
}

function pendingOf(change: NameChange, now: Names): PendingName {
  const { path } = change;
  const parent = folderOf(path);
  switch (change.kind) {
    case "create": {
      const node = { now: Buffer.alloc(0), synced: Buffer.alloc(0), unsynced: [] };
      return { folders: [parent], apply: ({ files }) => files.set(path, node) };
    }
    case "makeFolder":
      return { folders: [parent], apply: ({ folders }) => folders.add(path) };
    case "unlink":
      return { folders: [parent], apply: ({ files }) => files.delete(path) };
    case "rename": {
      const node = now.files.get(path);
      return {
        folders: [parent, folderOf(change.to)],
        apply: ({ files }) => {
          files.delete(path);
          if (node !== undefined) files.set(change.to, node);
        },
      };
    }
  }
}

function folderOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : path.slice(0, slash);
}
