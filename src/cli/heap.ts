// How far a member's heap may grow before V8 marks all of it.

import { setFlagsFromString } from "node:v8";

/**
 * Lets the heap grow to 1 + `percent` / 100 times what was alive at the last full collection. V8's own
 * rule allows a small heap 8 MiB, and counts the bytes of short-lived buffers as part of it: a member
 * that moves mail would mark its whole heap once or twice a second, on a thread of its own.
 *
 * @param percent of what is alive; what a member holds for idle sessions counts, too.
 */
export function letHeapGrow(percent: number): void {
  setFlagsFromString(`--heap-growing-percent=${percent}`);
}
