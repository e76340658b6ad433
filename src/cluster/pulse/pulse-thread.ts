// Entry of the pulse thread; start-pulse.ts starts it. What it does is pulse-loop.ts's.

import { readlinkSync } from "node:fs";
import { setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { assert } from "../../lib/assert.ts";
import { PulseLoop } from "./pulse-loop.ts";
import type { ThreadStart, ToThread } from "./thread-messages.ts";

/** As a nice value; timers still wake it in the order of the clock. */
const urgency = -15;

const port = parentPort;
assert(port !== null, "the pulse runs in a worker thread");
// Both ends are this program: the start message needs no check.
const loop = new PulseLoop(workerData as ThreadStart, (message) => port.postMessage(message));
port.on("message", (message: ToThread) => {
  loop.take(message);
  if (message.kind === "stop") port.close();
});
hurry();
await loop.run();

/**
 * Asks the kernel to run this thread before busy ones, where it may (root, CAP_SYS_NICE, LimitNICE):
 * a crowded machine is then not taken for a dead member. Linux counts a thread's id as a process's.
 */
function hurry(): void {
  try {
    const id = Number(readlinkSync("/proc/thread-self").split("/").at(-1));
    if (Number.isSafeInteger(id) && id > 0) setPriority(id, urgency);
  } catch {
    // Without the right, or on another system, the thread runs like any other.
  }
}
