// Reading entries back from the log: what was cut must stay hidden, wherever it lies.

import { expect, test } from "vitest";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { lsn, shardId } from "../../../src/mail/ids.ts";
import { decodeEntry } from "../../../src/store/log/record.ts";
import type { SegmentLog } from "../../../src/store/log/types.ts";
import { draft, open, textOf } from "./harness.ts";

const one = shardId(1);

test("what was cut from an older segment is not handed out to a member that catches up", async () => {
  const disk = new SimulatedDisk();
  const { log } = await open(disk, { segmentBytes: 2_500 });
  const hashes: number[] = [0];
  // The first three in one segment, the cut and what follows in the next ones.
  for (let at = 1; at <= 3; at++) {
    const { hash, group } = log.append(draft(1, `old ${at}`, 900));
    hashes.push(hash);
    await group.durable;
  }
  await log.cut(one, lsn(2), hashes[2] ?? 0).durable;
  for (let at = 3; at <= 5; at++) await log.append(draft(1, `new ${at}`, 900)).group.durable;
  const texts = async (from: SegmentLog): Promise<readonly string[]> => {
    const read = await from.readEntries(one, lsn(1), 100_000);
    const records = read.kind === "entries" ? read.records : [];
    return records.map((record) => {
      const entry = decodeEntry(record);
      return entry === undefined ? "bad" : textOf(entry);
    });
  };
  const right = ["old 1", "old 2", "new 3", "new 4", "new 5"];
  expect(await texts(log)).toEqual(right);
  await log.close();
  const again = await open(disk, { segmentBytes: 2_500 });
  expect(await texts(again.log)).toEqual(right);
  await again.log.close();
});
