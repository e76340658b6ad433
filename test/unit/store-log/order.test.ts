// What the cluster's protocol builds on: one log, whose records survive in their order. Nothing waits for
// a configuration's fsync (docs/decisions/0004).

import { expect, test } from "vitest";
import { type CrashMode, SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { epoch, shardId } from "../../../src/mail/ids.ts";
import { draft, open } from "./harness.ts";

const segmentBytes = 6_000;

test("no entry survives without the configuration of its epoch", async () => {
  const disk = new SimulatedDisk();
  const { log } = await open(disk, { segmentBytes });
  const one = shardId(0);
  for (let at = 1; at <= 12; at++) {
    const config = Buffer.from(`config ${at}`);
    const written = log.writeConfig(one, { epoch: epoch(at), sealedEpoch: epoch(0), config });
    const appended = log.append(draft(one, `entry ${at}`, 700));
    if (at % 3 === 0) await appended.group.durable;
    if (at % 4 === 0) await written.durable;
  }
  await log.close();
  let found = 0;
  for (let step = 0; step <= disk.trace.length; step++) {
    for (const mode of ["lose", "random"] satisfies CrashMode[]) {
      const left = SimulatedDisk.replay(disk.trace, step, step);
      left.crash(mode);
      const again = await open(left, { segmentBytes });
      const { epoch: known, lastLsn } = again.log.state(one);
      // Entry n is the one of epoch n.
      expect(known).toBeGreaterThanOrEqual(lastLsn);
      found = Math.max(found, lastLsn);
      await again.log.close();
    }
  }
  expect(found).toBe(12);
}, 60_000);
