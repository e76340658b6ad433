// Crashes of every kind on the simulated disk: whatever is lost, the log opens, its chains hold,
// what was acknowledged is there in order, and corruption is told from a torn tail.

import { describe, expect, test } from "vitest";
import { SeededRandom } from "../../../src/lib/random.ts";
import { type CrashMode, SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { type Lsn, lsn, shardId, type ShardId } from "../../../src/mail/ids.ts";
import {
  decodeEntry,
  encodeRecord,
  headerBytes,
  opIdNone,
  recordType,
} from "../../../src/store/log/record.ts";
import { newShard, noteFields } from "../../../src/store/log/shard-table.ts";
import type { Appended, SegmentLog } from "../../../src/store/log/types.ts";
import { configure, draft, open, textOf } from "./harness.ts";
import { tellFigures } from "../../support/figures.ts";

const shards = [0, 1, 2].map(shardId);
const segmentBytes = 6_000;

interface Acknowledged {
  readonly step: number;
  readonly shard: ShardId;
  readonly lsn: Lsn;
  readonly hash: number;
}

interface Flushed {
  readonly step: number;
  readonly upTo: ReadonlyMap<ShardId, Lsn>;
}

interface History {
  readonly disk: SimulatedDisk;
  readonly acknowledged: readonly Acknowledged[];
  readonly flushed: readonly Flushed[];
  /** Steps at which a shard's tail was cut, with the end that stayed. */
  readonly cuts: readonly { readonly step: number; readonly shard: ShardId; readonly after: Lsn }[];
}

/** Appends in groups of random size, commits, applies, checkpoints, sometimes cuts an unacknowledged tail. */
async function live(seed: number, rounds: number): Promise<History> {
  const random = new SeededRandom(seed);
  const disk = new SimulatedDisk({ seed });
  const acknowledged: Acknowledged[] = [];
  const flushed: Flushed[] = [];
  const cuts: { step: number; shard: ShardId; after: Lsn }[] = [];
  const applied = new Map<ShardId, Lsn>();
  const flush = async (): Promise<void> => {
    flushed.push({ step: disk.trace.length, upTo: new Map(applied) });
  };
  const { log } = await open(disk, { segmentBytes, flush });
  await configure(log, shards.length);
  for (let round = 0; round < rounds; round++) {
    const group: Appended[] = [];
    const owners: ShardId[] = [];
    for (let count = 1 + random.below(5); count > 0; count--) {
      const shard = shards[random.below(shards.length)] ?? shardId(0);
      group.push(log.append(draft(shard, `round ${round}`, random.below(700))));
      owners.push(shard);
    }
    await group.at(-1)?.group.durable;
    for (const [index, { lsn: at, hash }] of group.entries()) {
      const shard = owners[index] ?? shardId(0);
      acknowledged.push({ step: disk.trace.length, shard, lsn: at, hash });
    }
    for (const shard of shards) {
      const mark = log.state(shard).lastLsn;
      if (mark === 0) continue;
      log.setCommitMark(shard, mark);
      log.setApplied(shard, mark);
      applied.set(shard, mark);
    }
    if (random.chance(0.15)) await cutTail(log, disk, shards[round % 3] ?? shardId(0), cuts);
    // One that is moved while a group is still being written must not rely on that group.
    if (random.chance(0.2)) log.append(draft(shards[round % 3] ?? shardId(0), "under way", 300));
    if (random.chance(0.2)) await log.checkpoint();
  }
  return { disk, acknowledged, flushed, cuts };
}

/** Appends an entry that is never acknowledged, and cuts it. */
async function cutTail(
  log: SegmentLog,
  disk: SimulatedDisk,
  shard: ShardId,
  cuts: { step: number; shard: ShardId; after: Lsn }[],
): Promise<void> {
  const { lastLsn, lastHash } = log.state(shard);
  await log.append(draft(shard, "never acknowledged", 50)).group.durable;
  await log.cut(shard, lastLsn, lastHash).durable;
  cuts.push({ step: disk.trace.length, shard, after: lastLsn });
}

async function check(history: History, disk: SimulatedDisk, step: number): Promise<void> {
  const { log, applied } = await open(disk, { segmentBytes });
  expect(log.damage).toEqual([]);
  const expected = history.acknowledged.filter((entry) => entry.step <= step);
  for (const shard of shards) {
    const own = applied.filter((entry) => entry.shard === shard);
    const flushed = history.flushed.findLast((flush) => flush.step <= step)?.upTo.get(shard) ?? 0;
    const state = log.state(shard);
    // In order, each once, without a hole towards what was flushed.
    const first = own[0]?.lsn ?? state.commitMark + 1;
    expect(first).toBeLessThanOrEqual(flushed + 1);
    expect(own.map((entry) => entry.lsn)).toEqual(own.map((_, index) => first + index));
    expect(own.map(textOf)).not.toContain("never acknowledged");
    const last = expected.findLast((entry) => entry.shard === shard);
    expect(state.lastLsn).toBeGreaterThanOrEqual(last?.lsn ?? 0);
    expect(Math.max(flushed, own.at(-1)?.lsn ?? 0)).toBeGreaterThanOrEqual(state.commitMark);
    for (const entry of expected.filter((each) => each.shard === shard).slice(-5)) {
      expect(await log.hashAt(shard, entry.lsn)).toBe(entry.hash);
    }
    await checkTail(log, shard);
  }
  const ends = shards.map((shard) => ({ ...log.state(shard) }));
  await log.append(draft(0, "after the crash", 100)).group.durable;
  disk.crash("lose");
  const again = await open(disk, { segmentBytes });
  expect(again.log.damage).toEqual([]);
  for (const { shard, lastLsn } of ends) {
    expect(again.log.state(shard).lastLsn).toBe(shard === 0 ? lastLsn + 1 : lastLsn);
  }
  await again.log.close();
}

/** The unapplied tail can be read back, chained to what is before it. */
async function checkTail(log: SegmentLog, shard: ShardId): Promise<void> {
  const { commitMark, lastLsn, lastHash } = log.state(shard);
  let hash = await log.hashAt(shard, commitMark);
  for (let next = commitMark + 1; next <= lastLsn; ) {
    const read = await log.readEntries(shard, lsn(next), 2_000);
    if (read.kind === "pruned") throw new Error("the tail is kept");
    for (const record of read.records) {
      const entry = decodeEntry(record);
      expect(entry?.lsn).toBe(next);
      if (hash !== undefined) expect(entry?.prevHash).toBe(hash);
      hash = entry?.hash;
      next += 1;
    }
  }
  if (lastLsn > commitMark) expect(hash).toBe(lastHash);
}

describe("a crash", () => {
  test.each([11, 12, 13])(
    "after every step of run %i loses nothing acknowledged",
    async (seed) => {
      const history = await live(seed, 30);
      const { trace } = history.disk;
      const modes: CrashMode[] = ["lose", "random", "random", "keep"];
      for (let step = 0; step <= trace.length; step++) {
        const mode = modes[step % modes.length] ?? "lose";
        const disk = SimulatedDisk.replay(trace, step, seed * 1_000 + step);
        disk.crash(mode);
        await check(history, disk, step);
      }
      tellFigures(`F13: run ${seed}: ${trace.length + 1} prefixes, 0 acknowledged lost`);
    },
    60_000,
  );

  test("with any subset of the last, unsynced writes keeps what was acknowledged", async () => {
    const history = await live(21, 12);
    const { trace } = history.disk;
    const lastWrite = trace.findLastIndex(({ kind }) => kind === "write");
    for (let seed = 0; seed < 150; seed++) {
      const disk = SimulatedDisk.replay(trace, lastWrite + 1, seed);
      disk.crash("random");
      await check(history, disk, lastWrite + 1);
    }
  }, 60_000);

  test("CHECKPOINT never names a place that is not on the disk yet", async () => {
    const disk = new SimulatedDisk();
    const { log } = await open(disk);
    await configure(log, 1);
    const start = disk.trace.length;
    log.append(draft(0, "under way", 300));
    await log.checkpoint();
    await log.close();
    for (let step = start; step <= disk.trace.length; step++) {
      const copy = SimulatedDisk.replay(disk.trace, step);
      copy.crash("lose");
      expect((await open(copy)).log.damage).toEqual([]);
    }
  });

  test("during recovery, at every step, is as good as the first one", async () => {
    const history = await live(31, 10);
    const step = history.disk.trace.findLastIndex(({ kind }) => kind === "write") + 1;
    const once = SimulatedDisk.replay(history.disk.trace, step, 4);
    once.crash("random");
    const before = once.trace.length;
    await (await open(once, { segmentBytes })).log.close();
    for (let more = 0; more <= once.trace.length - before; more++) {
      const disk = SimulatedDisk.replay(history.disk.trace, step, 4);
      disk.crash("random");
      let left = more;
      disk.fault = (kind, path) =>
        kind === "read" || left-- > 0 ? undefined : Object.assign(new Error(path), { code: "EIO" });
      await open(disk, { segmentBytes }).catch(() => undefined);
      disk.fault = undefined;
      disk.crash("random");
      await check(history, disk, step);
    }
  }, 60_000);
});

/** A log of full groups, then one last group of three entries that was written and not synced. */
async function withLastGroup() {
  const disk = new SimulatedDisk();
  const { log } = await open(disk);
  await configure(log, 3);
  const synced: Appended[] = [];
  for (let at = 0; at < 4; at++) {
    const appended = log.append(draft(at % 2, `synced ${at}`, 40));
    await appended.group.durable;
    synced.push(appended);
  }
  const last = [0, 1, 0].map((shard) => log.append(draft(shard, "last group", 60)));
  await last[0]?.group.durable;
  await log.close();
  return { disk, synced, last };
}

const file = "log/0000000001.seg";

describe("after a failed sync", () => {
  test("what the next process finds and goes on from is made durable anew", async () => {
    const disk = new SimulatedDisk();
    const first = await open(disk);
    await first.log.append(draft(0, "a", 100)).group.durable;
    disk.fault = (kind, path) =>
      kind === "sync" ? Object.assign(new Error(path), { code: "EIO" }) : undefined;
    await first.log.append(draft(0, "b", 100)).group.durable.catch(() => undefined);
    disk.fault = undefined;
    disk.crash("keep"); // The process ends; its pages are in RAM still, and marked clean.
    const second = await open(disk);
    expect(second.log.state(shardId(0)).lastLsn).toBe(2);
    disk.crash("lose");
    const third = await open(disk);
    expect(third.log.state(shardId(0)).lastLsn).toBe(2);
    expect(third.log.damage).toEqual([]);
  });
});

describe("a torn tail", () => {
  test("cut at every byte of the last group leaves all groups before it", async () => {
    const { disk, synced, last } = await withLastGroup();
    const whole = disk.contents(file).byteLength;
    const lastSynced = synced.at(-1)?.location;
    const from = (lastSynced?.bodyOffset ?? 0) + (lastSynced?.bodyBytes ?? 0);
    for (let length = from; length <= whole; length++) {
      const copy = SimulatedDisk.replay(disk.trace, disk.trace.length);
      copy.tear(file, length);
      const { log } = await open(copy);
      expect(log.damage).toEqual([]);
      const inLast = last.filter(({ location: l }) => l.bodyOffset + l.bodyBytes <= length).length;
      const total = log.state(shardId(0)).lastLsn + log.state(shardId(1)).lastLsn;
      expect(total).toBe(synced.length + inLast);
      await log.append(draft(1, "goes on")).group.durable;
      await log.close();
      expect((await open(copy)).log.state(shardId(1)).lastLsn).toBeGreaterThan(2);
    }
  }, 30_000);
});

describe("corruption", () => {
  test("of any byte below the last synced mark is reported, never passed over", async () => {
    const { disk, synced } = await withLastGroup();
    const end = synced.at(-1)?.location;
    const to = (end?.bodyOffset ?? 0) + (end?.bodyBytes ?? 0);
    const whose = (at: number) =>
      synced.findIndex(({ location: l }) => at >= l.offset + 64 && at < l.bodyOffset + l.bodyBytes);
    for (let at = 64; at < to; at++) {
      const copy = SimulatedDisk.replay(disk.trace, disk.trace.length);
      copy.flipBit(file, at, at & 7);
      const { log } = await open(copy);
      expect(log.damage.length).toBeGreaterThan(0);
      // Head or body of an entry: that shard alone; a header: nobody knows whose, so all.
      const owner = whose(at);
      if (owner >= 0) {
        expect(log.damage).toMatchObject([{ shards: [owner % 2] }]);
        expect(() => log.append(draft(owner % 2, "no"))).toThrow("DAMAGED");
        const other = shardId(1 - (owner % 2));
        const { lsn: end, group } = log.append(draft(other, "yes"));
        await group.durable;
        log.setCommitMark(other, end);
        log.setApplied(other, end);
        expect(await log.checkpoint()).toEqual(log.end);
        await log.close();
        // A checkpoint does not make it forgotten; a copy made anew does.
        const again = await open(copy);
        expect(again.log.damage.flatMap(({ shards: own }) => own)).toContain(owner % 2);
        await again.log.restart(shardId(owner % 2), lsn(50), 7).durable;
        await again.log.close();
        expect((await open(copy)).log.damage).toEqual([]);
      }
    }
  }, 60_000);

  test.each([1, 3])(
    "an entry replaced by an intact stranger breaks the chain (%i)",
    async (which) => {
      const { disk, synced } = await withLastGroup();
      const place = synced[which]?.location;
      if (place === undefined) throw new Error("four entries were synced");
      const length = place.bodyOffset + place.bodyBytes - place.offset;
      const stranger = encodeRecord(
        noteFields(newShard(shardId(2)), recordType.body, opIdNone),
        Buffer.alloc(length - headerBytes),
      );
      await (await disk.open(file, "write")).writev([stranger], place.offset);
      const { log } = await open(disk);
      expect(log.damage).toMatchObject([{ shards: [1], why: "the chain of entries is broken" }]);
      await log.close();
    },
  );

  test("entries that vanished before CHECKPOINT's picture are noticed", async () => {
    const disk = new SimulatedDisk();
    const { log } = await open(disk);
    await configure(log, 2);
    for (const text of ["a", "b"]) await log.append(draft(0, text, 100)).group.durable;
    await log.append(draft(1, "c", 100)).group.durable;
    const place = await log.locate(shardId(0), lsn(2));
    await log.checkpoint(); // Nothing is applied: replay begins with "a".
    await log.close();
    if (place === undefined) throw new Error("entry 2 is in the log");
    const length = place.bodyOffset + place.bodyBytes - place.offset;
    const stranger = encodeRecord(
      noteFields(newShard(shardId(1)), recordType.body, opIdNone),
      Buffer.alloc(length - headerBytes),
    );
    await (await disk.open(file, "write")).writev([stranger], place.offset);
    const again = await open(disk);
    expect(again.log.damage).toMatchObject([
      { shards: [0], why: "the log differs from CHECKPOINT" },
    ]);
    await again.log.close();
  });

  test("below CHECKPOINT does not stop the node, a read finds it", async () => {
    const disk = new SimulatedDisk();
    const { log } = await open(disk);
    const { location, group } = log.append(draft(0, "x", 300));
    await group.durable;
    log.setCommitMark(shardId(0), lsn(1));
    log.setApplied(shardId(0), lsn(1));
    await log.checkpoint();
    await log.close();
    for (const at of [location.bodyOffset, location.offset + 5]) {
      const copy = SimulatedDisk.replay(disk.trace, disk.trace.length);
      copy.flipBit(file, at, 1);
      const again = await open(copy);
      expect(again.log.damage).toEqual([]);
      expect(again.log.state(shardId(0)).lastLsn).toBe(1);
      await expect(again.log.read(location)).rejects.toThrow("DAMAGED");
      await again.log.append(draft(0, "y")).group.durable;
      await again.log.close();
      expect((await open(copy)).log.state(shardId(0)).lastLsn).toBe(2);
    }
  });

  test("of a file that lost its end below CHECKPOINT damages every shard", async () => {
    const disk = new SimulatedDisk();
    const { log } = await open(disk);
    await configure(log, 2);
    await log.append(draft(0, "x", 300)).group.durable;
    log.setCommitMark(shardId(0), lsn(1));
    log.setApplied(shardId(0), lsn(1));
    await log.checkpoint();
    await log.close();
    disk.tear(file, 200);
    const again = await open(disk);
    expect(again.log.damage.flatMap(({ shards: own }) => own)).toEqual([0, 1]);
    await again.log.close();
  });
});
