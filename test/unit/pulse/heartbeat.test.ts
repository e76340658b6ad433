// The heartbeat machine: who gets a lease for what, and when nobody does any more.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  heardMsOf,
  leaseStartOf,
  makeHeartbeat,
  nextBeatMs,
  silentPartners,
  stepHeartbeat,
} from "../../../src/cluster/protocol/heartbeat.ts";
import type { HeartbeatState } from "../../../src/cluster/protocol/heartbeat.ts";
import {
  heartbeatTimes,
  noVitals,
  pairsMax,
} from "../../../src/cluster/protocol/heartbeat-types.ts";
import type {
  HeartbeatEffect,
  HeartbeatEvent,
  HeartbeatMessage,
} from "../../../src/cluster/protocol/heartbeat-types.ts";
import { epoch, memberId, shardId } from "../../../src/mail/ids.ts";
import type { MemberId } from "../../../src/mail/ids.ts";
import { seeded } from "../../support/chaos.ts";

const n1 = memberId("n1");
const n2 = memberId("n2");
const g1 = memberId("g1");
const shard = shardId(4);

function step(state: HeartbeatState, event: HeartbeatEvent): readonly HeartbeatEffect[] {
  const out: HeartbeatEffect[] = [];
  stepHeartbeat(state, event, out);
  return out;
}

function sends(effects: readonly HeartbeatEffect[]): { to: MemberId; message: HeartbeatMessage }[] {
  return effects.filter((effect) => effect.kind === "send");
}

/** Lets `from` beat at `nowMs` and hands all that follows to and fro at once. */
function exchange(from: HeartbeatState, to: HeartbeatState, nowMs: number): void {
  for (const { to: target, message } of sends(step(from, { kind: "tick", nowMs }))) {
    if (target !== to.me) continue;
    for (const answer of sends(step(to, { kind: "message", from: from.me, message, nowMs }))) {
      step(from, { kind: "message", from: to.me, message: answer.message, nowMs });
    }
  }
}

/** n1 is the primary of `shard` in epoch 3, n2 its secondary. */
function pair(): { primary: HeartbeatState; secondary: HeartbeatState } {
  const primary = makeHeartbeat(n1, 0);
  const secondary = makeHeartbeat(n2, 0);
  const hold = { epoch: epoch(3), secondaries: [n2] };
  step(primary, { kind: "hold", shard, hold, nowMs: 0 });
  step(secondary, { kind: "grant", shard, grant: { epoch: epoch(3), primary: n1 }, nowMs: 0 });
  return { primary, secondary };
}

describe("a lease", () => {
  test("begins when the heartbeat was sent, not when it was acknowledged", () => {
    const { primary, secondary } = pair();
    const [beat] = sends(step(primary, { kind: "tick", nowMs: 10 }));
    if (beat === undefined) throw new Error("no heartbeat");
    const event = { kind: "message", from: n1, message: beat.message, nowMs: 300 } as const;
    const answers = sends(step(secondary, event));
    expect(leaseStartOf(primary, shard, n2)).toBe(-Infinity);
    for (const { message } of answers) {
      step(primary, { kind: "message", from: n2, message, nowMs: 500 });
    }
    expect(leaseStartOf(primary, shard, n2)).toBe(10);
  });

  test.each([
    ["another epoch", { epoch: epoch(4), primary: n1 }],
    ["an older epoch", { epoch: epoch(2), primary: n1 }],
    ["another primary", { epoch: epoch(3), primary: memberId("n9") }],
    ["no shard of ours", undefined],
  ])("is refused by a secondary that holds %s", (_what, grant) => {
    const { primary, secondary } = pair();
    step(secondary, { kind: "grant", shard, grant, nowMs: 0 });
    exchange(primary, secondary, 10);
    expect(leaseStartOf(primary, shard, n2)).toBe(-Infinity);
    expect(secondary.grantedMs.size).toBe(0);
  });

  test("of an earlier epoch does not count in the next one", () => {
    const { primary, secondary } = pair();
    exchange(primary, secondary, 10);
    expect(leaseStartOf(primary, shard, n2)).toBe(10);
    const hold = { epoch: epoch(4), secondaries: [n2] };
    step(primary, { kind: "hold", shard, hold, nowMs: 20 });
    expect(leaseStartOf(primary, shard, n2)).toBe(-Infinity);
  });

  test("is not begun by an acknowledgement that left before the epoch changed", () => {
    const { primary, secondary } = pair();
    const [beat] = sends(step(primary, { kind: "tick", nowMs: 10 }));
    if (beat === undefined) throw new Error("no heartbeat");
    const [answer] = sends(
      step(secondary, { kind: "message", from: n1, message: beat.message, nowMs: 11 }),
    );
    if (answer === undefined) throw new Error("no answer");
    const hold = { epoch: epoch(4), secondaries: [n2] };
    step(primary, { kind: "hold", shard, hold, nowMs: 12 });
    step(primary, { kind: "message", from: n2, message: answer.message, nowMs: 13 });
    expect(leaseStartOf(primary, shard, n2)).toBe(-Infinity);
  });

  test("stays with a secondary that stays in the same epoch", () => {
    const { primary, secondary } = pair();
    exchange(primary, secondary, 10);
    const hold = { epoch: epoch(3), secondaries: [memberId("n5"), n2] };
    step(primary, { kind: "hold", shard, hold, nowMs: 20 });
    expect(leaseStartOf(primary, shard, n2)).toBe(10);
    expect(leaseStartOf(primary, shard, memberId("n5"))).toBe(-Infinity);
  });

  test("does not go back when an older acknowledgement comes late", () => {
    const { primary, secondary } = pair();
    const [first] = sends(step(primary, { kind: "tick", nowMs: 0 }));
    if (first === undefined) throw new Error("no heartbeat");
    exchange(primary, secondary, 100);
    const late = sends(
      step(secondary, { kind: "message", from: n1, message: first.message, nowMs: 101 }),
    );
    for (const { message } of late) {
      step(primary, { kind: "message", from: n2, message, nowMs: 102 });
    }
    expect(leaseStartOf(primary, shard, n2)).toBe(100);
  });

  test.each([
    ["twice", 1],
    ["never asked for", 77],
  ])("is not begun by an acknowledgement %s", (_what, seq) => {
    const { primary, secondary } = pair();
    exchange(primary, secondary, 0);
    const message = { kind: "beatAck", seq, vitals: noVitals, refused: [] } as const;
    const out = step(primary, { kind: "message", from: n2, message, nowMs: 90 });
    expect(out.filter(({ kind }) => kind === "lease")).toEqual([]);
    expect(leaseStartOf(primary, shard, n2)).toBe(0);
  });

  test("is not begun by an acknowledgement of another member", () => {
    const { primary } = pair();
    step(primary, { kind: "tick", nowMs: 0 });
    const message = { kind: "beatAck", seq: 1, vitals: noVitals, refused: [] } as const;
    step(primary, { kind: "message", from: memberId("n5"), message, nowMs: 5 });
    expect(leaseStartOf(primary, shard, n2)).toBe(-Infinity);
  });

  test("is void when the machine slept, and heartbeats sent before it don't bring it back", () => {
    const { primary, secondary } = pair();
    exchange(primary, secondary, 0);
    const [beat] = sends(step(primary, { kind: "tick", nowMs: 100 }));
    if (beat === undefined) throw new Error("no heartbeat");
    const out = step(primary, { kind: "clockJump", nowMs: 110 });
    expect(out).toEqual([{ kind: "lease", shard, epoch: epoch(3), node: n2, startMs: undefined }]);
    const answers = sends(
      step(secondary, { kind: "message", from: n1, message: beat.message, nowMs: 111 }),
    );
    for (const { message } of answers) {
      step(primary, { kind: "message", from: n2, message, nowMs: 112 });
    }
    expect(leaseStartOf(primary, shard, n2)).toBe(-Infinity);
    exchange(primary, secondary, 113);
    expect(leaseStartOf(primary, shard, n2)).toBe(113);
  });

  test("that a fresh hold was refused is asked for again at once", () => {
    const { primary, secondary } = pair();
    step(secondary, { kind: "grant", shard, grant: undefined, nowMs: 0 });
    exchange(primary, secondary, 10);
    expect(nextBeatMs(primary)).toBeLessThanOrEqual(30);
    step(secondary, { kind: "grant", shard, grant: { epoch: epoch(3), primary: n1 }, nowMs: 20 });
    exchange(primary, secondary, 30);
    expect(leaseStartOf(primary, shard, n2)).toBe(30);
  });
});

describe("revoking", () => {
  test("says when it granted last, and grants that epoch no more whatever the table says", () => {
    const { primary, secondary } = pair();
    exchange(primary, secondary, 40);
    const out = step(secondary, { kind: "revoke", shard, epoch: epoch(3), nowMs: 50 });
    expect(out).toEqual([{ kind: "revoked", shard, epoch: epoch(3), lastGrantedMs: 40 }]);
    step(secondary, { kind: "grant", shard, grant: { epoch: epoch(3), primary: n1 }, nowMs: 60 });
    exchange(primary, secondary, 140);
    expect(leaseStartOf(primary, shard, n2)).toBe(40);
    expect(secondary.grantedMs.get(shard)).toBe(40);
  });

  test("leaves the next epoch alone", () => {
    const { primary, secondary } = pair();
    step(secondary, { kind: "revoke", shard, epoch: epoch(3), nowMs: 0 });
    step(secondary, { kind: "grant", shard, grant: { epoch: epoch(4), primary: n1 }, nowMs: 0 });
    step(secondary, { kind: "revoke", shard, epoch: epoch(3), nowMs: 0 });
    step(primary, { kind: "hold", shard, hold: { epoch: epoch(4), secondaries: [n2] }, nowMs: 0 });
    exchange(primary, secondary, 10);
    expect(leaseStartOf(primary, shard, n2)).toBe(10);
  });

  test("says -Infinity when nothing was ever granted", () => {
    const state = makeHeartbeat(n2, 0);
    const out = step(state, { kind: "revoke", shard, epoch: epoch(9), nowMs: 5 });
    expect(out).toEqual([{ kind: "revoked", shard, epoch: epoch(9), lastGrantedMs: -Infinity }]);
  });
});

describe("silence", () => {
  test("is told once, and so is its end", () => {
    const gateway = makeHeartbeat(g1, 0);
    step(gateway, { kind: "watch", members: [n1, n2], nowMs: 0 });
    const told: string[] = [];
    const note = (out: readonly HeartbeatEffect[], atMs: number): void => {
      for (const effect of out) {
        if (effect.kind === "silent" || effect.kind === "heard") {
          told.push(`${atMs} ${effect.kind} ${effect.member}`);
        }
      }
    };
    for (let nowMs = 0; nowMs <= 1200; nowMs += 50) {
      note(step(gateway, { kind: "tick", nowMs }), nowMs);
      if (nowMs <= 300) note(step(gateway, { kind: "heard", from: n1, nowMs }), nowMs);
      if (nowMs === 1000) note(step(gateway, { kind: "heard", from: n2, nowMs }), nowMs);
    }
    expect(told).toEqual(["0 heard n1", "500 silent n2", "800 silent n1", "1000 heard n2"]);
    expect(silentPartners(gateway)).toEqual([n1]);
    expect(heardMsOf(gateway, n1)).toBe(300);
  });

  test("while this process itself slept is nobody's", () => {
    const gateway = makeHeartbeat(g1, 0);
    step(gateway, { kind: "watch", members: [n1], nowMs: 0 });
    step(gateway, { kind: "heard", from: n1, nowMs: 0 });
    expect(silentPartners(gateway)).toEqual([]);
    step(gateway, { kind: "tick", nowMs: 10_000 });
    expect(silentPartners(gateway)).toEqual([]);
    for (let nowMs = 10_050; nowMs <= 10_500; nowMs += 50) step(gateway, { kind: "tick", nowMs });
    expect(silentPartners(gateway)).toEqual([n1]);
  });
});

test("more shards than fit one datagram go in several, and each counts", () => {
  const primary = makeHeartbeat(n1, 0);
  const secondary = makeHeartbeat(n2, 0);
  const shards = Array.from({ length: 2 * pairsMax + 5 }, (_, index) => shardId(index));
  for (const one of shards) {
    const hold = { epoch: epoch(1), secondaries: [n2] };
    step(primary, { kind: "hold", shard: one, hold, nowMs: 0 });
    const grant = { epoch: epoch(1), primary: n1 };
    step(secondary, { kind: "grant", shard: one, grant, nowMs: 0 });
  }
  const beats = sends(step(primary, { kind: "tick", nowMs: 5 }));
  expect(beats.map(({ message }) => message.kind === "beat" && message.pairs.length)).toEqual([
    pairsMax,
    pairsMax,
    5,
  ]);
  exchange(primary, secondary, 105);
  expect(shards.filter((one) => leaseStartOf(primary, one, n2) === 105)).toHaveLength(
    shards.length,
  );
});

test("a member that shares no shard any more is heartbeaten no more", () => {
  const { primary } = pair();
  expect(nextBeatMs(primary)).toBe(0);
  step(primary, { kind: "hold", shard, hold: undefined, nowMs: 1 });
  expect(nextBeatMs(primary)).toBe(Infinity);
});

test("whatever is lost, late or repeated: a lease never outlives what its secondary granted", () => {
  const action = fc.record({
    do: fc.constantFrom("beat", "deliver", "drop", "repeat", "revoke", "grant", "hold", "wait"),
    which: fc.nat(20),
    ms: fc.nat(120),
  });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 120 }), (actions) => {
      const { primary, secondary } = pair();
      let nowMs = 0;
      let [held, granted] = [3, 3];
      const wire: { from: MemberId; message: HeartbeatMessage }[] = [];
      const lastGrant = new Map<number, number>();
      const run = (state: HeartbeatState, event: HeartbeatEvent): void => {
        for (const effect of step(state, event)) {
          if (effect.kind === "send") wire.push({ from: state.me, message: effect.message });
          if (effect.kind === "granted") {
            lastGrant.set(state.grants.get(shard)?.epoch ?? 0, effect.nowMs);
          }
        }
      };
      for (const { do: what, which, ms } of actions) {
        nowMs += ms;
        const at = wire.length === 0 ? 0 : which % wire.length;
        const packet = wire[at];
        if (what === "beat") run(primary, { kind: "tick", nowMs });
        else if (what === "drop") wire.splice(at, 1);
        else if (what === "revoke") {
          run(secondary, { kind: "revoke", shard, epoch: epoch(granted), nowMs });
        } else if (what === "grant") {
          granted = 3 + (which % 3);
          const grant = { epoch: epoch(granted), primary: n1 };
          run(secondary, { kind: "grant", shard, grant, nowMs });
        } else if (what === "hold") {
          held = Math.max(held, 3 + (which % 3));
          const hold = { epoch: epoch(held), secondaries: [n2] };
          run(primary, { kind: "hold", shard, hold, nowMs });
        } else if (packet !== undefined && what !== "wait") {
          if (what === "deliver") wire.splice(at, 1);
          const { from, message } = packet;
          run(from === n1 ? secondary : primary, { kind: "message", from, message, nowMs });
        }
        const start = leaseStartOf(primary, shard, n2);
        // Granted in that epoch, and at or after the lease's beginning.
        if (start > -Infinity)
          expect(lastGrant.get(held) ?? -Infinity).toBeGreaterThanOrEqual(start);
      }
    }),
    { numRuns: 300 },
  );
});

test("GRACE leaves room for clocks that drift by 5 %", () => {
  const { leaseMs, graceMs } = heartbeatTimes;
  expect(graceMs).toBeGreaterThan(leaseMs * (1 + 2 * 0.05));
});

describe("a network that loses 30 % of all datagrams", () => {
  /** One pair for `untilMs`, a millisecond a step. @returns the oldest that a lease became, and beats. */
  function lossy(
    seed: number,
    untilMs: number,
  ): { readonly oldestMs: number; readonly beats: number } {
    const random = seeded(seed);
    const { primary, secondary } = pair();
    exchange(primary, secondary, 0);
    let [oldestMs, beats] = [0, 0];
    for (let nowMs = 1; nowMs <= untilMs; nowMs++) {
      if (nowMs >= nextBeatMs(primary)) {
        for (const { message } of sends(step(primary, { kind: "tick", nowMs }))) {
          beats++;
          if (random() < 0.3) continue;
          const got = { kind: "message", from: n1, message, nowMs } as const;
          for (const answer of sends(step(secondary, got))) {
            if (random() < 0.3) continue;
            step(primary, { kind: "message", from: n2, message: answer.message, nowMs });
          }
        }
      }
      oldestMs = Math.max(oldestMs, nowMs - leaseStartOf(primary, shard, n2));
    }
    return { oldestMs, beats };
  }

  test("lets no lease run out in 100 s of twelve pairs", () => {
    for (let seed = 1; seed <= 12; seed++) {
      const { oldestMs, beats } = lossy(seed, 100_000);
      expect(oldestMs).toBeLessThan(heartbeatTimes.leaseMs);
      expect(beats).toBeLessThan(3 * (100_000 / heartbeatTimes.heartbeatMs));
    }
  });

  test("costs nothing more while none is lost, nor for a member that is silent", () => {
    const { primary, secondary } = pair();
    let beats = 0;
    for (let nowMs = 0; nowMs < 10_000; nowMs += 10) {
      for (const { message } of sends(step(primary, { kind: "tick", nowMs }))) {
        beats++;
        if (nowMs >= 5000) continue;
        const got = { kind: "message", from: n1, message, nowMs } as const;
        for (const answer of sends(step(secondary, got))) {
          step(primary, { kind: "message", from: n2, message: answer.message, nowMs });
        }
      }
    }
    expect(beats).toBeLessThan(10_000 / heartbeatTimes.heartbeatMs + 50);
  });
});
