// The ring machine: its table of states, one row after another, and what its token carries.

import { describe, expect, test } from "vitest";
import { makeRing, nextRingMs, ringView } from "../../../src/cluster/protocol/ring.ts";
import type { RingState } from "../../../src/cluster/protocol/ring-state.ts";
import { ringMembersMax, ringTimes } from "../../../src/cluster/protocol/ring-types.ts";
import type { RingEffect, RingMessage } from "../../../src/cluster/protocol/ring-types.ts";
import { memberId } from "../../../src/mail/ids.ts";
import { g1, g2, g3, hear, order, ring, step, token } from "./ring-kit.ts";

const sent = (effects: readonly RingEffect[]): readonly string[] =>
  effects.flatMap((effect) =>
    effect.kind === "send" ? [`${effect.message.kind} ${effect.to}`] : [],
  );

/** g1 with g2 and g3 registered, gathering since 0. */
function gatherer(): RingState {
  const state = makeRing(g1, 1, 0);
  const gateways = [g2, g3].map((member) => ({ member, boot: 1 }));
  step(state, { kind: "gateways", gateways, nowMs: 0 });
  return state;
}

/** g1 on a ring of three, without the token. */
function idler(): RingState {
  const state = gatherer();
  hear(state, g3, { kind: "form", ring, order }, 0);
  expect(state.phase).toBe("idle");
  return state;
}

function holder(): RingState {
  const state = idler();
  hear(state, g3, token(), 10);
  expect(state.phase).toBe("hold");
  return state;
}

describe("IDLE", () => {
  test("a token is acknowledged and held", () => {
    const state = idler();
    expect(sent(hear(state, g3, token(), 10))).toEqual(["hopAck g3"]);
    expect(state.phase).toBe("hold");
  });

  test("a token that was had is acknowledged again, and nothing else", () => {
    const state = holder();
    step(state, { kind: "tick", nowMs: 40 });
    hear(state, g2, { kind: "hopAck", ring, seq: 2 }, 41);
    expect(sent(hear(state, g3, token(), 50))).toEqual(["hopAck g3"]);
    expect(state.phase).toBe("idle");
  });

  test("a token of a ring that is over is answered with the present one", () => {
    const state = idler();
    const old = token({ ring: { term: 3, maker: g2 }, seq: 99 });
    expect(sent(hear(state, g3, old, 10))).toEqual(["form g3"]);
    expect(state.phase).toBe("idle");
  });

  test("a token of a ring without us is not ours", () => {
    const state = idler();
    const other = token({ ring: { term: 9, maker: g2 }, order: [g2, g3] });
    expect(hear(state, g3, other, 10)).toEqual([]);
    expect(state.ring).toEqual(ring);
  });

  test("a token of a newer ring brings that ring", () => {
    const state = idler();
    hear(state, g2, token({ ring: { term: 5, maker: g2 }, order: [g1, g2] }), 10);
    expect(state.phase).toBe("hold");
    expect(state.order).toEqual([g1, g2]);
  });

  test("without any sign of the token it is lost: everyone is called", () => {
    const state = idler();
    const lostMs = nextRingMs(state);
    expect(lostMs).toBe(300);
    step(state, { kind: "tick", nowMs: lostMs - 1 });
    expect(state.phase).toBe("idle");
    expect(sent(step(state, { kind: "tick", nowMs: lostMs }))).toEqual(["join g2", "join g3"]);
    expect(state.phase).toBe("gather");
  });

  test("higher ranks wait longer, so that the first to miss it calls first", () => {
    const ranks = [g1, g2, g3].map((me) => {
      const state = makeRing(me, 1, 0);
      const gateways = order.filter((one) => one !== me).map((member) => ({ member, boot: 1 }));
      step(state, { kind: "gateways", gateways, nowMs: 0 });
      hear(state, me === g3 ? g2 : g3, { kind: "form", ring, order }, 0);
      return nextRingMs(state);
    });
    expect(ranks).toEqual([300, 340, 380]);
  });

  test("a keep-alive of the holder that pinned it is a sign", () => {
    const state = idler();
    hear(state, g2, { kind: "pinned", ring, seq: 7 }, 290);
    expect(nextRingMs(state)).toBe(590);
    expect(ringView(state, 290)).toMatchObject({ holder: g2, pinned: true });
  });

  test("the holder of a pinned token is told what it does not know yet", () => {
    const state = idler();
    hear(state, g3, token(), 10);
    step(state, { kind: "tick", nowMs: 30 });
    const pinned = { kind: "pinned", ring, seq: 7 } as const;
    // What we could reach then went on with our token.
    expect(sent(hear(state, g2, pinned, 40))).toEqual([]);
    step(state, { kind: "reach", unreachable: [memberId("n1")], nowMs: 50 });
    const out = hear(state, g2, pinned, 80);
    expect(sent(out)).toEqual(["reach g2"]);
    // Until a token has come by: a datagram may be lost.
    expect(sent(hear(state, g2, pinned, 120))).toEqual(["reach g2"]);
    hear(state, g3, token({ seq: 9 }), 130);
    step(state, { kind: "tick", nowMs: 150 });
    expect(sent(hear(state, g2, { ...pinned, seq: 10 }, 160))).toEqual([]);
  });

  test("a join of a member that misses the token, too, begins the gathering at once", () => {
    const state = idler();
    const join = { kind: "join", ring, hearsYou: true } as const;
    expect(sent(hear(state, g2, join, 20))).toEqual(["form g2"]);
    hear(state, g2, join, 200);
    expect(state.phase).toBe("gather");
  });
});

describe("HOLD", () => {
  test("the token goes to the successor after 20 ms", () => {
    const state = holder();
    step(state, { kind: "tick", nowMs: 29 });
    expect(state.phase).toBe("hold");
    expect(sent(step(state, { kind: "tick", nowMs: 30 }))).toEqual(["token g2"]);
    expect(state.phase).toBe("sent");
  });

  test("what a member can't reach is heard while the token is pinned", () => {
    const state = holder();
    const report = { gateway: g2, boot: 1, seq: 1, unreachable: [memberId("n1")] };
    expect(hear(state, g2, { kind: "reach", report }, 20)).toEqual([{ kind: "reach", report }]);
    expect(ringView(state, 20).reach).toContainEqual(report);
    // Nobody speaks for another.
    const other = { ...report, gateway: g3 };
    expect(hear(state, g2, { kind: "reach", report: other }, 20)).toEqual([]);
  });

  test("a pinned one stays, tells so, and makes us the acting manager", () => {
    const state = idler();
    step(state, { kind: "want", wanted: true, nowMs: 5 });
    expect(hear(state, g3, token(), 10)).toContainEqual({ kind: "acting", acting: true });
    expect(sent(step(state, { kind: "tick", nowMs: 40 }))).toEqual(["pinned g2", "pinned g3"]);
    expect(state.phase).toBe("hold");
    const out = step(state, { kind: "want", wanted: false, nowMs: 50 });
    expect(out).toEqual([{ kind: "acting", acting: false }]);
    expect(sent(step(state, { kind: "tick", nowMs: 51 }))).toEqual(["token g2"]);
  });

  test("work that never ends holds the token for 5 s at most", () => {
    const state = idler();
    step(state, { kind: "want", wanted: true, nowMs: 5 });
    hear(state, g3, token(), 10);
    step(state, { kind: "tick", nowMs: 5009 });
    expect(state.phase).toBe("hold");
    const out = step(state, { kind: "tick", nowMs: 5010 });
    expect(out[0]).toEqual({ kind: "acting", acting: false });
    expect(sent(out)).toEqual(["token g2"]);
  });

  test("a main thread that is stuck pins nothing", () => {
    const state = idler();
    step(state, { kind: "want", wanted: true, nowMs: 5 });
    hear(state, g3, token(), 10);
    const out = step(state, { kind: "stalled", stalled: true, nowMs: 700 });
    expect(out).toEqual([{ kind: "acting", acting: false }]);
    expect(sent(step(state, { kind: "tick", nowMs: 701 }))).toEqual(["token g2"]);
  });

  test("one who hears us and we hear is taken in by a newer ring", () => {
    const state = gatherer();
    hear(state, g2, { kind: "form", ring, order: [g1, g2] }, 0);
    hear(state, g2, token({ order: [g1, g2] }), 1);
    const join = { kind: "join", ring: { term: 11, maker: g3 }, hearsYou: false } as const;
    expect(sent(hear(state, g3, join, 2))).toEqual(["merge g3"]);
    expect(sent(hear(state, g3, { ...join, hearsYou: true }, 3))).toEqual([]);
    expect(sent(step(state, { kind: "tick", nowMs: 21 }))).toContain("form g3");
    expect(state.order).toEqual(order);
    expect(state.ring).toEqual({ term: 17, maker: g1 });
  });

  test("a gateway that is registered no more is left out", () => {
    const state = holder();
    step(state, { kind: "gateways", gateways: [{ member: g3, boot: 1 }], nowMs: 15 });
    step(state, { kind: "tick", nowMs: 30 });
    expect(state.order).toEqual([g1, g3]);
  });

  test("a newer ring takes the token away", () => {
    const state = holder();
    hear(state, g2, { kind: "form", ring: { term: 5, maker: g2 }, order }, 12);
    expect(state.phase).toBe("idle");
  });
});

describe("SENT", () => {
  const passer = (): RingState => {
    const state = holder();
    step(state, { kind: "tick", nowMs: 30 });
    return state;
  };

  test("an acknowledgement ends it", () => {
    const state = passer();
    hear(state, g2, { kind: "hopAck", ring, seq: 2 }, 31);
    expect(state.phase).toBe("idle");
  });

  test.each([
    ["of another hop", g2, ring, 1],
    ["of another ring", g2, { term: 3, maker: g3 }, 2],
    ["of someone else", g3, ring, 2],
  ])("an acknowledgement %s does not", (_what, from, named, seq) => {
    const state = passer();
    hear(state, from, { kind: "hopAck", ring: named, seq }, 31);
    expect(state.phase).toBe("sent");
  });

  test("without one the token is sent again, then the successor is left out and told", () => {
    const state = passer();
    const out: RingEffect[] = [];
    for (let nowMs = 31; nowMs < 150; nowMs++) out.push(...step(state, { kind: "tick", nowMs }));
    expect(sent(out).filter((line) => line === "token g2")).toHaveLength(7);
    const skipped = step(state, { kind: "tick", nowMs: 150 });
    expect(skipped).toContainEqual({ kind: "skipped", member: g2 });
    expect(sent(skipped)).toEqual(["form g3"]);
    expect(state.order).toEqual([g1, g3]);
    expect(sent(step(state, { kind: "tick", nowMs: 170 }))).toContain("token g3");
  });

  test("one who was left out comes in again only after a while", () => {
    const state = passer();
    for (let nowMs = 31; nowMs <= 150; nowMs++) step(state, { kind: "tick", nowMs });
    const join = { kind: "join", ring, hearsYou: true } as const;
    hear(state, g2, join, 155);
    expect([...state.joiners]).toEqual([]);
    hear(state, g2, join, 151 + ringTimes.rejoinMs);
    expect([...state.joiners]).toEqual([g2]);
  });

  test("with nobody left the ring is this gateway alone, and it manages", () => {
    const state = gatherer();
    hear(state, g2, { kind: "form", ring, order: [g1, g2] }, 0);
    hear(state, g2, token({ order: [g1, g2] }), 1);
    const out: RingEffect[] = [];
    for (let nowMs = 2; nowMs < 200; nowMs++) out.push(...step(state, { kind: "tick", nowMs }));
    expect(out).toContainEqual({ kind: "acting", acting: true });
    expect(state.order).toEqual([g1]);
  });
});

describe("GATHER", () => {
  test("after 80 ms of quiet the lowest forms the ring of all that were heard", () => {
    const state = gatherer();
    hear(state, g2, { kind: "join", ring: { term: 6, maker: g2 }, hearsYou: true }, 30);
    step(state, { kind: "tick", nowMs: 109 });
    expect(state.phase).toBe("gather");
    expect(sent(step(state, { kind: "tick", nowMs: 110 }))).toContain("form g2");
    expect(state).toMatchObject({ phase: "hold", order: [g1, g2], ring: { term: 17, maker: g1 } });
  });

  test("another life of the same gateway names its rings otherwise, though it has seen no more", () => {
    const named = new Set<number>();
    for (const boot of [1, 2, 3, 15, 16]) {
      const state = makeRing(g1, boot, 0);
      for (let nowMs = 0; nowMs <= 80; nowMs++) step(state, { kind: "tick", nowMs });
      expect(state).toMatchObject({ phase: "hold", order: [g1] });
      named.add(state.ring.term);
    }
    expect(named.size).toBe(5);
  });

  test("another one waits for the lowest, and gathers anew when that is gone", () => {
    const state = makeRing(g2, 1, 0);
    const gateways = [g1, g3].map((member) => ({ member, boot: 1 }));
    step(state, { kind: "gateways", gateways, nowMs: 0 });
    hear(state, g1, { kind: "join", ring: { term: 0, maker: g1 }, hearsYou: true }, 0);
    for (let nowMs = 0; nowMs < 240; nowMs++) step(state, { kind: "tick", nowMs });
    expect(state.phase).toBe("gather");
    for (let nowMs = 240; nowMs < 330; nowMs++) step(state, { kind: "tick", nowMs });
    expect(state).toMatchObject({ phase: "hold", order: [g2] });
  });

  test("a ring that is heard of is waited for", () => {
    const state = gatherer();
    const merge = { kind: "merge", ring, order: [g2, g3], hearsYou: false } as const;
    hear(state, g2, merge, 10);
    for (let nowMs = 0; nowMs < 700; nowMs++) step(state, { kind: "tick", nowMs });
    expect(state.phase).toBe("gather");
  });

  test("a false alarm is over when the ring is named again", () => {
    const state = idler();
    step(state, { kind: "tick", nowMs: 300 });
    expect(state.phase).toBe("gather");
    hear(state, g2, { kind: "form", ring, order }, 310);
    expect(state.phase).toBe("idle");
  });

  test("a gateway that knows no other is a ring of its own", () => {
    const state = makeRing(g1, 1, 0);
    const out: RingEffect[] = [];
    for (let nowMs = 0; nowMs <= 80; nowMs++) out.push(...step(state, { kind: "tick", nowMs }));
    expect(out).toContainEqual({ kind: "acting", acting: true });
    expect(ringView(state, 80)).toMatchObject({ order: [g1], holder: g1, acting: true });
  });
});

test("messages of gateways that are not registered change nothing", () => {
  const state = idler();
  const before = JSON.stringify(state);
  const g9 = memberId("g9");
  const newer = { term: 99, maker: g9 };
  for (const message of [
    token({ ring: newer, order: [g1, g9] }),
    { kind: "form", ring: newer, order: [g1, g9] },
    { kind: "join", ring: newer, hearsYou: true },
    { kind: "merge", ring: newer, order: [g9], hearsYou: true },
    { kind: "pinned", ring: newer, seq: 3 },
  ] satisfies RingMessage[]) {
    expect(hear(state, g9, message, 5)).toEqual([]);
  }
  expect(JSON.stringify(state)).toBe(before);
});

test("more gateways than a ring takes: the first by id are on it, the others keep still", () => {
  const names = Array.from({ length: ringMembersMax + 2 }, (_, at) => `g${10 + at}`);
  const gateways = names.map((name) => ({ member: memberId(name), boot: 1 }));
  const inside = makeRing(memberId("g10"), 1, 0);
  const outside = makeRing(memberId(names.at(-1) ?? ""), 1, 0);
  for (const state of [inside, outside]) step(state, { kind: "gateways", gateways, nowMs: 0 });
  expect(inside.gateways.size).toBe(ringMembersMax - 1);
  expect(nextRingMs(outside)).toBe(Infinity);
  expect(step(outside, { kind: "tick", nowMs: 5000 })).toEqual([]);
});
