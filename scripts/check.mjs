// `npm run check`: everything a tool can tell about the sources, as CI does it.
// `npm run check -- types lint` runs only the steps named. Leaves the tests to scripts/test.mjs.

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

const steps = [
  { name: "types", command: ["tsc", "-p", "tsconfig.json", "--noEmit"] },
  { name: "test-types", command: ["tsc", "-p", "tsconfig.test.json"] },
  {
    name: "lint",
    command: ["oxlint", "--type-aware", "--tsconfig", "tsconfig.test.json", "--deny-warnings"],
  },
  { name: "format", command: ["biome", "format"] },
  { name: "dead-code", command: ["knip", "--no-progress"] },
];

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !steps.some((step) => step.name === name));
if (unknown.length > 0) {
  console.error(
    `check: no step ${unknown.join(", ")}; there are ${steps.map((s) => s.name).join(", ")}`,
  );
  process.exit(2);
}
if (!existsSync(join(root, "node_modules", ".bin"))) {
  console.error("check: run `npm ci --include=dev` first");
  process.exit(2);
}

const path = join(root, "node_modules", ".bin") + delimiter + (process.env.PATH ?? "");
let failures = 0;
for (const { name, command } of steps) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const startMs = performance.now();
  const [program = "", ...args] = command;
  const run = spawnSync(program, args, {
    cwd: root,
    env: { ...process.env, PATH: path },
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  const passed = run.status === 0;
  if (!passed) {
    failures += 1;
    process.stdout.write(`${run.stdout ?? ""}${run.stderr ?? ""}`);
    if (run.error) console.log(`${program}: ${run.error.message}`);
  }
  console.log(`${passed ? "ok  " : "FAIL"} ${name.padEnd(10)} ${seconds} s`);
}
process.exit(failures === 0 ? 0 : 1);
