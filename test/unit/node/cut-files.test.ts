// Entries that were cut are kept for a week, then go; what an earlier version left goes a week later.

import { expect, test } from "vitest";
import { CutFiles } from "../../../src/cluster/node/cut-files.ts";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { epoch, lsn, opId, shardId } from "../../../src/mail/ids.ts";
import { TestClock } from "../store/harness.ts";

const dayMs = 86_400_000;
const record = {
  lsn: lsn(7),
  hash: 1,
  parts: [Buffer.from("one "), Buffer.from("two")],
  bytes: 7,
  waiter: undefined,
  entry: {
    shard: shardId(3),
    lsn: lsn(7),
    epoch: epoch(2),
    opId: opId("0".repeat(32)),
    kind: 1,
    head: Buffer.alloc(0),
    location: { segment: 1, offset: 0, bodyOffset: 7, bodyBytes: 0 },
  },
};

test("cut entries are counted, kept for a week, and then removed", async () => {
  const disk = new SimulatedDisk();
  const clock = new TestClock();
  const cuts = new CutFiles(disk, clock, (error) => expect(error).toBeUndefined());
  await cuts.tidy();
  await cuts.save(shardId(3), []);
  expect(await disk.exists("cut")).toBe(false);
  await cuts.save(shardId(3), [record, record]);
  expect(cuts.figures).toEqual({ entries: 2, files: 1 });
  const [name = ""] = await disk.list("cut");
  const file = await disk.open(`cut/${name}`, "read");
  expect(Buffer.from(await file.read(0, 100)).toString()).toBe("one twoone two");
  await file.close();
  const old = await disk.open("cut/3-2-7", "create");
  await old.close();
  clock.now += 6 * dayMs;
  await cuts.tidy();
  expect(cuts.figures.files).toBe(2);
  clock.now += 2 * dayMs;
  await cuts.tidy();
  expect(await disk.list("cut")).toHaveLength(1);
  clock.now += 6 * dayMs;
  await cuts.tidy();
  expect(await disk.list("cut")).toEqual([]);
  expect(cuts.figures).toEqual({ entries: 2, files: 0 });
});
