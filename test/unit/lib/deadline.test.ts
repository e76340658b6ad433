// Time limits by a clock that is an argument.

import { expect, test } from "vitest";
import { withDeadline } from "../../../src/lib/deadline.ts";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";

const aborted = (signal: AbortSignal): Promise<unknown> =>
  new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(signal.reason));
  });

test("work that is done in time is not disturbed, and its timer is gone", async () => {
  const clock = new SimulatedClock();
  let seen: AbortSignal | undefined;
  const done = await withDeadline(clock, 100, [], (signal) => {
    seen = signal;
    return Promise.resolve("done");
  });
  expect(done).toBe("done");
  clock.advance(1000);
  expect(seen?.aborted).toBe(false);
});

test("late work is told so, by that clock", async () => {
  const clock = new SimulatedClock();
  const late = withDeadline(clock, 100, [], aborted);
  clock.advance(99);
  clock.advance(1);
  expect(await late).toMatchObject({ name: "TimeoutError" });
});

test("whoever else may end the work may end it sooner", async () => {
  const clock = new SimulatedClock();
  const other = new AbortController();
  const ended = withDeadline(clock, 100, [other.signal], aborted);
  other.abort("enough");
  expect(await ended).toBe("enough");
});

test("what the work throws is thrown", async () => {
  const clock = new SimulatedClock();
  const failed = withDeadline(clock, 100, [], () => Promise.reject(new Error("no")));
  await expect(failed).rejects.toThrow("no");
});
