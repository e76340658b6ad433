// Reads that go on after a damaged row was replaced by another member's.

import type { WriteQueue } from "./write-queue.ts";

/** Damaged rows of one read. */
const triesMax = 100;

/** `read`, again each time a row that it found damaged could be replaced. @throws what `read` throws */
export async function mending<T>(queue: WriteQueue, read: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await read();
    } catch (error) {
      if (tries === triesMax || !(await queue.mend(error))) throw error;
    }
  }
}
