// The fault scenarios of docs/chaos.md under load, by name. Each is a small file of its own; by-test.ts
// has those that are tests of their own.

import type { Scenario } from "../support/chaos-context.ts";
import { killNodes } from "./f1-kill-nodes.ts";
import { killGateways } from "./f2-kill-gateways.ts";
import { killNodeAndManager } from "./f3-node-and-manager.ts";
import { killBothCopies } from "./f4-both-copies.ts";
import { partitions } from "./f6-partitions.ts";
import { halfOpenLinks } from "./f7-half-open.ts";
import { stopProcesses } from "./f8-stop-processes.ts";
import { slowDisk } from "./f9-slow-disk.ts";
import { failedSync } from "./f10-failed-sync.ts";
import { bitFlips } from "./f12-bit-flips.ts";
import { emptyFolder } from "./f14-empty-folder.ts";
import { rollingRestart } from "./f16-rolling-restart.ts";
import { badDatagrams } from "./f18-bad-datagrams.ts";

export const scenarios: readonly Scenario[] = [
  killNodes,
  killGateways,
  killNodeAndManager,
  killBothCopies,
  partitions,
  halfOpenLinks,
  stopProcesses,
  slowDisk,
  failedSync,
  bitFlips,
  emptyFolder,
  rollingRestart,
  badDatagrams,
];

/** @throws Error when there is none. */
export function scenarioByName(name: string): Scenario {
  const found = scenarios.find((scenario) => scenario.name === name);
  if (found === undefined) throw new Error(`no scenario ${name} under load`);
  return found;
}
