// The line of figures of a test that `npm run chaos` runs: written where it asks for it, else logged.

import { appendFileSync } from "node:fs";

/** Names the file for figures. */
export const figuresVariable = "PABAL_TEST_FIGURES";

/** `line` begins with the fault's name: `F5: …`. */
export function tellFigures(line: string): void {
  const file = process.env[figuresVariable];
  if (file !== undefined) appendFileSync(file, `${line}\n`);
}
