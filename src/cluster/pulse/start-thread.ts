// Starts the pulse thread from where this program runs: plain JavaScript in dist/, or the TypeScript
// sources under vitest and tsx, where a worker thread needs the loader told again.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import type { ThreadStart } from "./thread-messages.ts";

export function startThread(workerData: ThreadStart): Worker {
  const options = { workerData, name: "pulse" };
  const { url } = import.meta;
  if (!url.endsWith(".ts")) return new Worker(new URL("./pulse-thread.js", url), options);
  const tsx = createRequire(url).resolve("tsx/package.json");
  const loader = new URL("./dist/esm/api/index.mjs", pathToFileURL(tsx)).href;
  const entry = new URL("./pulse-thread.ts", url).href;
  const program = `import(${JSON.stringify(loader)}).then(({ register }) => {
    register();
    return import(${JSON.stringify(entry)});
  });`;
  return new Worker(program, { ...options, eval: true });
}
