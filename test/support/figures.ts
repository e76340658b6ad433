// Lines of figures of a test: appended to the file that is named for it, as `npm run chaos` does.

import { appendFileSync } from "node:fs";

/** Names the file for figures. */
export const figuresVariable = "PABAL_TEST_FIGURES";

/** `line` begins with the fault's name, such as `F5: …`. */
export function tellFigures(line: string): void {
  const file = process.env[figuresVariable];
  if (file !== undefined) appendFileSync(file, `${line}\n`);
}
