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

  test("seed 126 without a directory stays mended: a copy made from a damaged one said that a body was lost", async () => {
    const plan = makeStorePlan(126, [], { directory: false });
    expect((await runStoreSeed(plan)).violation).toBeUndefined();
  });

  test.each([
    [492, "a change was acknowledged while a gateway could deny an alias that it found there"],
    [414, "a late try of a change left a name claimed for an account that did not have it"],
    [126, "a damaged copy was the only one that the table had left"],
  ])("seed %i stays mended: %s", async (seed) => {
    expect((await runStoreSeed(makeStorePlan(seed))).violation).toBeUndefined();
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
