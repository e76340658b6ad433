// Starts the pulse thread with what it needs from the beginning.

import type { Worker } from "node:worker_threads";
import { startThread as startAny } from "../../lib/start-thread.ts";
import type { ThreadStart } from "./thread-messages.ts";

export function startThread(workerData: ThreadStart): Worker {
  return startAny(import.meta.url, "pulse-thread", { workerData, name: "pulse" });
}
