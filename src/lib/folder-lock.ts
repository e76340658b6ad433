// One process per data folder: a LOCK file names the holder, and a holder that is gone (by process
// id, its start time and the machine's boot) is replaced. Processes that can't see each other's ids
// (containers) are kept apart by the database's own lock, which the kernel holds.

import { readFileSync } from "node:fs";
import { link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { asNumber, asRecord, asString } from "./decode.ts";
import { errorCode } from "./real-disk.ts";
import type { Random } from "./random.ts";

/** Another live process holds the folder. */
export class FolderInUse extends Error {
  override readonly name = "FolderInUse";
  readonly processId: number;
  constructor(folder: string, processId: number) {
    super(`${folder} is in use by process ${processId}: stop it, or give this one another dataDir`);
    this.processId = processId;
  }
}

export interface FolderLock {
  /** Gives the folder free. Not needed before the process ends. */
  release(): Promise<void>;
}

interface Holder {
  readonly pid: number;
  readonly started: string;
  readonly boot: string;
}

/** Locks `folder` (absolute, must exist). @throws {FolderInUse} */
export async function lockFolder(folder: string, random: Random): Promise<FolderLock> {
  const path = join(folder, "LOCK.pabal");
  const own = `${path}.${random.hex(8)}`;
  const me = describe(process.pid);
  try {
    await writeFile(own, JSON.stringify(me), { mode: 0o600 });
    // A holder found dead is moved away at most a few times: each round somebody else got in first.
    for (let round = 0; round < 5; round++) {
      if (await takes(own, path)) return { release: () => rm(path, { force: true }) };
      const holder = await holderOf(path);
      if (holder !== undefined && isAlive(holder)) throw new FolderInUse(folder, holder.pid);
      await moveAway(path, `${own}.stale`);
    }
    throw new FolderInUse(folder, 0);
  } finally {
    await rm(own, { force: true });
  }
}

/** `link` is atomic: exactly one process gets the name. */
async function takes(own: string, path: string): Promise<boolean> {
  try {
    await link(own, path);
    return true;
  } catch (error) {
    if (errorCode(error) === "EEXIST") return false;
    throw error;
  }
}

/** Moves a dead holder's file; if a live one slipped in between, it gets its name back. */
async function moveAway(path: string, aside: string): Promise<void> {
  try {
    await rename(path, aside);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return;
    throw error;
  }
  const holder = await holderOf(aside);
  if (holder !== undefined && isAlive(holder)) await takes(aside, path);
  await rm(aside, { force: true });
}

/** Undefined when the file is gone or was cut off while it was written. */
async function holderOf(path: string): Promise<Holder | undefined> {
  try {
    const record = asRecord(JSON.parse(await readFile(path, "utf8")), "lock");
    return {
      pid: asNumber(record["pid"], "pid"),
      started: asString(record["started"], "started"),
      boot: asString(record["boot"], "boot"),
    };
  } catch (error) {
    const code = errorCode(error);
    if (code === undefined || code === "ENOENT") return undefined;
    throw error;
  }
}

function isAlive(holder: Holder): boolean {
  const now = describe(holder.pid);
  return now.boot === holder.boot && now.started !== "" && now.started === holder.started;
}

/** A process by number and start time, as numbers are used again. */
function describe(pid: number): Holder {
  const boot = readProc("/proc/sys/kernel/random/boot_id").trim();
  // Field 22 of stat; the name in field 2 may hold spaces and parentheses.
  const stat = readProc(`/proc/${pid}/stat`);
  const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  return { pid, started, boot };
}

function readProc(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT" || code === "ESRCH") return "";
    throw error;
  }
}
