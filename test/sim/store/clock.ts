// Clocks of simulated processes, as the product's code asks for them.

import type { Clock, Timer } from "../../../src/lib/clock.ts";
import type { Life } from "../world/life.ts";
import type { Machine } from "../world/machine.ts";
import type { StoreCluster } from "./world.ts";

const beginningMs = 1_700_000_000_000;

/** The clock of one process. */
export function clockOf(world: StoreCluster, life: Life): Clock {
  return {
    nowMs: () => Math.floor(beginningMs + life.wallMs),
    monotonicMs: () => life.nowMs,
    after: (delayMs, run) => timerOf(world, life, delayMs, run),
  };
}

/** Of a disk, which serves whatever process its machine has now. */
export function diskClock(world: StoreCluster, machine: Machine): Clock {
  return {
    nowMs: () => beginningMs,
    monotonicMs: () => world.schedule.nowMs,
    after: (delayMs, run) => {
      const { life } = machine;
      if (life !== undefined) return timerOf(world, life, delayMs, run);
      // Before the first process.
      run();
      return { cancel: () => undefined };
    },
  };
}

function timerOf(world: StoreCluster, life: Life, delayMs: number, run: () => void): Timer {
  let cancelled = false;
  life.main.after(Math.max(0, delayMs), () => {
    if (cancelled) return;
    world.busy = true;
    run();
  });
  return {
    cancel: () => {
      cancelled = true;
    },
  };
}
