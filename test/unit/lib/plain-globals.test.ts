import { Buffer as theBuffer } from "node:buffer";
import { performance as thePerformance } from "node:perf_hooks";
import { default as theProcess } from "node:process";
import { expect, test } from "vitest";
import "../../../src/lib/plain-globals.ts";

test.each([
  ["Buffer", theBuffer],
  ["performance", thePerformance],
  ["process", theProcess],
] as const)("%s is a plain property, which nobody lists", (name, value) => {
  const property = Object.getOwnPropertyDescriptor(globalThis, name);
  expect(property !== undefined && "value" in property && property.value === value).toBe(true);
  expect(property?.enumerable).toBe(false);
});
