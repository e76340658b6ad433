// Times between threads as 32-bit words, and slots that mean one lease only.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LeaseSlots } from "../../../src/cluster/pulse/lease-slots.ts";
import { SharedMemory } from "../../../src/cluster/pulse/shared-memory.ts";
import { epoch, memberId, shardId } from "../../../src/mail/ids.ts";

const dayMs = 86_400_000;

describe("times", () => {
  test("are read as written, a lease never younger and a grant never older, for years of uptime", () => {
    const memory = new SharedMemory();
    const shard = shardId(1);
    const now = fc.double({ min: 1000, max: 4000 * dayMs, noNaN: true });
    const age = fc.double({ min: 0, max: 20 * dayMs, noNaN: true });
    fc.assert(
      fc.property(now, age, (nowMs, ageMs) => {
        const atMs = nowMs - ageMs;
        memory.setLease(3, atMs);
        memory.setGranted(shard, atMs);
        const start = memory.leaseStartMs(3, nowMs);
        const granted = memory.grantedMs(shard, nowMs);
        expect(start).toBeLessThanOrEqual(atMs);
        expect(start).toBeGreaterThanOrEqual(atMs - 2);
        if (Math.abs(Math.ceil(atMs) % 2 ** 32) > 0) expect(granted).toBeGreaterThanOrEqual(atMs);
        expect(granted).toBeLessThanOrEqual(atMs + 1);
      }),
    );
  });

  test("that were never written are never", () => {
    const memory = new SharedMemory();
    expect(memory.leaseStartMs(0, 5)).toBe(-Infinity);
    memory.setLease(0, 4);
    memory.clearLease(0);
    expect(memory.leaseStartMs(0, 5)).toBe(-Infinity);
  });
});

describe("slots", () => {
  const shard = shardId(2);
  const [n1, n2] = [memberId("n1"), memberId("n2")];

  test("of one epoch are not used for another before the thread has let go of them", () => {
    const slots = new LeaseSlots();
    const first = slots.assign(shard, { epoch: epoch(1), secondaries: [n1] });
    const second = slots.assign(shard, { epoch: epoch(2), secondaries: [n1] });
    expect(second.slots).not.toEqual(first.slots);
    expect(slots.release(first.number)).toEqual([]);
    expect(slots.release(second.number)).toEqual(first.slots);
    const third = slots.assign(shard, { epoch: epoch(3), secondaries: [n1] });
    expect(third.slots).toEqual(first.slots);
  });

  test("stay with a secondary that stays in the same epoch", () => {
    const slots = new LeaseSlots();
    const [slot] = slots.assign(shard, { epoch: epoch(1), secondaries: [n1] }).slots;
    const next = slots.assign(shard, { epoch: epoch(1), secondaries: [n2, n1] });
    expect(next.slots[1]).toBe(slot);
    expect(slots.slotOf(shard, n1)).toBe(slot);
    slots.assign(shard, undefined);
    expect(slots.slotOf(shard, n1)).toBeUndefined();
  });

  test("suffice however often tables change", () => {
    const slots = new LeaseSlots();
    for (let round = 1; round < 20_000; round++) {
      const hold = { epoch: epoch(round), secondaries: [n1, n2] };
      const { number } = slots.assign(shardId(round % 16), hold);
      slots.release(number);
    }
    expect(slots.slotOf(shardId(3), n1)).toBeDefined();
  });
});
