// Tail-first logs in the segment log: read back as they came, apart from the shard's own log, kept over
// crashes as far as they were synced, and never applied.

import { describe, expect, test } from "vitest";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { lsn, shardId } from "../../../src/mail/ids.ts";
import { decodeEntry } from "../../../src/store/log/record.ts";
import type { RawEntry, SegmentLog } from "../../../src/store/log/types.ts";
import { configure, draft, open } from "./harness.ts";

const shard = shardId(1);

/** Entries of a primary's log from lsn 1 on, as they go over the wire. */
async function primaryEntries(count: number, bodyBytes = 0): Promise<readonly RawEntry[]> {
  const { log } = await open(new SimulatedDisk({ seed: 1 }));
  await configure(log, 2);
  for (let i = 1; i <= count; i += 1) log.append(draft(shard, `entry ${i}`, bodyBytes));
  await log.checkpoint();
  return decodeAll(await log.readEntries(shard, lsn(1), 1e9));
}

function decodeAll(read: Awaited<ReturnType<SegmentLog["readEntries"]>>): readonly RawEntry[] {
  if (read.kind !== "entries") throw new Error("pruned");
  return read.records.map((record) => {
    const raw = decodeEntry(record);
    if (raw === undefined) throw new Error("a record does not decode");
    return raw;
  });
}

function recordOf(entry: RawEntry): Uint8Array {
  return new Uint8Array(
    entry.head.buffer,
    entry.head.byteOffset - 64,
    64 + entry.head.length + entry.body.length,
  );
}

/** A log that keeps `entries` behind the first `skipped` ones as a tail. */
async function keepTail(
  log: SegmentLog,
  entries: readonly RawEntry[],
  skipped: number,
): Promise<void> {
  const base = entries[skipped - 1];
  const group = log.tails.start(shard, lsn(skipped), base?.hash ?? 0);
  let last = group;
  for (const entry of entries.slice(skipped)) last = log.tails.append(recordOf(entry), entry).group;
  await last.durable;
}

describe("a tail-first log", () => {
  test("gives back the entries as they came, apart from the shard's own log", async () => {
    const entries = await primaryEntries(9, 200);
    const { log } = await open(new SimulatedDisk({ seed: 2 }));
    await configure(log, 2);
    await keepTail(log, entries, 4);
    const back = decodeAll(await log.tails.read(shard, lsn(5), 1e9));
    expect(back.map((entry) => entry.hash)).toEqual(entries.slice(4).map((entry) => entry.hash));
    expect(back.map((entry) => [...entry.body])).toEqual(
      entries.slice(4).map((entry) => [...entry.body]),
    );
    expect(log.state(shard).lastLsn).toBe(0);
    expect(await log.tails.read(shard, lsn(4), 1e9)).toEqual({ kind: "pruned" });
    await log.close();
  });

  test("refuses an entry that does not follow", async () => {
    const entries = await primaryEntries(6);
    const { log } = await open(new SimulatedDisk({ seed: 3 }));
    await configure(log, 2);
    await keepTail(log, entries.slice(0, 4), 2);
    const [, , , , , sixth] = entries;
    if (sixth === undefined) throw new Error("no sixth entry");
    expect(() => log.tails.append(recordOf(sixth), sixth)).toThrow(/does not follow/u);
    await log.close();
  });

  test("is there after a power loss, with CHECKPOINTs between, and is never applied", async () => {
    const entries = await primaryEntries(12);
    const disk = new SimulatedDisk({ seed: 4 });
    const before = await open(disk);
    await configure(before.log, 2);
    await keepTail(before.log, entries.slice(0, 8), 3);
    await before.log.checkpoint();
    await keepMore(before.log, entries.slice(8));
    await before.log.checkpoint();
    disk.crash("lose");
    const after = await open(disk);
    expect(after.applied).toEqual([]);
    expect(after.log.tails.state(shard)).toMatchObject({ baseLsn: 3, lastLsn: 12 });
    expect(await after.log.tails.hashes(shard)).toEqual(entries.slice(3).map(({ hash }) => hash));
    expect(decodeAll(await after.log.tails.read(shard, lsn(4), 1e9))).toHaveLength(9);
    await after.log.close();
  });

  test("a cut holds over a crash, and other entries may follow", async () => {
    const entries = await primaryEntries(6);
    const others = await primaryEntries(8, 10);
    const disk = new SimulatedDisk({ seed: 5 });
    const { log } = await open(disk);
    await configure(log, 2);
    await keepTail(log, entries, 0);
    await log.tails.cut(shard, lsn(0), 0).durable;
    await keepMore(log, others);
    disk.crash("lose");
    const after = await open(disk);
    expect(await after.log.tails.hashes(shard)).toEqual(others.map(({ hash }) => hash));
    await after.log.close();
  });

  test("a dropped one is gone, lets CHECKPOINT pass, and does not come back", async () => {
    const entries = await primaryEntries(6);
    const disk = new SimulatedDisk({ seed: 6 });
    const { log } = await open(disk, { segmentBytes: 512 });
    await configure(log, 2);
    await keepTail(log, entries, 2);
    const pinned = await log.checkpoint();
    await log.append(draft(0, "meanwhile")).group.durable;
    log.setCommitMark(shardId(0), lsn(1));
    log.setApplied(shardId(0), lsn(1));
    expect(await log.checkpoint()).toEqual(pinned);
    await log.tails.drop(shard).durable;
    expect(log.tails.state(shard)).toBeUndefined();
    expect(await log.checkpoint()).not.toEqual(pinned);
    disk.crash("lose");
    const after = await open(disk, { segmentBytes: 512 });
    expect(after.log.tails.state(shard)).toBeUndefined();
    await after.log.close();
  });

  test("a second one begins anew", async () => {
    const entries = await primaryEntries(6);
    const disk = new SimulatedDisk({ seed: 7 });
    const { log } = await open(disk);
    await configure(log, 2);
    await keepTail(log, entries, 1);
    await keepTail(log, entries, 4);
    disk.crash("lose");
    const after = await open(disk);
    expect(after.log.tails.state(shard)).toMatchObject({ baseLsn: 4, lastLsn: 6 });
    await after.log.close();
  });
});

async function keepMore(log: SegmentLog, entries: readonly RawEntry[]): Promise<void> {
  for (const entry of entries) await log.tails.append(recordOf(entry), entry).group.durable;
}

test("whatever step power fails at, what was synced of a tail is read back", async () => {
  const entries = await primaryEntries(30, 150);
  const disk = new SimulatedDisk({ seed: 8 });
  const { log } = await open(disk, { segmentBytes: 2_000 });
  await configure(log, 2);
  const synced: { step: number; lastLsn: number }[] = [];
  await keepTail(log, entries.slice(0, 6), 5);
  const begun = disk.trace.length;
  for (const [index, entry] of entries.slice(6).entries()) {
    await keepMore(log, [entry]);
    synced.push({ step: disk.trace.length, lastLsn: entry.lsn });
    await log.append(draft(0, `of another shard ${index}`, 100)).group.durable;
    const { lastLsn } = log.state(shardId(0));
    log.setCommitMark(shardId(0), lastLsn);
    log.setApplied(shardId(0), lastLsn);
    if (index % 5 === 4) await log.checkpoint();
  }
  for (let step = begun; step <= disk.trace.length; step += 1) {
    const after = SimulatedDisk.replay(disk.trace, step, step);
    after.crash(step % 3 === 0 ? "keep" : step % 3 === 1 ? "lose" : "random");
    const opened = await open(after, { segmentBytes: 2_000 });
    expect(opened.log.damage).toEqual([]);
    const state = opened.log.tails.state(shard);
    const least = synced.findLast((one) => one.step <= step)?.lastLsn ?? 6;
    expect(state?.lastLsn).toBeGreaterThanOrEqual(least);
    const last = state?.lastLsn ?? 0;
    const hashes = entries.slice(5, last).map(({ hash }) => hash);
    expect(await opened.log.tails.hashes(shard)).toEqual(hashes);
    const back = decodeAll(await opened.log.tails.read(shard, lsn(6), 1e9));
    expect(back.map(({ hash }) => hash)).toEqual(hashes);
    expect(opened.log.state(shard).lastLsn).toBe(0);
    await opened.log.close();
  }
});
