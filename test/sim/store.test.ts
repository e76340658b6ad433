// Clusters with the real store from seeds: a bounded number, and those that once showed a fault.
// `npm run sim -- --store --seeds N` runs more; CI runs 500.

import { describe, expect, test } from "vitest";
import { makeStorePlan } from "./store/plan.ts";
import { runStoreSeed } from "./store/world.ts";

const batches = process.env["PABAL_TEST_LONG"] === "1" ? 40 : 3;
const seedsPerBatch = 5;

describe("simulated clusters with the real store", () => {
  test.each(Array.from({ length: batches }, (_, at) => 1 + at * seedsPerBatch))(
    "hold every invariant from seed %i on",
    async (first) => {
      let acknowledged = 0;
      for (let seed = first; seed < first + seedsPerBatch; seed++) {
        const { violation, acks } = await runStoreSeed(makeStorePlan(seed));
        expect(violation, `npm run sim -- --store --seed ${seed} --trace`).toBeUndefined();
        acknowledged += acks;
      }
      expect(acknowledged).toBeGreaterThan(seedsPerBatch * 10);
    },
  );

  test("seed 126 stays mended: a copy made from a damaged one said that a body was lost", async () => {
    expect((await runStoreSeed(makeStorePlan(126))).violation).toBeUndefined();
  });

  test("the same seed is the same run", async () => {
    const lines: string[][] = [[], []];
    for (const trace of lines) {
      await runStoreSeed(makeStorePlan(1), { trace: (line) => trace.push(line) });
    }
    expect(lines[0]?.length).toBeGreaterThan(50);
    expect(lines[0]).toEqual(lines[1]);
  });
});
