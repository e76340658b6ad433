// When a node says that it is unwell, and when it says so no more.

import { describe, expect, test } from "vitest";
import { type Ailment, Health, type HealthSample } from "../../../src/cluster/node/health.ts";

const well = { unsyncedSinceMs: undefined, loopLagMs: 0, diskFreePerMille: 900, badRecords: 0 };

/** Judged every 100 ms from `fromMs` to `toMs`; the answers' last. */
function pass(
  health: Health,
  fromMs: number,
  toMs: number,
  sample: (nowMs: number) => Omit<HealthSample, "nowMs">,
): readonly Ailment[] {
  let last: readonly Ailment[] = [];
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += 100) {
    last = health.judge({ nowMs, ...sample(nowMs) });
  }
  return last;
}

describe("fsync", () => {
  test("that is slow for less than three seconds is no ailment", () => {
    const health = new Health();
    const slow = (nowMs: number): typeof well => {
      health.synced(700, nowMs);
      return well;
    };
    expect(pass(health, 0, 2900, slow)).toEqual([]);
    expect(pass(health, 3000, 3000, slow)).toEqual(["slowSync"]);
  });

  test("that hangs is one, although nothing is reported synced", () => {
    const health = new Health();
    expect(pass(health, 0, 10_000, () => ({ ...well, unsyncedSinceMs: 0 }))).toEqual(["slowSync"]);
  });

  test("of which one in fifty is slow is one, a single slow one is not", () => {
    const sick = new Health();
    const fine = new Health();
    const load = (health: Health, slowEvery: number) => (nowMs: number) => {
      for (let n = 0; n < 10; n += 1) {
        health.synced((nowMs / 10 + n) % slowEvery === 0 ? 800 : 2, nowMs);
      }
      return well;
    };
    expect(pass(sick, 0, 8000, load(sick, 50))).toEqual(["slowSync"]);
    expect(pass(fine, 0, 8000, load(fine, 1_000_000))).toEqual([]);
  });

  test("an idle node's old slow syncs are forgotten, the ailment after thirty calm seconds", () => {
    const health = new Health();
    pass(health, 0, 5000, (nowMs) => {
      health.synced(900, nowMs);
      return well;
    });
    expect(health.isCalm).toBe(false);
    expect(pass(health, 5100, 30_000, () => well)).toEqual(["slowSync"]);
    expect(health.isCalm).toBe(true);
    expect(pass(health, 30_100, 40_000, () => well)).toEqual([]);
  });
});

test("a stall of the loop over two seconds counts at once, one second does not", () => {
  const health = new Health();
  expect(health.judge({ ...well, nowMs: 0, loopLagMs: 1000 })).toEqual([]);
  expect(health.judge({ ...well, nowMs: 1000, loopLagMs: 2001 })).toEqual(["stalledLoop"]);
  expect(pass(health, 1100, 30_900, () => well)).toEqual(["stalledLoop"]);
  expect(pass(health, 31_000, 31_000, () => well)).toEqual([]);
});

test("less than five per cent free disk", () => {
  const health = new Health();
  expect(health.judge({ ...well, nowMs: 0, diskFreePerMille: 50 })).toEqual([]);
  expect(health.judge({ ...well, nowMs: 1, diskFreePerMille: 49 })).toEqual(["diskFull"]);
});

test("three bad records within ten minutes; two, or three in an hour, are only counted", () => {
  const health = new Health();
  expect(health.judge({ ...well, nowMs: 0, badRecords: 5 })).toEqual([]);
  expect(health.judge({ ...well, nowMs: 1000, badRecords: 7 })).toEqual([]);
  expect(health.judge({ ...well, nowMs: 1_000_000, badRecords: 8 })).toEqual([]);
  expect(health.judge({ ...well, nowMs: 1_001_000, badRecords: 10 })).toEqual(["badRecords"]);
});
