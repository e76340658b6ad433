// `npm run generate [-- FILE…]`: writes the files that are made from the sources. test/unit/cli/generated.test.ts
// fails when one is out of date. `npm run rfc` is the part for docs/rfc.md.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { generatedFiles } from "./generated-files.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const wanted = process.argv.slice(2);
const known = Object.keys(generatedFiles);
const unknown = wanted.filter((file) => !known.includes(file));
if (unknown.length > 0) {
  process.stderr.write(`generate: no file ${unknown.join(", ")}; there are ${known.join(", ")}\n`);
  process.exit(2);
}
for (const [file, make] of Object.entries(generatedFiles)) {
  if (wanted.length > 0 && !wanted.includes(file)) continue;
  writeFileSync(join(root, file), make(root));
  process.stdout.write(`${file}\n`);
}
