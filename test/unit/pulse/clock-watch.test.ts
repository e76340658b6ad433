// Wall clock against monotonic clock: a machine that slept is noticed, an ordinary pause is not.

import { expect, test } from "vitest";
import { ClockWatch } from "../../../src/cluster/pulse/clock-watch.ts";

test.each([
  ["both went on", 50, 50, undefined],
  ["the process was stopped", 5000, 5000, undefined],
  ["the wall clock is slewed", 53, 50, undefined],
  ["the machine slept", 3050, 50, 3000],
  ["the wall clock was set back", -950, 50, -1000],
])("when %s", (_what, wall, steady, gapMs) => {
  let [wallMs, steadyMs] = [1e12, 500];
  const watch = new ClockWatch(
    0,
    () => wallMs,
    () => steadyMs,
  );
  wallMs += wall;
  steadyMs += steady;
  expect(watch.jumpMs()).toBe(gapMs);
  expect(watch.jumpMs()).toBeUndefined();
});
