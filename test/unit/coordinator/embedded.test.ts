// The embedded coordinator on a bad disk: crashes at every step, torn and damaged records, a full
// disk, a failed fsync. What every coordinator does is in test/conformance/coordinator.test.ts.

import { pino } from "pino";
import { describe, expect, test } from "vitest";
import type { Coordinator } from "../../../src/cluster/coordinator/coordinator.ts";
import { EmbeddedCoordinator } from "../../../src/cluster/coordinator/embedded.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { SimulatedDisk, systemError } from "../../../src/lib/simulated-disk.ts";
import type { CrashMode } from "../../../src/lib/simulated-disk.ts";
import { memberId } from "../../../src/mail/ids.ts";

const path = "coordinator.log";

function open(
  disk: SimulatedDisk,
  options: { readonly fatal?: (error: unknown) => void; readonly compactBytes?: number } = {},
): Promise<EmbeddedCoordinator> {
  return EmbeddedCoordinator.open({
    disk,
    path,
    clock: systemClock,
    log: pino({ level: "silent" }),
    fatal: (error) => {
      throw error;
    },
    ...options,
  });
}

async function put(coordinator: Coordinator, key: string, value: string): Promise<number> {
  const state = await coordinator.get(key);
  const ifRevision = state?.revision ?? 0;
  const { ok, revision } = await coordinator.compareAndSet([{ key, ifRevision, value }]);
  expect(ok).toBe(true);
  return revision;
}

describe("after a crash", () => {
  test.each<CrashMode>(["lose", "keep", "random"])(
    "at any step (%s what is unsynced), every acknowledged change is there",
    async (mode) => {
      const disk = new SimulatedDisk();
      const coordinator = await open(disk, { compactBytes: 600 });
      const opened = disk.trace.length;
      const acknowledged: { steps: number; revision: number; key: string; value: string }[] = [];
      for (let n = 0; n < 40; n++) {
        const [key, value] = [`k${n % 5}`, `v${n}`];
        const revision = await put(coordinator, key, value);
        acknowledged.push({ steps: disk.trace.length, revision, key, value });
      }
      await coordinator.close();
      expect(disk.trace.some(({ kind }) => kind === "rename")).toBe(true);
      for (let steps = opened; steps <= disk.trace.length; steps++) {
        const crashed = SimulatedDisk.replay(disk.trace, steps, steps);
        crashed.crash(mode);
        const again = await open(crashed);
        const due = acknowledged.filter((change) => change.steps <= steps);
        const last = new Map(due.map((change) => [change.key, change]));
        expect(again.revision).toBeGreaterThanOrEqual(due.at(-1)?.revision ?? 0);
        // One change may have been under way; everything acknowledged is there, or newer.
        for (const { key, revision } of last.values()) {
          expect((await again.get(key))?.revision).toBeGreaterThanOrEqual(revision);
        }
        await put(again, "after", "1");
        await again.close();
      }
    },
  );

  test("in the middle of the first start, the next start makes a new log", async () => {
    const disk = new SimulatedDisk();
    await (await open(disk)).close();
    for (let steps = 0; steps <= disk.trace.length; steps++) {
      const crashed = SimulatedDisk.replay(disk.trace, steps, steps);
      crashed.crash("random");
      const again = await open(crashed);
      expect(again.revision).toBe(0);
      await again.close();
    }
  });

  test("that cut the last record at any byte, the records before are there and it goes on", async () => {
    const disk = new SimulatedDisk();
    const coordinator = await open(disk);
    await put(coordinator, "a", "1");
    const before = disk.contents(path).length;
    await put(coordinator, "b", "2");
    await coordinator.close();
    const whole = disk.contents(path).length;
    for (let length = before; length < whole; length++) {
      const torn = SimulatedDisk.replay(disk.trace, disk.trace.length);
      torn.tear(path, length);
      const again = await open(torn);
      expect(again.revision).toBe(1);
      expect(await put(again, "c", "3")).toBe(2);
      await again.close();
      const third = await open(torn);
      expect((await third.list("")).entries.map(({ key }) => key)).toEqual(["a", "c"]);
      await third.close();
    }
  });
});

describe("a damaged log", () => {
  test("with a flipped bit anywhere but in the last record is refused, never cut", async () => {
    const disk = new SimulatedDisk();
    const coordinator = await open(disk);
    await put(coordinator, "a", "1");
    await put(coordinator, "b", "2");
    const lastAt = disk.contents(path).length;
    await put(coordinator, "c", "3");
    await coordinator.close();
    for (let offset = 0; offset < lastAt; offset++) {
      const flipped = SimulatedDisk.replay(disk.trace, disk.trace.length);
      flipped.flipBit(path, offset, offset % 8);
      const before = flipped.contents(path);
      await expect(open(flipped)).rejects.toMatchObject({ code: "DAMAGED" });
      expect(flipped.contents(path).equals(before)).toBe(true);
    }
  });

  test("that is empty is refused: it came whole or not at all", async () => {
    const disk = new SimulatedDisk();
    await (await open(disk)).close();
    disk.tear(path, 0);
    await expect(open(disk)).rejects.toMatchObject({ code: "DAMAGED" });
  });
});

describe("a failing disk", () => {
  test("that is full refuses the change as DISK_FULL, and goes on when there is space", async () => {
    const disk = new SimulatedDisk();
    const coordinator = await open(disk);
    await put(coordinator, "a", "1");
    disk.capacityBytes = disk.contents(path).length + 10;
    const change = { key: "b", ifRevision: 0, value: "2" };
    await expect(coordinator.compareAndSet([change])).rejects.toMatchObject({ code: "DISK_FULL" });
    expect(await coordinator.get("b")).toBeUndefined();
    expect((await coordinator.get("a"))?.value).toBe("1");
    disk.capacityBytes = Number.POSITIVE_INFINITY;
    expect(await put(coordinator, "b", "2")).toBe(2);
    await coordinator.close();
    const again = await open(disk);
    expect(again.revision).toBe(2);
    await again.close();
  });

  test("that is too full to compact keeps the long log", async () => {
    const disk = new SimulatedDisk();
    const coordinator = await open(disk, { compactBytes: 200 });
    disk.fault = (kind, at) =>
      kind === "create" && at.endsWith(".new") ? systemError("ENOSPC", at) : undefined;
    for (let n = 0; n < 50; n++) await put(coordinator, "a", String(n));
    expect(disk.contents(path).length).toBeGreaterThan(1000);
    disk.fault = undefined;
    await put(coordinator, "a", "last");
    expect(disk.contents(path).length).toBeLessThan(300);
    await coordinator.close();
  });

  test.each(["sync", "write"] as const)(
    "whose %s fails ends the process: nothing is answered or read from then on",
    async (kind) => {
      const disk = new SimulatedDisk();
      const fatal: unknown[] = [];
      const coordinator = await open(disk, { fatal: (error) => fatal.push(error) });
      await put(coordinator, "a", "1");
      disk.fault = (step, at) => (step === kind ? systemError("EIO", at) : undefined);
      const change = { key: "b", ifRevision: 0, value: "2" };
      const both = await Promise.allSettled([
        coordinator.compareAndSet([change]),
        coordinator.compareAndSet([{ ...change, key: "c" }]),
      ]);
      expect(both.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
      expect(fatal).toHaveLength(1);
      disk.fault = undefined;
      await expect(coordinator.get("a")).rejects.toMatchObject({ code: "UNAVAILABLE" });
      await expect(coordinator.compareAndSet([change])).rejects.toMatchObject({
        code: "UNAVAILABLE",
      });
      const watching = coordinator.watch("", 0, new AbortController().signal).next();
      await expect(watching).rejects.toMatchObject({ code: "UNAVAILABLE" });
    },
  );
});

describe("many changes at once", () => {
  test("share a sync, and of two on one key the first wins", async () => {
    const disk = new SimulatedDisk();
    const coordinator = await open(disk);
    const syncsBefore = disk.trace.filter(({ kind }) => kind === "sync").length;
    const outcomes = await Promise.all(
      Array.from({ length: 100 }, (_, n) =>
        coordinator.compareAndSet([{ key: `k${n % 50}`, ifRevision: 0, value: String(n) }]),
      ),
    );
    expect(outcomes.map(({ ok }) => ok)).toEqual(Array.from({ length: 100 }, (_, n) => n < 50));
    expect(disk.trace.filter(({ kind }) => kind === "sync").length - syncsBefore).toBe(1);
    expect(coordinator.revision).toBe(50);
    await coordinator.close();
  });

  test("beyond the queue's limit are BUSY", async () => {
    const coordinator = await open(new SimulatedDisk());
    const outcomes = await Promise.allSettled(
      Array.from({ length: 1001 }, (_, n) =>
        coordinator.compareAndSet([{ key: `k${n}`, ifRevision: 0, value: "1" }]),
      ),
    );
    expect(outcomes.filter(({ status }) => status === "rejected")).toHaveLength(1);
    expect(outcomes.at(-1)).toMatchObject({ reason: { code: "BUSY" } });
    await coordinator.close();
  });
});

test("closing finishes what was asked, and ends watches and registrations", async () => {
  const disk = new SimulatedDisk();
  const coordinator = await open(disk);
  const registration = await coordinator.register(memberId("n1"), 5000);
  const watching = coordinator.watch("", coordinator.revision, new AbortController().signal).next();
  const change = coordinator.compareAndSet([{ key: "a", ifRevision: 0, value: "1" }]);
  await coordinator.close();
  expect((await change).ok).toBe(true);
  expect((await watching).value).toMatchObject({ key: "a" });
  expect(await registration.lost).toBe("coordinator closed");
});
