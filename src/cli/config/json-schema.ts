// The configuration as JSON Schema, for editors: made from the one table of keys (schema.ts).

import { z } from "zod";
import { configSchema } from "./schema.ts";
import { durationPattern, sizePattern } from "./units.ts";

/** What a configuration file may hold, as a JSON Schema of draft 2020-12. */
export function configJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(configSchema, {
    io: "input",
    override: ({ jsonSchema }) => {
      if (jsonSchema.unit === "duration") jsonSchema.pattern = durationPattern;
      if (jsonSchema.unit === "size") jsonSchema.pattern = sizePattern;
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
    },
  });
  return { title: "Configuration of a member of a Pabal cluster", ...schema };
}
