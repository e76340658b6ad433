// What the token carries besides itself: load figures and what each gateway can't reach.

import { describe, expect, test } from "vitest";
import { makeRing, ringView } from "../../../src/cluster/protocol/ring.ts";
import type { RingState } from "../../../src/cluster/protocol/ring-state.ts";
import { loadsPerTokenMax } from "../../../src/cluster/protocol/ring-types.ts";
import type { RingEffect, RingLoad } from "../../../src/cluster/protocol/ring-types.ts";
import { memberId } from "../../../src/mail/ids.ts";
import { g1, g2, g3, hear, order, ring, step, token } from "./ring-kit.ts";
import type { Token } from "./ring-kit.ts";

/** g1 on a ring of three, without the token. */
function idler(): RingState {
  const state = makeRing(g1, 1, 0);
  const gateways = [g2, g3].map((member) => ({ member, boot: 1 }));
  step(state, { kind: "gateways", gateways, nowMs: 0 });
  hear(state, g3, { kind: "form", ring, order }, 0);
  return state;
}

describe("figures", () => {
  const load = (name: string, boot: number, seq: number): RingLoad => ({
    member: memberId(name),
    boot,
    seq,
    cpuPerMille: seq,
    queueBytes: 0,
    fsyncP99Micros: 0,
    diskFreePerMille: 500,
    users: 1,
    sessions: 2,
    ioPerSecond: 3,
  });
  const tokenOf = (effects: readonly RingEffect[]): Token => {
    for (const effect of effects) {
      if (effect.kind === "send" && effect.message.kind === "token") return effect.message;
    }
    throw new Error("no token was sent");
  };

  test("the newest by the member's own count wins, whatever way it came", () => {
    const state = idler();
    step(state, { kind: "load", load: load("n1", 2, 5), nowMs: 0 });
    step(state, { kind: "load", load: load("n1", 2, 4), nowMs: 1 });
    step(state, { kind: "load", load: load("n1", 1, 9), nowMs: 2 });
    const loads = [{ load: load("n1", 2, 6), ageMs: 30 }];
    hear(state, g3, token({ loads }), 10);
    step(state, { kind: "load", load: load("n1", 2, 5), nowMs: 11 });
    expect(ringView(state, 15).loads).toEqual([{ load: load("n1", 2, 6), ageMs: 35 }]);
  });

  test("more than fit take turns, and every one is on some token soon", () => {
    const state = idler();
    for (let node = 0; node < 60; node++) {
      step(state, { kind: "load", load: load(`n${node}`, 1, 1), nowMs: 0 });
    }
    const seen = new Set<string>();
    for (let seq = 1; seq <= 3; seq++) {
      hear(state, g3, token({ seq: seq * 3 }), seq * 100);
      const { loads } = tokenOf(step(state, { kind: "tick", nowMs: seq * 100 + 20 }));
      expect(loads.length).toBeLessThanOrEqual(loadsPerTokenMax);
      for (const carried of loads) seen.add(carried.load.member);
      hear(state, g2, { kind: "hopAck", ring, seq: seq * 3 + 1 }, seq * 100 + 21);
    }
    expect(seen.size).toBe(60);
  });

  test("what a gateway can't reach goes round, and its newest word counts", () => {
    const state = idler();
    const n1 = memberId("n1");
    step(state, { kind: "reach", unreachable: [n1], nowMs: 5 });
    const theirs = { gateway: g2, boot: 1, seq: 4, unreachable: [n1] };
    const out = hear(state, g3, token({ reach: [theirs] }), 10);
    expect(out).toContainEqual({ kind: "reach", report: theirs });
    const older = { ...theirs, seq: 3, unreachable: [] };
    const otherStart = { ...theirs, boot: 2, seq: 9, unreachable: [] };
    hear(state, g3, token({ seq: 2, reach: [older, otherStart] }), 11);
    const { reach } = tokenOf(step(state, { kind: "tick", nowMs: 40 }));
    expect(reach).toEqual([{ gateway: g1, boot: 1, seq: 1, unreachable: [n1] }, theirs]);
  });

  test("what others say of us is not believed", () => {
    const state = idler();
    const lie = { gateway: g1, boot: 1, seq: 100, unreachable: [memberId("n1")] };
    hear(state, g3, token({ reach: [lie] }), 10);
    expect(ringView(state, 10).reach).toEqual([{ gateway: g1, boot: 1, seq: 0, unreachable: [] }]);
  });
});
