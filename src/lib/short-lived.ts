// Large buffers that live for a moment: pieces of a body on their way through. V8 lets 32 MiB of them
// gather before it looks, and frees them on a thread that a busy machine runs late, so that twice as
// much is held by then. Here they are collected earlier.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Reading and copying make about twice the bytes of what passes. */
const gatheredMax = 6 * 1024 * 1024;

let gathered = 0;
let collect: (() => void) | undefined;

/** `bytes` have passed through this process in buffers of their own. */
export function noteShortLived(bytes: number): void {
  gathered += bytes;
  if (gathered < gatheredMax) return;
  gathered = 0;
  collect ??= youngCollection();
  collect();
}

/** A collection of what is young, well below a millisecond when little of it is alive. */
function youngCollection(): () => void {
  setFlagsFromString("--expose-gc");
  const found: unknown = runInNewContext("gc");
  return isCollector(found) ? () => found({ type: "minor" }) : () => undefined;
}

function isCollector(value: unknown): value is (options: { readonly type: "minor" }) => void {
  return typeof value === "function";
}
