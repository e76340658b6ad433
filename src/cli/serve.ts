// `pabal serve`: runs one member until it is told to stop, then drains it.

import { FolderInUse } from "../lib/folder-lock.ts";
import { onBackgroundFailure } from "../lib/background.ts";
import { isMailError } from "../mail/errors.ts";
import { unreachable } from "../lib/assert.ts";
import type { Logger } from "pino";
import { loadConfig } from "./config/load.ts";
import { armCrashPoints } from "./crash-points.ts";
import type { Config } from "./config/schema.ts";
import { CommandFailure, exitStatus, isDiskFull } from "./failure.ts";
import { letHeapGrow } from "./heap.ts";
import { startCoordinator } from "./members/coordinator.ts";
import { explainListen } from "./members/listeners.ts";
import { startGateway } from "./members/gateway.ts";
import { makeLog, type RunningMember } from "./members/member-base.ts";
import { startNode } from "./members/node.ts";
import { programVersion } from "./version.ts";

/** A gateway's heap is its sessions, thousands of them; what a node holds in bulk is not on the heap. */
const heapGrowthPercent = { node: 200, gateway: 100 } as const;

/** Resolves after an orderly stop. @throws CommandFailure, ConfigError */
export async function serve(configFile: string): Promise<void> {
  const config = loadConfig(configFile);
  const log = makeLog(config);
  onBackgroundFailure((name, error) =>
    log.error({ err: error, task: name }, "background task failed"),
  );
  process.on("uncaughtException", (error) => {
    log.fatal({ err: error }, "our bug: the process ends, its peers go on");
    process.exit(exitStatus.software);
  });
  // A start that waits for the coordinator has only timers that do not hold the process.
  const alive = setInterval(() => undefined, 2 ** 30);
  const starting = new AbortController();
  const stopAsked = untilStop(starting);
  log.info(
    { role: config.member.role, version: programVersion(), pid: process.pid },
    "member starts",
  );
  let running: RunningMember;
  try {
    armCrashPoints(process.env.PABAL_CRASH_AT, config, log);
    running = await start(config, log, starting.signal);
  } catch (error) {
    if (starting.signal.aborted) process.exit(0);
    clearInterval(alive);
    throw explain(error, config);
  }
  await stopAsked;
  log.info("member stops");
  await running.stop(AbortSignal.timeout(config.limits.drain));
  log.info("member stopped");
  process.exit(0);
}

async function start(config: Config, log: Logger, signal: AbortSignal): Promise<RunningMember> {
  const { role } = config.member;
  switch (role) {
    case "coordinator":
      return startCoordinator(config, log);
    case "node":
      letHeapGrow(heapGrowthPercent.node);
      return startNode(config, log, signal);
    case "gateway":
      letHeapGrow(heapGrowthPercent.gateway);
      return startGateway(config, log, signal);
    default:
      return unreachable(role);
  }
}

/** Resolves at SIGTERM or SIGINT, which also ends a start under way; a second one ends the process. */
async function untilStop(starting: AbortController): Promise<void> {
  await new Promise<void>((done) => {
    const ask = (): void => {
      if (starting.signal.aborted) process.exit(1);
      starting.abort();
      done();
    };
    process.on("SIGTERM", ask);
    process.on("SIGINT", ask);
  });
}

function explain(error: unknown, config: Config): unknown {
  const listen = explainListen(config, error);
  if (listen !== undefined) return listen;
  if (isDiskFull(error)) {
    const { id, dataDir } = config.member;
    const what = `${id}: the disk of ${dataDir} is full: make room there, then start it again`;
    return new CommandFailure(what, exitStatus.unavailable, { cause: error });
  }
  if (error instanceof FolderInUse) {
    return new CommandFailure(error.message, exitStatus.unavailable, { cause: error });
  }
  if (isMailError(error)) {
    const { failure } = error;
    const why =
      failure.code === "INVALID" || failure.code === "CONFLICT" ? failure.why : error.message;
    return new CommandFailure(`${config.member.id}: ${why}`, exitStatus.failed, { cause: error });
  }
  return error;
}
