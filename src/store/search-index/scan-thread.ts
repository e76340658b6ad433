// Entry of the thread that looks through large texts for SEARCH; text-scanner.ts starts it.

import { parentPort } from "node:worker_threads";
import { assert } from "../../lib/assert.ts";
import { piecesHave } from "../message-pieces.ts";
import type { ScanJob } from "./text-scanner.ts";

const port = parentPort;
assert(port !== null, "large texts are looked through in a worker thread");
port.on("message", ({ pieces, texts }: ScanJob) => port.postMessage(piecesHave(pieces, texts)));
