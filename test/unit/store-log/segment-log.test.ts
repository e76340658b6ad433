import { describe, expect, test } from "vitest";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";
import { SimulatedDisk, systemError } from "../../../src/lib/simulated-disk.ts";
import { isMailError } from "../../../src/mail/errors.ts";
import { epoch, lsn, shardId, storeId } from "../../../src/mail/ids.ts";
import type { Location } from "../../../src/store/journal.ts";
import { LiveBytes, chooseGarbage } from "../../../src/store/log/garbage.ts";
import { SegmentGone } from "../../../src/store/log/segment-reader.ts";
import type { BodyId } from "../../../src/store/log/types.ts";
import { configure, draft, open, textOf } from "./harness.ts";

const one = shardId(1);

describe("a failing disk", () => {
  test.each(["EIO", "ENOSPC"])(
    "%s on write is final: nothing is accepted after it",
    async (code) => {
      const disk = new SimulatedDisk();
      const { log, fatal } = await open(disk);
      await log.append(draft(1, "before")).group.durable;
      disk.fault = (kind, path) => (kind === "write" ? systemError(code, path) : undefined);
      const { group } = log.append(draft(1, "lost"));
      await expect(group.durable).rejects.toThrow(code === "EIO" ? "UNAVAILABLE" : "DISK_FULL");
      disk.fault = undefined;
      expect(() => log.append(draft(1, "after"))).toThrow();
      expect(fatal).toHaveLength(1);
      await log.close();
      disk.crash("lose");
      const again = await open(disk);
      expect(again.log.state(one).lastLsn).toBe(1);
    },
  );

  test("a failed sync is final, and everyone who waits hears it", async () => {
    const disk = new SimulatedDisk();
    const { log, fatal } = await open(disk, { groupBytesMax: 300 });
    disk.fault = (kind, path) => (kind === "sync" ? systemError("EIO", path) : undefined);
    const groups = ["a", "b", "c"].map((text) => log.append(draft(1, text, 200)).group.durable);
    for (const durable of groups) await expect(durable).rejects.toThrow("UNAVAILABLE");
    expect(fatal).toHaveLength(1);
  });

  test("a full queue refuses instead of growing", async () => {
    const { log } = await open(new SimulatedDisk(), { queueBytesMax: 5_000 });
    expect(() => {
      for (let at = 0; at < 10; at++) log.append(draft(1, "x", 1_000));
    }).toThrow("BUSY");
    await log.close();
  });

  test("a full queue takes cuts and configs all the same", async () => {
    const { log } = await open(new SimulatedDisk(), { queueBytesMax: 5_000 });
    const first = log.append(draft(1, "x"));
    expect(() => {
      for (let at = 0; at < 1000; at++) log.append(draft(1, "x"));
    }).toThrow("BUSY");
    const shard = shardId(1);
    await log.cut(shard, first.lsn, first.hash).durable;
    const { epoch: now, sealedEpoch } = log.state(shard);
    const config = { epoch: epoch(now + 1), sealedEpoch, config: new Uint8Array(0) };
    await log.writeConfig(shard, config).durable;
    expect(log.append(draft(1, "y")).lsn).toBe(2);
    await log.close();
  });

  test("a record too long is refused and leaves no hole", async () => {
    const { log } = await open(new SimulatedDisk());
    expect(() => log.append(draft(1, "x", 1_000_000))).toThrow("LIMIT");
    expect(log.append(draft(1, "y")).lsn).toBe(1);
    await log.close();
  });
});

describe("opening", () => {
  test("another store's log is refused", async () => {
    const disk = new SimulatedDisk();
    await (await open(disk)).log.close();
    await expect(open(disk, { storeId: storeId("cd".repeat(16)) })).rejects.toThrow(
      "belongs to store",
    );
  });

  test("a log without its CHECKPOINT is refused", async () => {
    const disk = new SimulatedDisk();
    await (await open(disk)).log.close();
    await disk.unlink("log/CHECKPOINT");
    await expect(open(disk)).rejects.toThrow("DAMAGED");
  });

  test("a missing segment is refused", async () => {
    const disk = new SimulatedDisk();
    const { log } = await open(disk, { segmentBytes: 1_000 });
    for (let at = 0; at < 4; at++) await log.append(draft(1, "x", 600)).group.durable;
    await log.close();
    await disk.unlink("log/0000000001.seg");
    await expect(open(disk)).rejects.toThrow("DAMAGED");
  });

  test("epoch, config, marks and chain are as they were", async () => {
    const disk = new SimulatedDisk();
    const { log } = await open(disk);
    await configure(log, 2);
    for (const text of ["a", "b", "c"]) log.append(draft(1, text, 100));
    log.setCommitMark(one, lsn(2));
    log.writeConfig(one, { epoch: epoch(5), sealedEpoch: epoch(4), config: Buffer.from("next") });
    const before = { ...log.state(one) };
    await log.close();
    const again = await open(disk);
    expect(again.applied.map(textOf)).toEqual(["a", "b"]);
    const { config, ...state } = again.log.state(one);
    expect(Buffer.from(config).toString()).toBe("next");
    expect(state).toMatchObject({
      epoch: 5,
      sealedEpoch: 4,
      lastLsn: 3,
      lastHash: before.lastHash,
      commitMark: 2,
    });
    const tail = await again.log.readEntries(one, lsn(3), 1_000_000);
    expect(tail).toMatchObject({ kind: "entries", records: { length: 1 } });
    await again.log.close();
  });
});

describe("appending", () => {
  test("bodies are read back, alone and many at once, in the order asked", async () => {
    const { log } = await open(new SimulatedDisk(), { segmentBytes: 20_000 });
    const written: { location: Location; body: Uint8Array }[] = [];
    for (let at = 0; at < 60; at++) {
      const entry = draft(at % 5, `entry ${at}`, 100 + at * 37);
      const { location, group } = log.append(entry);
      written.push({ location, body: entry.body ?? new Uint8Array(0) });
      if (at % 7 === 0) await group.durable;
    }
    await log.append(draft(1, "last")).group.durable;
    expect(log.end.segment).toBeGreaterThan(2);
    const shuffled = [...written].sort(
      (a, b) => (a.location.offset % 97) - (b.location.offset % 97),
    );
    const bodies = await log.readMany(shuffled.map(({ location }) => location));
    for (const [index, { location, body }] of shuffled.entries()) {
      expect(Buffer.from(bodies[index] ?? [])).toEqual(Buffer.from(body));
      expect(Buffer.from(await log.read(location))).toEqual(Buffer.from(body));
    }
    await log.close();
  });

  test("a damaged body is never served", async () => {
    const disk = new SimulatedDisk();
    const { log } = await open(disk);
    const { location, group } = log.append(draft(1, "x", 500));
    await group.durable;
    disk.flipBit("log/0000000001.seg", location.bodyOffset + 100, 3);
    await expect(log.read(location)).rejects.toThrow("DAMAGED");
    await expect(log.readMany([location])).rejects.toThrow("DAMAGED");
    await log.close();
  });

  test("a secondary takes records byte for byte, and only the next one of the chain", async () => {
    const primary = (await open(new SimulatedDisk({ seed: 1 }))).log;
    const disk = new SimulatedDisk({ seed: 2 });
    const secondary = (await open(disk)).log;
    const records = ["a", "b", "c"].map((text) => {
      const { parts, lsn: at } = primary.append(draft(1, text, 300));
      primary.setCommitMark(one, lsn(at));
      return Buffer.concat(parts);
    });
    const [first = Buffer.alloc(0), second = Buffer.alloc(0), third = Buffer.alloc(0)] = records;
    expect(() => secondary.appendRaw(second)).toThrow("CONFLICT");
    secondary.appendRaw(first);
    expect(() => secondary.appendRaw(first)).toThrow("CONFLICT");
    expect(() => secondary.appendRaw(second.subarray(1))).toThrow("INVALID");
    secondary.appendRaw(second);
    await secondary.appendRaw(third).group.durable;
    expect(secondary.state(one)).toMatchObject({
      lastHash: primary.state(one).lastHash,
      commitMark: 2,
    });
    await secondary.close();
    const again = await open(disk);
    expect(again.applied.map(textOf)).toEqual(["a", "b"]);
    const read = await again.log.readEntries(one, lsn(1), 1_000_000);
    expect(read.kind === "entries" ? read.records.map((r) => Buffer.from(r)) : []).toEqual(records);
    await again.log.close();
    await primary.close();
  });

  test("an entry of another chain with the right number is a conflict", async () => {
    const a = (await open(new SimulatedDisk())).log;
    const b = (await open(new SimulatedDisk())).log;
    a.append(draft(1, "one"));
    b.append(draft(1, "other"));
    const { parts } = a.append(draft(1, "two"));
    expect(() => b.appendRaw(Buffer.concat(parts))).toThrow("CONFLICT");
    await a.close();
    await b.close();
  });
});

describe("cuts and restarts", () => {
  test("what was cut is not replayed, what replaced it is", async () => {
    const disk = new SimulatedDisk();
    const { log } = await open(disk);
    const first = log.append(draft(1, "kept"));
    log.append(draft(1, "cut 2"));
    log.append(draft(1, "cut 3"));
    log.cut(one, lsn(1), first.hash);
    const { group } = log.append(draft(1, "new 2"));
    await group.durable;
    log.setCommitMark(one, lsn(2));
    const read = await log.readEntries(one, lsn(1), 100_000);
    expect(read.kind === "entries" ? read.records.length : 0).toBe(2);
    await log.close();
    const again = await open(disk);
    expect(again.applied.map(textOf)).toEqual(["kept", "new 2"]);
    expect(await again.log.hashAt(one, lsn(1))).toBe(first.hash);
    expect(again.log.damage).toEqual([]);
    await again.log.close();
  });

  test("a cut across segments and a checkpoint is honoured", async () => {
    const disk = new SimulatedDisk();
    const { log } = await open(disk, { segmentBytes: 1_500 });
    const hashes: number[] = [0];
    for (let at = 1; at <= 6; at++) {
      const { hash, group } = log.append(draft(1, `old ${at}`, 900));
      hashes.push(hash);
      await group.durable;
    }
    log.setCommitMark(one, lsn(2));
    log.setApplied(one, lsn(2));
    await log.checkpoint();
    log.cut(one, lsn(3), hashes[3] ?? 0);
    for (let at = 4; at <= 5; at++) await log.append(draft(1, `new ${at}`, 900)).group.durable;
    log.setCommitMark(one, lsn(5));
    await log.close();
    const again = await open(disk, { segmentBytes: 1_500 });
    expect(again.applied.map(textOf)).toEqual(["old 3", "new 4", "new 5"]);
    expect(again.log.damage).toEqual([]);
    await again.log.close();
  });

  test("a restart forgets the old chain and goes on behind the snapshot", async () => {
    const disk = new SimulatedDisk();
    const { log } = await open(disk, { segmentBytes: 500 });
    for (let at = 1; at <= 3; at++) await log.append(draft(1, `old ${at}`, 400)).group.durable;
    await log.restart(one, lsn(100), 12_345).durable;
    expect(log.append(draft(1, "behind")).lsn).toBe(101);
    expect((await log.readEntries(one, lsn(2), 1_000)).kind).toBe("pruned");
    expect(await log.hashAt(one, lsn(2))).toBeUndefined();
    await log.append(draft(1, "behind that")).group.durable;
    log.setCommitMark(one, lsn(101));
    await log.close();
    const again = await open(disk);
    expect(again.applied.map(textOf)).toEqual(["behind"]);
    expect(again.log.state(one)).toMatchObject({ lastLsn: 102, commitMark: 101 });
    expect((await again.log.readEntries(one, lsn(2), 1_000)).kind).toBe("pruned");
    await again.log.close();
  });
});

describe("CHECKPOINT", () => {
  test("replay starts at the lowest entry not applied, over all shards", async () => {
    const disk = new SimulatedDisk();
    const { log } = await open(disk);
    await configure(log, 3);
    for (let at = 1; at <= 4; at++) {
      log.append(draft(0, `zero ${at}`, 50));
      await log.append(draft(1, `one ${at}`, 50)).group.durable;
    }
    for (const shard of [shardId(0), one]) log.setCommitMark(shard, lsn(4));
    log.setApplied(shardId(0), lsn(4));
    log.setApplied(one, lsn(2));
    const from = await log.checkpoint();
    const third = await log.locate(one, lsn(3));
    expect(from).toEqual({ segment: third?.segment, offset: third?.offset });
    await log.close();
    const again = await open(disk);
    expect(again.applied.map(textOf).toSorted()).toEqual(["one 3", "one 4", "zero 4"]);
    expect(again.log.state(shardId(2)).epoch).toBe(1);
    expect(again.log.state(shardId(0))).toMatchObject({ lastLsn: 4, commitMark: 4 });
    await again.log.close();
  });

  test("does not move when the flush fails", async () => {
    const disk = new SimulatedDisk();
    const flush = (): Promise<void> => Promise.reject(new Error("flush"));
    const { log } = await open(disk, { flush });
    await log.append(draft(1, "a")).group.durable;
    log.setCommitMark(one, lsn(1));
    log.setApplied(one, lsn(1));
    await expect(log.checkpoint()).rejects.toThrow("flush");
    await log.close();
    expect((await open(disk)).applied.map(textOf)).toEqual(["a"]);
  });
});

describe("rewriting garbage", () => {
  test("live bodies move, the file goes, dead ones are gone", async () => {
    const disk = new SimulatedDisk();
    const clock = new SimulatedClock();
    const options = { segmentBytes: 8_000, windowMs: 60_000, clock };
    const { log } = await open(disk, options);
    const live = new LiveBytes();
    const places = new Map<number, Location>();
    const bodies = new Map<number, Uint8Array>();
    for (let at = 1; at <= 30; at++) {
      const entry = draft(1, `entry ${at}`, 1_000 + at);
      const { location, group } = log.append(entry);
      await group.durable;
      if (at % 3 !== 0) continue;
      places.set(at, location);
      bodies.set(at, entry.body ?? new Uint8Array(0));
      live.add(location);
    }
    log.setCommitMark(one, lsn(30));
    log.setApplied(one, lsn(30));
    await log.checkpoint();
    expect(log.collectable()).toEqual([]); // All inside the log window.
    clock.advance(120_000);
    for (let at = 31; at <= 40; at++) await log.append(draft(1, `entry ${at}`, 900)).group.durable;
    clock.advance(120_000);
    log.setCommitMark(one, lsn(40));
    log.setApplied(one, lsn(40));
    await log.checkpoint();
    const chosen = chooseGarbage(log.collectable(), live, 2);
    expect(chosen).toHaveLength(2);
    const owner = {
      liveOrder: async (found: readonly BodyId[]) =>
        found.map((body) => (places.has(body.lsn) ? 1_000 - body.lsn : undefined)),
      relocate: async (body: BodyId, from: Location, to: Location) => {
        expect(places.get(body.lsn)).toEqual(from);
        places.set(body.lsn, to);
      },
    };
    const old = [...places.values()].find(({ segment }) => segment === chosen[0]);
    const result = await log.rewrite(chosen, owner);
    expect(new Set(result.removed)).toEqual(new Set(chosen));
    for (const [at, location] of places) {
      expect(chosen).not.toContain(location.segment);
      expect(Buffer.from(await log.read(location))).toEqual(Buffer.from(bodies.get(at) ?? []));
    }
    if (old === undefined) throw new Error("a live body lay in the chosen segment");
    await expect(log.read(old)).rejects.toThrow(SegmentGone);
    expect((await log.readEntries(one, lsn(1), 1_000)).kind).toBe("pruned");
    await log.close();
    const again = await open(disk, options);
    for (const [at, location] of places) {
      expect(Buffer.from(await again.log.read(location))).toEqual(
        Buffer.from(bodies.get(at) ?? []),
      );
    }
    expect(again.log.damage).toEqual([]);
    await again.log.close();
  });

  test("a segment with a live body that can't be read stays", async () => {
    const disk = new SimulatedDisk();
    const { log } = await open(disk, { segmentBytes: 2_000, windowBytesMax: 1 });
    const { location, group } = log.append(draft(1, "a", 1_000));
    await group.durable;
    for (let at = 0; at < 4; at++) await log.append(draft(1, "b", 1_500)).group.durable;
    log.setCommitMark(one, lsn(5));
    log.setApplied(one, lsn(5));
    await log.checkpoint();
    disk.flipBit("log/0000000001.seg", location.bodyOffset, 0);
    const result = await log.rewrite([1], {
      liveOrder: async (found) => found.map(() => 1),
      relocate: async () => undefined,
    });
    expect(result.removed).toEqual([]);
    expect(result.damaged).toMatchObject([{ lsn: 1 }]);
    const error: unknown = await log.read(location).catch((cause: unknown) => cause);
    expect(isMailError(error, "DAMAGED")).toBe(true);
    await log.close();
  });
});
