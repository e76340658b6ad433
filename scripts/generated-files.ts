// Which files are made from the sources, and by what.

import { configJsonSchema } from "../src/cli/config/json-schema.ts";
import { configReference } from "./generate-config.ts";
import { rfcTable } from "./generate-rfc.ts";

/** Path below the checkout → its text. */
export const generatedFiles: Readonly<Record<string, (root: string) => string>> = {
  "docs/config.md": () => configReference(),
  "config/pabal.schema.json": () => `${JSON.stringify(configJsonSchema(), undefined, 2)}\n`,
  "docs/rfc.md": rfcTable,
};
