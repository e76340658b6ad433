// Datagrams: every message survives the wire, the largest fit 1200 bytes, and only those count that
// are authentic, for this start of this member, from the present start of a known one, and new.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { packetBytesMax } from "../../../src/cluster/pulse/packet-bytes.ts";
import type { PulseMessage } from "../../../src/cluster/pulse/packet-codec.ts";
import { PacketSeal } from "../../../src/cluster/pulse/packet-seal.ts";
import type { Opened } from "../../../src/cluster/pulse/packet-seal.ts";
import { makeRing, stepRing } from "../../../src/cluster/protocol/ring.ts";
import { pairsMax } from "../../../src/cluster/protocol/heartbeat-types.ts";
import { ringMembersMax } from "../../../src/cluster/protocol/ring-types.ts";
import type { RingEffect } from "../../../src/cluster/protocol/ring-types.ts";
import { systemRandom } from "../../../src/lib/random.ts";
import { epoch, memberId, shardId } from "../../../src/mail/ids.ts";

const key = { id: 3, secret: systemRandom.bytes(32) };
const g1 = { member: memberId("g1"), incarnation: 5 };
const g2 = { member: memberId("g2"), incarnation: 9 };
const vitals = { loopLagMs: 7, fsyncP99Ms: 12, diskFreePerMille: 400, damaged: 0 };
const ack: PulseMessage = { kind: "beatAck", seq: 4, vitals, refused: [] };

function sealOf(me: typeof g1, more: { keys?: (typeof key)[]; cluster?: string } = {}): PacketSeal {
  const seal = new PacketSeal(more.cluster ?? "one", me, more.keys ?? [key]);
  seal.setSenders([g1, g2].filter(({ member }) => member !== me.member));
  return seal;
}

function pack(seal: PacketSeal, message: PulseMessage = ack, to = g2): Buffer {
  return Buffer.from(seal.seal(to, message));
}

const why = (opened: Opened): string => (opened.ok ? "taken" : opened.drop);

const longest = (name: string): string => name.padEnd(32, "x");
const member = fc.integer({ min: 0, max: 99 }).map((number) => memberId(`m${number}`));
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u48 = fc.integer({ min: 0, max: 2 ** 48 - 1 });
const u16 = fc.integer({ min: 0, max: 0xffff });
const ring = fc.record({ term: u32, maker: member });
const order = fc.array(member, { maxLength: 10 });
const report = fc.record({ gateway: member, boot: u48, seq: u48, unreachable: order });
const shard = fc.integer({ min: 0, max: 4095 }).map(shardId);
const someVitals = fc.record({
  loopLagMs: u16,
  fsyncP99Ms: u16,
  diskFreePerMille: u16,
  damaged: u16,
});
const load = fc.record({
  member,
  boot: u48,
  seq: u48,
  cpuPerMille: u16,
  queueBytes: u48,
  fsyncP99Micros: u32,
  diskFreePerMille: u16,
  users: u32,
  sessions: u32,
  ioPerSecond: u32,
});
const message: fc.Arbitrary<PulseMessage> = fc.oneof(
  fc.record({
    kind: fc.constant("beat" as const),
    seq: u48,
    vitals: someVitals,
    pairs: fc.array(fc.record({ shard, epoch: u32.map(epoch) }), { maxLength: pairsMax }),
  }),
  fc.record({
    kind: fc.constant("beatAck" as const),
    seq: u48,
    vitals: someVitals,
    refused: fc.array(shard, { maxLength: pairsMax }),
  }),
  fc.record({ kind: fc.constantFrom("hopAck" as const, "pinned" as const), ring, seq: u48 }),
  fc.record({ kind: fc.constant("join" as const), ring, hearsYou: fc.boolean() }),
  fc.record({ kind: fc.constant("form" as const), ring, order }),
  fc.record({ kind: fc.constant("merge" as const), ring, order, hearsYou: fc.boolean() }),
  fc.record({ kind: fc.constant("reach" as const), report }),
  fc.record({
    kind: fc.constant("token" as const),
    ring,
    seq: u48,
    order,
    tableRevision: u48,
    reach: fc.array(report, { maxLength: 4 }),
    loads: fc.array(fc.record({ load, ageMs: u32 }), { maxLength: 10 }),
  }),
);

describe("the codec", () => {
  test("gives back every message as it was", () => {
    const [from, to] = [sealOf(g1), sealOf(g2)];
    fc.assert(
      fc.property(message, (one) => {
        expect(to.open(pack(from, one))).toEqual({ ok: true, from: g1.member, message: one });
      }),
      { numRuns: 500 },
    );
  });

  test("has room for the most shards between members with the longest names", () => {
    const from = { member: memberId(longest("a")), incarnation: 2 ** 48 - 1 };
    const to = { member: memberId(longest("b")), incarnation: 2 ** 48 - 1 };
    const seal = new PacketSeal("one", from, [key]);
    const pairs = Array.from({ length: pairsMax }, (_, index) => ({
      shard: shardId(index),
      epoch: epoch(0xffff_ffff),
    }));
    const beat = { kind: "beat", seq: 2 ** 48 - 1, vitals, pairs } as const;
    expect(seal.seal(to, beat).length).toBeLessThanOrEqual(packetBytesMax);
    const order = Array.from({ length: ringMembersMax }, (_, at) => memberId(longest(`g${at}`)));
    const merge = {
      kind: "merge",
      ring: { term: 1, maker: from.member },
      order,
      hearsYou: true,
    } as const;
    expect(seal.seal(to, merge).length).toBeLessThanOrEqual(packetBytesMax);
  });

  test.each([2, 8, ringMembersMax])(
    "fits a token that is as full as can be on a ring of %i",
    (count) => {
      const names = Array.from({ length: count }, (_, at) =>
        memberId(longest(`g${at}`)),
      ).toSorted();
      const [me, second] = names;
      if (me === undefined || second === undefined) throw new Error("no names");
      const state = makeRing(me, 2 ** 48 - 1, 0);
      const run = (event: Parameters<typeof stepRing>[1]): readonly RingEffect[] => {
        const out: RingEffect[] = [];
        stepRing(state, event, out);
        return out;
      };
      run({ kind: "gateways", gateways: names.map((one) => ({ member: one, boot: 1 })), nowMs: 0 });
      const nodes = Array.from({ length: 40 }, (_, at) => memberId(longest(`n${at}`)));
      run({ kind: "reach", unreachable: nodes, nowMs: 0 });
      for (const node of nodes) {
        const figures = { cpuPerMille: 9, queueBytes: 9, fsyncP99Micros: 9, diskFreePerMille: 9 };
        const rest = { users: 9, sessions: 9, ioPerSecond: 9 };
        const load = { member: node, boot: 1, seq: 1, ...figures, ...rest };
        run({ kind: "load", load, nowMs: 0 });
      }
      const ring = { term: 3, maker: second };
      const token = { kind: "token", ring, seq: 1, order: names, tableRevision: 0 } as const;
      run({ kind: "message", from: second, message: { ...token, reach: [], loads: [] }, nowMs: 1 });
      const [packet] = run({ kind: "tick", nowMs: 21 + 500 }).filter(
        (effect) => effect.kind === "send" && effect.message.kind === "token",
      );
      if (packet?.kind !== "send") throw new Error("no token was sent");
      const to = { member: second, incarnation: 2 ** 48 - 1 };
      const seal = new PacketSeal("one", { member: me, incarnation: 2 ** 48 - 1 }, [key]);
      const bytes = seal.seal(to, packet.message).length;
      expect(bytes).toBeLessThanOrEqual(packetBytesMax);
      if (count <= 8) expect(bytes).toBeGreaterThan(packetBytesMax - 120);
    },
  );
});

describe("a datagram is dropped", () => {
  test("when any bit of it was changed", () => {
    const [from, to] = [sealOf(g1), sealOf(g2)];
    const bytes = pack(from);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(to.open(changed).ok, `bit ${bit}`).toBe(false);
    }
    expect(to.open(bytes).ok).toBe(true);
  });

  test("when it is cut anywhere, or has more behind it", () => {
    const [from, to] = [sealOf(g1), sealOf(g2)];
    const bytes = pack(from);
    for (let end = 0; end < bytes.length; end++) {
      expect(to.open(bytes.subarray(0, end)).ok, `${end} bytes`).toBe(false);
    }
    expect(to.open(Buffer.concat([bytes, Buffer.alloc(1)])).ok).toBe(false);
    expect(why(to.open(Buffer.alloc(packetBytesMax + 1)))).toBe("malformed");
  });

  test("of another cluster, even with the same key", () => {
    expect(why(sealOf(g2).open(pack(sealOf(g1, { cluster: "two" }))))).toBe("forged");
  });

  test("signed with a key that is not ours, or not with the key it names", () => {
    const other = { id: 4, secret: systemRandom.bytes(32) };
    expect(why(sealOf(g2).open(pack(sealOf(g1, { keys: [other] }))))).toBe("otherKey");
    const liar = { id: key.id, secret: other.secret };
    expect(why(sealOf(g2).open(pack(sealOf(g1, { keys: [liar] }))))).toBe("forged");
  });

  test("for another member, or another start of this one", () => {
    const to = sealOf(g2);
    expect(why(to.open(pack(sealOf(g1), ack, { ...g2, member: memberId("g3") })))).toBe(
      "otherReceiver",
    );
    const later = pack(sealOf(g1), ack, { ...g2, incarnation: 8 });
    expect(why(to.open(later))).toBe("otherIncarnation");
  });

  test("of a member that is not listed, or of another start of one that is", () => {
    const to = sealOf(g2);
    const stranger = { member: memberId("g7"), incarnation: 5 };
    expect(why(to.open(pack(new PacketSeal("one", stranger, [key]))))).toBe("unknownSender");
    expect(why(to.open(pack(sealOf({ ...g1, incarnation: 4 }))))).toBe("otherIncarnation");
  });

  test("when it was taken before, however much later it comes again", () => {
    const [from, to] = [sealOf(g1), sealOf(g2)];
    const packets = Array.from({ length: 200 }, () => pack(from));
    for (const [at, packet] of packets.entries()) {
      expect(why(to.open(packet))).toBe("taken");
      for (const again of packets.slice(0, at + 1)) expect(why(to.open(again))).toBe("replayed");
    }
    to.setSenders([g1]);
    for (const packet of packets) expect(why(to.open(packet))).toBe("replayed");
  });

  test("but not when it was only overtaken: each packet counts once in any near order", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(30), { minLength: 1, maxLength: 120 }), (delays) => {
        const [from, to] = [sealOf(g1), sealOf(g2)];
        const packets = delays.map((delay, at) => ({ at: at + delay, bytes: pack(from) }));
        const arrived = packets.toSorted((a, b) => a.at - b.at);
        for (const { bytes } of arrived) expect(why(to.open(bytes))).toBe("taken");
        for (const { bytes } of arrived) expect(why(to.open(bytes))).toBe("replayed");
      }),
      { numRuns: 50 },
    );
  });
});

test("a new start of a member begins with fresh numbers", () => {
  const to = sealOf(g2);
  expect(why(to.open(pack(sealOf(g1))))).toBe("taken");
  const next = { ...g1, incarnation: 6 };
  to.setSenders([next]);
  expect(why(to.open(pack(sealOf(next))))).toBe("taken");
});

test("keys can be changed one member after another", () => {
  const fresh = { id: 4, secret: systemRandom.bytes(32) };
  const both = sealOf(g2, { keys: [key, fresh] });
  expect(why(both.open(pack(sealOf(g1, { keys: [fresh, key] }))))).toBe("taken");
  expect(why(sealOf(g2, { keys: [fresh, key] }).open(pack(sealOf(g1))))).toBe("taken");
});
