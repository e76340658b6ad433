// Test runs: one vitest project a kind, so that `npm test -- unit` runs one kind alone.
// What each kind is for stands in CONTRIBUTING.md; scripts/test.mjs is the way in.

import { defineConfig } from "vitest/config";

const kinds = [
  { name: "unit", testTimeout: 10_000, alone: false },
  { name: "conformance", testTimeout: 20_000, alone: false },
  { name: "sim", testTimeout: 120_000, alone: false },
  { name: "fuzz", testTimeout: 60_000, alone: false },
  { name: "security", testTimeout: 60_000, alone: true },
  // These start real clusters of processes; one file at a time keeps two cores enough for them.
  { name: "integration", testTimeout: 90_000, alone: true },
  { name: "interop", testTimeout: 120_000, alone: true },
  { name: "chaos", testTimeout: 420_000, alone: true },
];

export default defineConfig({
  test: {
    reporters: ["./scripts/reporter.ts"],
    projects: kinds.map(({ name, testTimeout, alone }, index) => ({
      test: {
        name,
        include: [`test/${name}/**/*.test.ts`],
        testTimeout,
        hookTimeout: testTimeout,
        pool: "forks" as const,
        maxWorkers: alone ? 1 : 2,
        fileParallelism: !alone,
        sequence: { groupOrder: index },
      },
    })),
  },
});
