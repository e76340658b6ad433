// A file that is only there to be given up: when the disk is full, its room lets a process start,
// write down deletions and end in order. How full is too full is store/disk-room.ts's to say.

import type { Disk } from "./disk.ts";
import { errorCode } from "./real-disk.ts";
import type { Random } from "./random.ts";

export const ballastFile = "BALLAST";
const draftFile = `${ballastFile}.new`;
const pieceBytes = 1_048_576;

/** Bytes of ballast on the disk; 0 when there is none. */
export async function ballastBytes(disk: Disk): Promise<number> {
  if (!(await disk.exists(ballastFile))) return 0;
  const file = await disk.open(ballastFile, "read");
  try {
    return await file.size();
  } finally {
    await file.close();
  }
}

/**
 * Writes `bytes` that no file system can compress or leave out. False when there was no room for
 * them, or `signal` aborted: then nothing is left of it.
 */
export async function makeBallast(
  disk: Disk,
  bytes: number,
  random: Random,
  signal: AbortSignal,
): Promise<boolean> {
  const file = await disk.open(draftFile, "write");
  try {
    await file.truncate(0);
    for (let at = 0; at < bytes; at += pieceBytes) {
      if (signal.aborted) break;
      await file.writev([random.bytes(Math.min(pieceBytes, bytes - at))], at);
    }
    await file.sync();
    if (!signal.aborted) await disk.rename(draftFile, ballastFile);
  } catch (error) {
    if (!isNoSpace(error)) throw error;
  } finally {
    await file.close();
    if (await disk.exists(draftFile)) await disk.unlink(draftFile);
  }
  return disk.exists(ballastFile);
}

/** Gives the room back. False when there was no ballast. */
export async function releaseBallast(disk: Disk): Promise<boolean> {
  if (await disk.exists(draftFile)) await disk.unlink(draftFile);
  if (!(await disk.exists(ballastFile))) return false;
  await disk.unlink(ballastFile);
  return true;
}

/** True for the errors of a full disk or quota. */
export function isNoSpace(error: unknown): boolean {
  const code = errorCode(error);
  return code === "ENOSPC" || code === "EDQUOT";
}
