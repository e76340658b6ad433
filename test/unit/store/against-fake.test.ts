// The engine against the simplest store that is right: random changes of one account on both, every
// outcome and the whole visible state compared; with eviction, folding and reopening in between.

import fc from "fast-check";
import { expect, it } from "vitest";
import { FakeMailStore } from "../../support/fake-mail-store.ts";
import { addAccount, makeStore, nextOp, shard } from "./harness.ts";
import type { Harness } from "./harness.ts";
import { outcome, step, visible } from "./random-steps.ts";
import type { Side, Step } from "./random-steps.ts";

/** Nothing stays in RAM longer than it is used, and blocks are folded all the time. */
const tightLimits = { summaryBytesMax: 0, accountsMax: 0, unfoldedMax: 3 };

it("the engine and the fake agree on every outcome and all that is visible", async () => {
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.boolean(), runBoth), {
    numRuns: Number(process.env["STORE_RUNS"] ?? 150),
  });
}, 60_000);

async function runBoth(steps: readonly Step[], tight: boolean): Promise<void> {
  let harness = makeStore({ limits: tight ? tightLimits : {} });
  const limits = { quotaBytes: 6000, quotaMessages: 40 };
  const who = await addAccount(harness, limits);
  const fakeStore = new FakeMailStore(() => harness.clock.nowMs());
  const fake: Side = {
    store: fakeStore,
    who: fakeStore.addAccount("u@pabal.test", { ...limits, shard }).who,
  };
  for (const [at, one] of steps.entries()) {
    if (one.do === "reopen") {
      harness = await reopen(harness);
      continue;
    }
    if (one.do === "forget") {
      harness.engine.accounts.forgetIdle();
      continue;
    }
    const op = nextOp();
    const engine: Side = { store: harness.store, who };
    const expected = await outcome(fake, one, op, false);
    const actual = await outcome(engine, one, op, false);
    expect(actual, `step ${at}: ${JSON.stringify(one)}`).toEqual(expected);
    // A retry is answered with the kept outcome and changes nothing; refusals are tried anew.
    if (!expected.startsWith("error") && one.do !== "open") {
      expect(await outcome(engine, one, op, true), `retry of step ${at}`).toEqual(expected);
    }
    expect(await visible(engine), `after step ${at}: ${JSON.stringify(one)}`).toEqual(
      await visible(fake),
    );
  }
}

/** The same rows and log in a new process. */
async function reopen(harness: Harness): Promise<Harness> {
  await harness.engine.rows.drained();
  const { db, journal, clock, limits } = harness;
  return makeStore({ db, journal, clock, limits });
}
