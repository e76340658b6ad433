// Named places at which a process can be made to die, for tests: what may be left behind at each is a
// table in docs/crash-points.md. Armed once, at start-up; else a place costs one comparison.

export const crashPoints = [
  "gateway.beforeSend",
  "gateway.afterSend",
  "gateway.beforeReply",
  "gateway.afterReply",
  "gateway.beforeConfirm",
  "primary.beforeAppend",
  "primary.afterAppend",
  "primary.afterShip",
  "primary.afterFsync",
  "primary.afterCommit",
  "secondary.beforeFsync",
  "secondary.afterFsync",
  "spool.beforeAppend",
  "spool.afterCommit",
  "spool.beforeDeliver",
  "spool.afterDeliver",
  "spool.afterRemoval",
  "confirm.beforeAppend",
  "confirm.afterCommit",
] as const;
export type CrashPoint = (typeof crashPoints)[number];

let armed: CrashPoint | undefined;
/** Places that every entry passes count only once a delivery has been seen in that role. */
let primed = false;
let hit: () => void = () => undefined;

export function isCrashPoint(name: string): name is CrashPoint {
  return crashPoints.some((point) => point === name);
}

/** `onHit` runs when the place is reached; undefined disarms. It should not return. */
export function armCrashPoint(point: CrashPoint | undefined, onHit: () => void): void {
  armed = point;
  hit = onHit;
  primed = point !== undefined && !/^(?:primary|secondary)\./.test(point);
}

export function crashPoint(point: CrashPoint): void {
  if (armed === point && primed) hit();
}

/** As `crashPoint`, once what was written in this turn of the loop has been given to the system. */
export function crashPointSoon(point: CrashPoint): void {
  if (armed !== point || !primed) return;
  setImmediate(() => setImmediate(() => crashPoint(point)));
}

/** A delivery passes in this role. */
export function primeCrashPoint(role: "primary" | "secondary"): void {
  if (armed?.startsWith(role) === true) primed = true;
}
