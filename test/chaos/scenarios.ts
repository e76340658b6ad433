// The fault scenarios of docs/operations.md, by name. Each is a small file of its own.

import type { Scenario } from "../support/chaos-run.ts";
import { killNodes } from "./f1-kill-nodes.ts";
import { killGateways } from "./f2-kill-gateways.ts";
import { killNodeAndManager } from "./f3-node-and-manager.ts";
import { stopProcesses } from "./f8-stop-processes.ts";
import { rollingRestart } from "./f16-rolling-restart.ts";

export const scenarios: readonly Scenario[] = [
  killNodes,
  killGateways,
  killNodeAndManager,
  stopProcesses,
  rollingRestart,
];

export function scenarioByName(name: string): Scenario | undefined {
  return scenarios.find((scenario) => scenario.name === name.toUpperCase());
}
