// Entry of the pulse thread; start-pulse.ts starts it. What it does is pulse-loop.ts's.

import { parentPort, workerData } from "node:worker_threads";
import { assert } from "../../lib/assert.ts";
import { PulseLoop } from "./pulse-loop.ts";
import type { ThreadStart, ToThread } from "./thread-messages.ts";

const port = parentPort;
assert(port !== null, "the pulse runs in a worker thread");
// Both ends are this program: the start message needs no check.
const loop = new PulseLoop(workerData as ThreadStart, (message) => port.postMessage(message));
port.on("message", (message: ToThread) => {
  loop.take(message);
  if (message.kind === "stop") port.close();
});
await loop.run();
