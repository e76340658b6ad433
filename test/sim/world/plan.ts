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
  /** A node that all gateways have lost, but no other node. */
  "offGateways",
  /** A node dies right after one of the moments that matter. */
  "crashPoints",
  /** Somebody on the wire forges, alters and repeats datagrams. */
  "forgeries",
  /** Two members whose datagrams get lost, while their link is well. */
  "deafPair",
  /** A gateway that loses other gateways, or everybody. */
  "cutGateway",
  /** A member that loses the coordinator. */
  "offCoordinator",
  "slowCoordinator",
] as const;

/** Whole sequences of faults, each aimed at what one rule is there for (hunts.ts). */
export const huntKinds = [
  "blindPrimary",
  "blindAfterHandOver",
  "crashAfterConfig",
  "crashAfterSeal",
  "answerWhileAsking",
  "restartOffRing",
] as const;

/** Those that are never drawn, only asked for: they wait for a whole cluster, and so for all others. */
export const askedKinds = ["cutOff"] as const;

/** Of disks, for nodes with a real store. */
export const storeFaultKinds = ["failedSync", "fullDisk", "bitFlip"] as const;

export type HuntKind = (typeof huntKinds)[number] | (typeof askedKinds)[number];

export type FaultKind = (typeof faultKinds)[number] | HuntKind | (typeof storeFaultKinds)[number];

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
  /** Share of datagrams to which something is done. */
  readonly forgeries: number;
  readonly logWindow: number;
  readonly network: NetworkFaults;
  readonly disk: DiskFaults;
  readonly coordinator: CoordinatorFaults;
}

/**
 * The plan of a seed. `wants`: faults that are always among it, `only`: and no others. Each choice has draws of its own, so that a
 * new kind of fault changes only the seeds that have it.
 */
export function makePlan(seed: number, wants: readonly FaultKind[] = [], only = false): Plan {
  const draw = (name: string) => new Draws(mix(seed, name));
  const pick = <T>(name: string, from: readonly [T, ...T[]]): T => draw(name).pick(from) ?? from[0];
  const faultless = wants.length === 0 && draw("faultless").chance(0.04);
  const share = pick("share", [0.08, 0.15, 0.25, 0.4]);
  const faults = new Set<FaultKind>(wants);
  const others = faultless || only ? [] : [...faultKinds, ...huntKinds];
  for (const kind of others) if (draw(kind).chance(share)) faults.add(kind);
  if (!faultless && faults.size === 0) faults.add("kill");
  const has = (kind: FaultKind) => faults.has(kind);
  // Signing costs more than all the rest of a run.
  const wanted = wants.includes("forgeries");
  const gateways = pick("gateways", [1, 2, 2, 3, 3, 5]);
  return {
    seed,
    nodes: pick("nodes", [2, 3, 3, 4, 4, 5]),
    gateways,
    shards: pick("shards", [1, 2, 4, 6]),
    clientsPerGateway: gateways > 3 ? 1 : pick("clients", [1, 2, 3]),
    minCopies: pick("minCopies", [2, 2, 2, 2, 2, 1]),
    faults,
    faultless,
    pauses: has("pause"),
    faultsMs: only && has("cutOff") ? 60_000 : pick("faultsMs", [3000, 6000, 10_000]),
    faultEveryMs: pick("faultEveryMs", [200, 500, 1000, 2000]),
    healMsMax: 60_000,
    thinkMs: pick("thinkMs", [5, 40, 150]),
    wrongMember: pick("wrongMember", [0, 0.1, 0.4]),
    misjudge: has("misjudge") ? 0.1 : 0,
    drift: has("drift") ? 0.05 : 0.001,
    forgeries: has("forgeries") && (wanted || draw("forgers").chance(0.4)) ? 0.1 : 0,
    logWindow: pick("logWindow", [10, 50, 1000]),
    network: {
      loss: has("loss") ? draw("lossShare").between(0.02, 0.3) : 0,
      doubled: has("loss") ? 0.1 : 0,
      late: has("lateDatagrams") ? 0.05 : 0,
      lateMsMax: 5000,
      delayMs: 0.2,
      jitterMs: pick("jitterMs", [1, 5, 40]),
      wild: has("wildLinks") ? draw("wildShare").between(0.002, 0.05) : 0,
      // Some still hear one who hears nobody any more: what it says to them must do no harm.
      silenceMs:
        only && has("cutOff")
          ? pick("silenceMs", [
              [600, 600],
              [600, 1000],
              [1000, 600],
            ])
          : [600, 600],
    },
    disk: {
      syncMs: pick("syncMs", [0.2, 2, 8]),
      syncJitterMs: pick("syncJitterMs", [1, 10]),
      slow: has("slowDisk") ? 0.02 : 0,
      slowMsMax: 1500,
    },
    coordinator: {
      delayMs: 1,
      jitterMs: pick("coordinatorMs", [5, 50]),
      unknown: has("unknownWrites") ? 0.2 : 0,
      watchMs: 1,
      watchMsMax: has("slowWatch") ? 3000 : 20,
    },
  };
}

function mix(seed: number, name: string): number {
  let hash = seed ^ 0x5bd1e995;
  for (let at = 0; at < name.length; at++) {
    hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193);
    hash ^= hash >>> 15;
  }
  return hash >>> 0;
}
