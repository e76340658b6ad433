// What one seed stands for: sizes of the cluster, a random subset of the faults, and how often each
// comes. Swarm testing: most runs have few kinds of faults, so that each gets far.

import { Draws } from "./schedule.ts";
import type { CoordinatorFaults } from "./coordinator.ts";
import type { DiskFaults } from "./disk.ts";
import type { NetworkFaults } from "./network.ts";

export const faultKinds = [
  "kill",
  "powerCut",
  "wipe",
  "stop",
  "pause",
  "stall",
  "isolate",
  "cutPair",
  "oneWay",
  "resetLink",
  "loss",
  "lateDatagrams",
  "wildLinks",
  "slowDisk",
  "coordinatorOut",
  "slowWatch",
  "unknownWrites",
  "killGateway",
  "drift",
  "misjudge",
  "drain",
  "swap",
  "move",
  "addNode",
  "lastingLoss",
] as const;

export type FaultKind = (typeof faultKinds)[number];

export interface Plan {
  readonly seed: number;
  readonly nodes: number;
  readonly gateways: number;
  readonly shards: number;
  readonly clientsPerGateway: number;
  readonly minCopies: number;
  readonly faults: ReadonlySet<FaultKind>;
  readonly faultless: boolean;
  readonly pauses: boolean;
  /** Faults come until then; afterwards everything is healed. */
  readonly faultsMs: number;
  readonly faultEveryMs: number;
  readonly healMsMax: number;
  readonly thinkMs: number;
  readonly wrongMember: number;
  readonly misjudge: number;
  readonly drift: number;
  readonly logWindow: number;
  readonly network: NetworkFaults;
  readonly disk: DiskFaults;
  readonly coordinator: CoordinatorFaults;
}

/** The plan of a seed. `wants`: faults that are always among it. */
export function makePlan(seed: number, wants: readonly FaultKind[] = []): Plan {
  const draws = new Draws(seed ^ 0x5bd1e995);
  const faultless = wants.length === 0 && draws.chance(0.04);
  const share = draws.pick([0.08, 0.15, 0.25, 0.4]) ?? 0.2;
  const faults = new Set<FaultKind>(wants);
  for (const kind of faultKinds) if (!faultless && draws.chance(share)) faults.add(kind);
  if (!faultless && faults.size === 0) faults.add("kill");
  const has = (kind: FaultKind) => faults.has(kind);
  const nodes = draws.pick([2, 3, 3, 4, 4, 5]) ?? 3;
  return {
    seed,
    nodes,
    gateways: draws.pick([1, 2, 2, 3]) ?? 2,
    shards: draws.pick([1, 2, 4, 6]) ?? 2,
    clientsPerGateway: draws.pick([1, 2, 3]) ?? 2,
    minCopies: draws.chance(0.85) ? 2 : 1,
    faults,
    faultless,
    pauses: has("pause"),
    faultsMs: draws.pick([3000, 6000, 10_000]) ?? 6000,
    faultEveryMs: draws.pick([200, 500, 1000, 2000]) ?? 1000,
    healMsMax: 60_000,
    thinkMs: draws.pick([5, 40, 150]) ?? 40,
    wrongMember: draws.pick([0, 0.1, 0.4]) ?? 0.1,
    misjudge: has("misjudge") ? 0.1 : 0,
    drift: has("drift") ? 0.05 : 0.001,
    logWindow: draws.pick([10, 50, 1000]) ?? 1000,
    network: {
      loss: has("loss") ? draws.between(0.02, 0.3) : 0,
      doubled: has("loss") ? 0.1 : 0,
      late: has("lateDatagrams") ? 0.05 : 0,
      lateMsMax: 5000,
      delayMs: 0.2,
      jitterMs: draws.pick([1, 5, 40]) ?? 5,
      wild: has("wildLinks") ? draws.between(0.002, 0.05) : 0,
    },
    disk: {
      syncMs: draws.pick([0.2, 2, 8]) ?? 1,
      syncJitterMs: draws.pick([1, 10]) ?? 1,
      slow: has("slowDisk") ? 0.02 : 0,
      slowMsMax: 1500,
    },
    coordinator: {
      delayMs: 1,
      jitterMs: draws.pick([5, 50]) ?? 5,
      unknown: has("unknownWrites") ? 0.2 : 0,
      watchMs: 1,
      watchMsMax: has("slowWatch") ? 3000 : 20,
    },
  };
}
