// Many look-ups in LevelDB at once, spread over the thread pool: one call of getMany is one thread's
// work, which for cold rows is reading and unpacking of blocks.

import type { WriteQueue } from "./write-queue.ts";

/** As `getMany`, in calls of at most `perCall` keys that run side by side. */
export async function spreadReads(
  queue: WriteQueue,
  keys: readonly Buffer[],
  perCall: number,
): Promise<(Buffer | undefined)[]> {
  if (keys.length <= perCall) return queue.getMany(keys);
  const calls: Promise<(Buffer | undefined)[]>[] = [];
  for (let at = 0; at < keys.length; at += perCall) {
    calls.push(queue.getMany(keys.slice(at, at + perCall)));
  }
  return (await Promise.all(calls)).flat();
}
