// What one seed stands for in the world with the real store: smaller clusters than those of the
// protocol machines, as each costs more, and faults of disks.

import { makePlan, storeFaultKinds } from "../world/plan.ts";
import type { FaultKind, Plan } from "../world/plan.ts";
import { Draws } from "../world/schedule.ts";

export interface StorePlan extends Plan {
  /** Operators and gateways' directories instead of mail clients. */
  readonly directory: boolean;
  readonly accountsPerShard: number;
  readonly segmentBytes: number;
  readonly windowMs: number;
  readonly checkpointMs: number;
  /** Share of messages that are too large for the log. */
  readonly large: number;
}

/** Not of these nodes: links that no TCP makes, and what is worth its time only in the other world. */
const unwanted: readonly FaultKind[] = ["wildLinks", "forgeries", "pause", "lastingLoss"];

export function makeStorePlan(
  seed: number,
  wants: readonly FaultKind[] = [],
  more: { readonly only?: boolean; readonly directory?: boolean } = {},
): StorePlan {
  const draws = new Draws((seed ^ 0x5eed) >>> 0);
  const plan = makePlan(
    seed,
    wants.filter((kind) => !unwanted.includes(kind)),
    more.only,
  );
  const faults = new Set<FaultKind>();
  for (const kind of plan.faults) if (!unwanted.includes(kind)) faults.add(kind);
  for (const kind of storeFaultKinds) {
    if (!plan.faultless && draws.chance(0.2) && more.only !== true) faults.add(kind);
  }
  for (const kind of wants) faults.add(kind);
  const directory = directoryPlan(seed, more.directory);
  return {
    ...plan,
    seed,
    faults,
    pauses: false,
    forgeries: 0,
    nodes: draws.pick([2, 3, 3, 4]) ?? 3,
    gateways: draws.pick([1, 1, 2]) ?? 1,
    shards: draws.pick([1, 1, 2, 3]) ?? 1,
    clientsPerGateway: draws.pick([1, 2]) ?? 1,
    faultsMs: draws.pick([2000, 4000, 6000]) ?? 4000,
    thinkMs: draws.pick([20, 60, 150]) ?? 60,
    network: { ...plan.network, wild: 0 },
    accountsPerShard: draws.pick([1, 2]) ?? 1,
    segmentBytes: draws.pick([8_000, 30_000]) ?? 8_000,
    windowMs: draws.pick([300, 3000]) ?? 300,
    checkpointMs: draws.pick([300, 1500]) ?? 300,
    large: draws.pick([0, 0.1]) ?? 0,
    ...(directory === undefined ? { directory: false } : { directory: true, ...directory }),
  };
}

/** In seeds with a directory: names whose claims lie in several shards, and several gateways. */
function directoryPlan(seed: number, wanted: boolean | undefined) {
  const draws = new Draws((seed ^ 0xd17ec) >>> 0);
  const isDrawn = draws.chance(0.3);
  if (!(wanted ?? isDrawn)) return undefined;
  return { gateways: draws.pick([2, 2, 3]) ?? 2, shards: draws.pick([2, 3, 4]) ?? 2 };
}
