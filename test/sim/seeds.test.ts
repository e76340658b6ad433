// Whole clusters from seeds: the invariants of docs/simulation.md hold in a bounded number of them,
// and in every seed that once showed a fault. `npm run sim -- --seeds N` runs more.

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { asArray, asNumber, asRecord, asString } from "../../src/lib/decode.ts";
import { makePlan } from "./world/plan.ts";
import { runSeed } from "./world/world.ts";

const long = process.env["PABAL_TEST_LONG"] === "1";
const batches = long ? 40 : 6;
const seedsPerBatch = long ? 250 : 50;
const cutSeeds = long ? 1000 : 20;

const kept = asArray(
  JSON.parse(readFileSync(new URL("kept-seeds.json", import.meta.url), "utf8")),
  "kept seeds",
).map((one) => {
  const { seed, why } = asRecord(one, "kept seed");
  return { seed: asNumber(seed, "seed"), why: asString(why, "why") };
});

describe("simulated clusters", () => {
  test.each(Array.from({ length: batches }, (_, at) => 1 + at * seedsPerBatch))(
    "hold every invariant from seed %i on",
    (first) => {
      let acknowledged = 0;
      for (let seed = first; seed < first + seedsPerBatch; seed++) {
        const { violation, acks } = runSeed(makePlan(seed));
        expect(violation, `npm run sim -- --seed ${seed} --trace`).toBeUndefined();
        acknowledged += acks;
      }
      // A cluster that answers nobody holds every invariant, too.
      expect(acknowledged).toBeGreaterThan(seedsPerBatch * 50);
    },
  );

  test("are served on when a member is cut off", () => {
    // 56: a primary that heard nobody was believed that its secondaries were gone.
    for (const seed of [...Array.from({ length: cutSeeds }, (_, at) => at + 1), 56]) {
      const { violation } = runSeed(makePlan(seed, ["cutOff"], true));
      expect(violation, `npm run sim -- --cuts --seed ${seed} --trace`).toBeUndefined();
    }
  });

  test.each(kept)("seed $seed stays mended: $why", ({ seed }) => {
    expect(runSeed(makePlan(seed)).violation).toBeUndefined();
  });

  test("the same seed is the same run", () => {
    const lines: string[][] = [[], []];
    for (const trace of lines) runSeed(makePlan(7), { trace: (line) => trace.push(line) });
    expect(lines[0]?.length).toBeGreaterThan(100);
    expect(lines[0]).toEqual(lines[1]);
  });
});
