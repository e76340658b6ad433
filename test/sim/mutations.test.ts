// Each rule of the protocol is broken once: the simulator must notice within a bounded number of
// seeds. Those that it does not notice are named, with the reason, in docs/simulation.md.

import { describe, expect, test } from "vitest";
import { makeStorePlan } from "./store/plan.ts";
import { runStoreSeed } from "./store/world.ts";
import { makePlan } from "./world/plan.ts";
import type { FaultKind } from "./world/plan.ts";
import type { Rule } from "./world/rules.ts";
import { runSeed } from "./world/world.ts";

interface Broken {
  readonly rule: Rule;
  /** Faults that the rule is there for, so that few seeds are enough. */
  readonly wants: readonly FaultKind[];
  /** No others: the wanted ones are a whole sequence, which others would mostly spoil. */
  readonly only?: boolean;
  /** Operators and gateways' directories in place of mail. */
  readonly directory?: boolean;
  /** Seeds from here on are tried, at most `seedsMax`. */
  readonly from: number;
}

const broken: readonly Broken[] = [
  { rule: "lease", wants: ["offGateways"], from: 1 },
  { rule: "leaseOfSyncing", wants: ["kill", "offGateways", "stall"], only: true, from: 200 },
  { rule: "grace", wants: ["offGateways", "stall"], from: 1 },
  { rule: "barrier", wants: ["kill"], from: 1 },
  { rule: "commitOnAll", wants: [], from: 1 },
  { rule: "minCopies", wants: ["kill"], from: 1 },
  { rule: "fsyncBeforeAck", wants: [], from: 1 },
  { rule: "epochOfHeartbeat", wants: ["offGateways"], from: 1 },
  { rule: "fromLsn", wants: ["kill"], from: 1 },
  { rule: "wipedIsAnother", wants: ["wipe"], from: 1 },
  { rule: "cutOfTail", wants: ["kill", "isolate"], from: 1 },
  { rule: "replayToMark", wants: ["kill", "powerCut"], from: 1 },
  { rule: "committedOnly", wants: ["kill", "isolate"], from: 1 },
  { rule: "fullOnly", wants: ["kill"], from: 1 },
  { rule: "dedupe", wants: ["kill", "resetLink"], from: 1 },
  { rule: "syncedIsComplete", wants: ["kill"], from: 1 },
  { rule: "secretKey", wants: ["forgeries"], from: 1 },
  { rule: "replayWindow", wants: ["forgeries"], from: 1 },
  { rule: "sealStopsGrants", wants: ["blindPrimary"], only: true, from: 1 },
  { rule: "handOverIsFinal", wants: ["blindAfterHandOver"], only: true, from: 1 },
  { rule: "waitAfterRestart", wants: ["crashAfterConfig"], only: true, from: 1 },
  { rule: "fsyncOfSeal", wants: ["crashAfterSeal"], only: true, from: 1 },
  { rule: "askFreezes", wants: ["answerWhileAsking"], only: true, from: 1 },
  { rule: "ringOfLife", wants: ["restartOffRing"], only: true, from: 1 },
];

/** With the real store, where the lie reaches it. */
const brokenStore: readonly Broken[] = [
  { rule: "fsyncBeforeAck", wants: [], from: 1 },
  { rule: "dedupe", wants: ["resetLink", "kill"], from: 1 },
  { rule: "minCopies", wants: ["kill"], from: 1 },
  { rule: "denyUnsure", wants: [], directory: true, from: 3 },
  { rule: "freshness", wants: ["cutGateway"], directory: true, from: 3 },
  { rule: "tellGateways", wants: [], directory: true, from: 6 },
  {
    rule: "marksWhileServing",
    wants: ["cutGateway", "swap"],
    only: true,
    directory: true,
    from: 1,
  },
  { rule: "tombstoneFirst", wants: [], directory: true, from: 1 },
  { rule: "floorOfRemoved", wants: [], directory: true, from: 1 },
  { rule: "resumeSagas", wants: [], directory: true, from: 5 },
  { rule: "directoryPower", wants: ["killGateway"], only: true, directory: true, from: 3 },
];
const storeSeedsMax = 30;

const seedsMax = 400;

describe("a cluster without the rule", () => {
  test.each(broken)("$rule is caught", (one) => {
    expect(firstViolation(one)).toBeDefined();
  });
});

describe("a cluster with the real store and without the rule", () => {
  test.each(brokenStore)("$rule is caught", async ({ rule, from, wants, ...more }) => {
    let caught: string | undefined;
    let seed = from;
    for (; seed < from + storeSeedsMax && caught === undefined; seed++) {
      const { violation } = await runStoreSeed(makeStorePlan(seed, wants, more), { broken: rule });
      caught = violation?.what;
    }
    expect(caught).toBeDefined();
    const { violation } = await runStoreSeed(makeStorePlan(seed - 1, wants, more));
    expect(violation, "with the rule in place").toBeUndefined();
  });
});

function firstViolation({ rule, wants, only, from }: Broken): string | undefined {
  for (let seed = from; seed < from + seedsMax; seed++) {
    const { violation } = runSeed(makePlan(seed, wants, only), { broken: rule });
    if (violation !== undefined) return `seed ${seed} ${violation.what}`;
  }
  return undefined;
}
