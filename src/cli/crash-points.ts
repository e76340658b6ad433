// PABAL_CRASH_AT, for tests alone: `n1=primary.afterAppend,secondary.afterFsync;g1=gateway.afterSend`.
// Each member dies (SIGKILL) at its points, one after the other, once each: a file in its data folder
// says which it has died at.

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "pino";
import { armCrashPoint, type CrashPoint, crashPoints, isCrashPoint } from "../lib/crash-point.ts";
import type { Config } from "./config/schema.ts";
import { CommandFailure, exitStatus } from "./failure.ts";

/** Where a member notes the points at which it has died. */
export const crashFolder = "crashed-at";

/** Arms the member's next point, if there is one. @throws CommandFailure for an unknown name */
export function armCrashPoints(text: string | undefined, config: Config, log: Logger): void {
  if (text === undefined || text === "") return;
  const { id, dataDir } = config.member;
  const folder = join(dataDir, crashFolder);
  const next = pointsOf(text, id).find((point) => !existsSync(join(folder, point)));
  if (next === undefined) return;
  log.warn({ point: next }, "this member is made to crash (PABAL_CRASH_AT)");
  mkdirSync(folder, { recursive: true });
  armCrashPoint(next, () => {
    writeFileSync(join(folder, next), "");
    process.kill(process.pid, "SIGKILL");
    // The signal may come a moment later: nothing more is done meanwhile.
    for (;;);
  });
}

function pointsOf(text: string, member: string): readonly CrashPoint[] {
  const points: CrashPoint[] = [];
  for (const part of text.split(";")) {
    const [id, names = ""] = part.split("=");
    for (const name of names.split(",")) {
      if (!isCrashPoint(name)) {
        const known = crashPoints.join(", ");
        const what = `PABAL_CRASH_AT: no point "${name}"; there are ${known}`;
        throw new CommandFailure(what, exitStatus.config);
      }
      if (id === member) points.push(name);
    }
  }
  return points;
}
