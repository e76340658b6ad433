// Starts worker threads from where this program runs: plain JavaScript in dist/, or the TypeScript
// sources under vitest and tsx, where a worker thread needs the loader told again.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import type { WorkerOptions } from "node:worker_threads";

/**
 * A thread that runs a module.
 * @param from the caller's `import.meta.url`.
 * @param entry the module next to it, without its ending.
 */
export function startThread(from: string, entry: string, options: WorkerOptions): Worker {
  if (!from.endsWith(".ts")) return new Worker(new URL(`./${entry}.js`, from), options);
  const tsx = createRequire(from).resolve("tsx/package.json");
  const loader = new URL("./dist/esm/api/index.mjs", pathToFileURL(tsx)).href;
  const module = new URL(`./${entry}.ts`, from).href;
  const program = `import(${JSON.stringify(loader)}).then(({ register }) => {
    register();
    return import(${JSON.stringify(module)});
  });`;
  return new Worker(program, { ...options, eval: true });
}
