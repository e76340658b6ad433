// Both disks keep the same contract; the simulated one also loses what a real one may lose.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Disk } from "../../../src/lib/disk.ts";
import { realDisk } from "../../../src/lib/real-disk.ts";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";
import { SimulatedDisk, systemError } from "../../../src/lib/simulated-disk.ts";

let root = "";
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "pabal-disk-"));
});
afterAll(async () => {
  await rm(root, { recursive: true });
});

const disks: [string, () => Disk][] = [
  ["real", () => realDisk(root)],
  ["simulated", () => new SimulatedDisk()],
];

describe.each(disks)("the %s disk", (_name, make) => {
  test("refuses to open what is missing, and to create what exists", async () => {
    const disk = make();
    await expect(disk.open("none", "read")).rejects.toMatchObject({ code: "ENOENT" });
    await expect(disk.unlink("none")).rejects.toMatchObject({ code: "ENOENT" });
    await expect(disk.rename("none", "other")).rejects.toMatchObject({ code: "ENOENT" });
    await (await disk.open("made", "create")).close();
    await expect(disk.open("made", "create")).rejects.toMatchObject({ code: "EEXIST" });
  });

  test("writes many parts, reads them back, short only at the end", async () => {
    const disk = make();
    const file = await disk.open("parts", "write");
    const parts = Array.from({ length: 1_500 }, (_, at) => Buffer.from(`part ${at};`));
    await file.writev([Buffer.alloc(0), ...parts], 5);
    await file.sync();
    const whole = Buffer.concat([Buffer.alloc(5), ...parts]);
    expect(await file.size()).toBe(whole.byteLength);
    expect(Buffer.from(await file.read(0, 1_000_000))).toEqual(whole);
    expect(Buffer.from(await file.read(100, 20))).toEqual(whole.subarray(100, 120));
    expect((await file.read(whole.byteLength, 10)).byteLength).toBe(0);
    await file.truncate(7);
    expect(await file.size()).toBe(7);
    await file.close();
    await expect(file.read(0, 1)).rejects.toMatchObject({ code: "EBADF" });
  });

  test("lists, renames and unlinks", async () => {
    const disk = make();
    expect(await disk.list("folder")).toEqual([]);
    await disk.makeFolder("folder");
    await disk.makeFolder("folder");
    for (const name of ["b", "a"]) await (await disk.open(`folder/${name}`, "write")).close();
    await disk.rename("folder/b", "folder/c");
    expect(await disk.list("folder")).toEqual(["a", "c"]);
    await disk.unlink("folder/a");
    await disk.syncFolder("folder");
    expect(await disk.exists("folder/a")).toBe(false);
    expect(await disk.exists("folder/c")).toBe(true);
    expect(await disk.exists("folder")).toBe(true);
    const { free, total } = await disk.freeBytes();
    expect(free).toBeLessThanOrEqual(total);
  });
});

describe("a crash of the simulated disk", () => {
  test("loses unsynced writes and names, and kills open files", async () => {
    const disk = new SimulatedDisk();
    const file = await disk.open("a", "write");
    await file.writev([Buffer.from("synced")], 0);
    await file.sync();
    await disk.syncFolder(".");
    await file.writev([Buffer.from("LOST")], 2);
    await (await disk.open("b", "write")).close();
    await disk.rename("a", "c");
    disk.crash("lose");
    expect(disk.contents("a").toString()).toBe("synced");
    expect(await disk.list(".")).toEqual(["a"]);
    await expect(file.sync()).rejects.toMatchObject({ code: "EBADF" });
  });

  test("a synced file without a synced folder may have no name", async () => {
    const disk = new SimulatedDisk();
    const file = await disk.open("a", "write");
    await file.writev([Buffer.from("x")], 0);
    await file.sync();
    disk.crash("lose");
    expect(await disk.exists("a")).toBe(false);
  });

  test("the same seed loses the same, and every fate of a write occurs", async () => {
    const left = (seed: number): string => {
      const disk = SimulatedDisk.replay(
        [
          { kind: "create", path: "a" },
          { kind: "syncFolder", path: "." },
          { kind: "write", path: "a", offset: 0, bytes: Buffer.alloc(2_000, 1) },
        ],
        3,
        seed,
      );
      disk.crash("random");
      return disk.contents("a").toString("hex");
    };
    const seeds = Array.from({ length: 60 }, (_, seed) => seed);
    expect(seeds.map(left)).toEqual(seeds.map(left));
    const results = new Set(seeds.map(left));
    expect(results).toContain("");
    expect(results).toContain("01".repeat(2_000));
    expect([...results].some((hex) => /^(01)+(00)+01/.test(hex))).toBe(true);
    expect(results.size).toBeGreaterThan(10);
  });

  test("after the death of a process alone, unsynced writes can still be lost later", async () => {
    const disk = new SimulatedDisk();
    const file = await disk.open("a", "write");
    await disk.syncFolder(".");
    await file.writev([Buffer.from("x")], 0);
    disk.crash("keep");
    expect(disk.contents("a").toString()).toBe("x");
    disk.crash("lose");
    expect(disk.contents("a").toString()).toBe("");
  });
});

describe("faults of the simulated disk", () => {
  test("what a failed sync left behind, no later sync makes durable", async () => {
    const disk = new SimulatedDisk();
    const file = await disk.open("a", "write");
    await disk.syncFolder(".");
    await file.writev([Buffer.from("gone")], 0);
    disk.fault = (kind, path) => (kind === "sync" ? systemError("EIO", path) : undefined);
    await expect(file.sync()).rejects.toMatchObject({ code: "EIO" });
    disk.fault = undefined;
    await file.sync();
    expect(disk.contents("a").toString()).toBe("gone");
    disk.crash("lose");
    expect(disk.contents("a").toString()).toBe("");
  });

  test("errors, a full disk, delays and flipped bits happen on demand", async () => {
    const clock = new SimulatedClock();
    const disk = new SimulatedDisk({ clock, capacityBytes: 10 });
    const file = await disk.open("a", "write");
    await file.writev([Buffer.alloc(8)], 0);
    await expect(file.writev([Buffer.alloc(8)], 8)).rejects.toMatchObject({ code: "ENOSPC" });
    expect(await disk.freeBytes()).toEqual({ free: 2, total: 10 });
    disk.fault = (kind, path) => (kind === "sync" ? systemError("EIO", path) : undefined);
    await expect(file.sync()).rejects.toMatchObject({ code: "EIO" });
    disk.fault = undefined;
    disk.flipBit("a", 3, 0);
    expect((await file.read(3, 1))[0]).toBe(1);
    disk.delayMs = () => 50;
    let done = false;
    const waiting = file.sync().then(() => {
      done = true;
    });
    await Promise.resolve();
    clock.advance(49);
    await Promise.resolve();
    expect(done).toBe(false);
    clock.advance(1);
    await waiting;
    expect(done).toBe(true);
  });
});
