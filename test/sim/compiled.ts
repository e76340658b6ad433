// The simulator as plain JavaScript, for long runs: what tsx makes of it gives each function its name
// again whenever one is made, which costs a fifth of the time.

import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Compiles the simulator below node_modules: its main program, and the folder to remove later. */
export function compiled(): { readonly program: string; readonly folder: string } {
  const folder = join(root, "node_modules/.cache/pabal-sim", String(process.pid));
  mkdirSync(folder, { recursive: true });
  const project = join(folder, "tsconfig.json");
  const compilerOptions = {
    rootDir: root,
    outDir: folder,
    noCheck: true,
    typeRoots: [join(root, "node_modules/@types")],
  };
  const files = [join(root, "test/sim/main.ts")];
  const config = { extends: join(root, "tsconfig.json"), compilerOptions, include: [], files };
  writeFileSync(project, JSON.stringify(config));
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const { status, stdout } = spawnSync(process.execPath, [tsc, "-p", project]);
  if (status !== 0) throw new Error(`the simulator does not compile: ${stdout.toString()}`);
  return { program: join(folder, "test/sim/main.js"), folder };
}
