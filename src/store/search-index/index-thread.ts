// Entry of the search index's worker thread; index-worker.ts starts it. Decoding and cutting up mail is
// done here, at the lowest priority, so that nobody's mail waits for it.

import { readlinkSync } from "node:fs";
import { setPriority } from "node:os";
import { parentPort } from "node:worker_threads";
import { assert } from "../../lib/assert.ts";
import { doJob } from "./index-job.ts";

const leastPriority = 19;

const port = parentPort;
assert(port !== null, "the search index is built in a worker thread");
giveWay();
port.on("message", (job: Uint8Array) => {
  const rows = doJob(job);
  const whole = rows?.byteLength === rows?.buffer.byteLength;
  if (rows?.buffer instanceof ArrayBuffer && whole) port.postMessage(rows, [rows.buffer]);
  else port.postMessage(rows);
});

/** Linux counts a thread's id as a process's. */
function giveWay(): void {
  try {
    const id = Number(readlinkSync("/proc/thread-self").split("/").at(-1));
    if (Number.isSafeInteger(id) && id > 0) setPriority(id, leastPriority);
  } catch {
    // On another system the thread runs like any other.
  }
}
