import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/clock.ts";
import { systemRandom } from "../../../src/lib/random.ts";
import { realDisk } from "../../../src/lib/real-disk.ts";
import { SimulatedDisk, systemError } from "../../../src/lib/simulated-disk.ts";
import { isMailError } from "../../../src/mail/errors.ts";
import { lsn, shardId } from "../../../src/mail/ids.ts";
import type { Entry } from "../../../src/store/journal.ts";
import { LocalJournal } from "../../../src/store/local-journal.ts";
import { draft, open, textOf } from "./harness.ts";

const shards = [shardId(1), shardId(2)];

describe("the local journal", () => {
  test("refuses shards that it doesn't hold", async () => {
    const { log } = await open(new SimulatedDisk());
    const journal = await LocalJournal.open(log, shards, () => undefined);
    expect(journal.serves(shardId(3))).toBe(false);
    try {
      journal.propose(draft(3, "x"));
      expect.unreachable();
    } catch (error) {
      expect(isMailError(error, "WRONG_NODE")).toBe(true);
    }
    await log.close();
  });

  test("rejects what can't be written, and applies none of it", async () => {
    const disk = new SimulatedDisk();
    const { log, fatal } = await open(disk);
    const applied: Entry[] = [];
    const journal = await LocalJournal.open(log, shards, (entry) => applied.push(entry));
    disk.fault = (kind, path) => (kind === "sync" ? systemError("EIO", path) : undefined);
    const both = [draft(1, "a"), draft(2, "b")].map((entry) => journal.propose(entry).committed);
    for (const committed of both) await expect(committed).rejects.toThrow("UNAVAILABLE");
    expect(applied).toEqual([]);
    expect(fatal).toHaveLength(1);
  });

  test("applies before it resolves, in order, with the proposer's payload", async () => {
    const { log } = await open(new SimulatedDisk());
    const applied: Entry[] = [];
    const journal = await LocalJournal.open(log, shards, (entry) => applied.push(entry));
    const proposed = ["a", "b", "c"].map((text, at) => journal.propose(draft(1 + (at % 2), text)));
    expect(proposed.map(({ lsn: at }) => at)).toEqual([1, 1, 2]);
    await proposed[0]?.committed;
    expect(applied.map(({ payload }) => payload)).toEqual(["a", "b", "c"]);
    expect(log.state(shardId(1))).toMatchObject({ commitMark: 2, epoch: 1 });
    await log.close();
  });

  test("applies what was durable before the process died, once", async () => {
    const disk = new SimulatedDisk();
    const first = await LocalJournal.open((await open(disk)).log, shards, () => undefined);
    for (const text of ["a", "b", "c"]) await first.propose(draft(1, text, 200)).committed;
    disk.crash("keep");
    const { log, applied } = await open(disk);
    const later: Entry[] = [];
    await LocalJournal.open(log, shards, (entry) => later.push(entry));
    expect([...applied, ...later].map(textOf)).toEqual(["a", "b", "c"]);
    expect(log.state(shardId(1)).commitMark).toBe(3);
    const last = later.at(-1);
    if (last === undefined) throw new Error("the last entry had no mark behind it");
    expect((await log.read(last.location)).byteLength).toBe(200);
    await log.close();
  });

  test("on the real disk keeps 64 writers busy", async () => {
    const folder = await mkdtemp(join(tmpdir(), "pabal-log-"));
    try {
      const options = { clock: systemClock, random: systemRandom };
      const { log } = await open(realDisk(folder), options);
      const journal = await LocalJournal.open(log, shards, () => undefined);
      const entry = draft(1, "x".repeat(300), 4_096);
      const startMs = performance.now();
      let count = 0;
      const writer = async (): Promise<void> => {
        while (performance.now() - startMs < 400) {
          await journal.propose(entry).committed;
          count += 1;
        }
      };
      await Promise.all(Array.from({ length: 64 }, writer));
      const perSecond = Math.round((count / (performance.now() - startMs)) * 1_000);
      process.stdout.write(`segment log: ${perSecond} appends/s of 4 KiB by 64 writers\n`);
      expect(log.state(shardId(1)).lastLsn).toBe(count);
      await log.checkpoint();
      await log.close();
      const again = await open(realDisk(folder), options);
      expect(again.log.state(shardId(1)).lastLsn).toBe(count);
      expect(await again.log.locate(shardId(1), lsn(count))).toBeDefined();
      await again.log.close();
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
