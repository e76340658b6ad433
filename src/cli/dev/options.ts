// Options of `pabal dev`, checked once.

import { parseDuration } from "../config/units.ts";
import { CommandFailure, exitStatus } from "../failure.ts";

export interface DevOptions {
  /** Undefined: a fresh temporary folder that goes at exit. */
  readonly data: string | undefined;
  readonly gateways: number;
  readonly nodes: number;
  /** `etcd`: a server of Debian's package etcd-server is started on loopback. */
  readonly coordinator: "embedded" | "etcd";
  readonly users: number;
  readonly portBase: number;
  readonly portsJson: string | undefined;
  /** Undefined: a dead member stays dead. */
  readonly restartAfterMs: number | undefined;
  readonly set: readonly string[];
}

/** As commander hands them over. */
export interface RawDevOptions {
  readonly data?: string;
  readonly gateways: string;
  readonly nodes: string;
  readonly coordinator: string;
  readonly users: string;
  readonly portBase: string;
  readonly portsJson?: string;
  readonly restartAfter: string;
  readonly set?: readonly string[];
}

/** @throws CommandFailure that names the option. */
export function devOptions(raw: RawDevOptions): DevOptions {
  const { coordinator } = raw;
  if (coordinator !== "embedded" && coordinator !== "etcd") {
    throw usage(`--coordinator wants embedded or etcd, not ${coordinator}`);
  }
  const restartAfterMs = raw.restartAfter === "never" ? undefined : parseDuration(raw.restartAfter);
  if (raw.restartAfter !== "never" && restartAfterMs === undefined) {
    throw usage("--restart-after wants a duration such as 1s, or never");
  }
  for (const pair of raw.set ?? []) {
    if (!/^[A-Za-z][\w.]*=/.test(pair)) throw usage(`--set wants key=value, not "${pair}"`);
  }
  return {
    data: raw.data,
    gateways: whole("--gateways", raw.gateways, 1, 9),
    nodes: whole("--nodes", raw.nodes, 1, 99),
    coordinator,
    users: whole("--users", raw.users, 0, 100_000),
    portBase: whole("--port-base", raw.portBase, 0, 64_000),
    portsJson: raw.portsJson,
    restartAfterMs,
    set: raw.set ?? [],
  };
}

function whole(option: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw usage(`${option} wants a whole number from ${least} to ${most}`);
}

function usage(message: string): CommandFailure {
  return new CommandFailure(message, exitStatus.usage);
}
