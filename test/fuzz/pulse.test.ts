// Datagram bodies from bytes that nobody meant: the decoder says DecodeError or gives a message that is
// encoded to the same bytes; both machines take any message without a failure of their own.

import fc from "fast-check";
import { expect, test } from "vitest";
import { PacketReader, PacketWriter } from "../../src/cluster/pulse/packet-bytes.ts";
import { readBody, typeOf, writeBody } from "../../src/cluster/pulse/packet-codec.ts";
import type { PulseMessage } from "../../src/cluster/pulse/packet-codec.ts";
import { makeHeartbeat, stepHeartbeat } from "../../src/cluster/protocol/heartbeat.ts";
import { makeRing, nextRingMs, stepRing } from "../../src/cluster/protocol/ring.ts";
import { ringMembersMax } from "../../src/cluster/protocol/ring-types.ts";
import { DecodeError } from "../../src/lib/decode.ts";
import { epoch, memberId, shardId } from "../../src/mail/ids.ts";

const g1 = memberId("g1");
const g2 = memberId("g2");

const ring = { term: 3, maker: g2 };
const order = [g1, g2];
const vitals = { loopLagMs: 1, fsyncP99Ms: 2, diskFreePerMille: 3, damaged: 4 };
const figures = { cpuPerMille: 1, queueBytes: 2, fsyncP99Micros: 3, diskFreePerMille: 4 };
const load = { member: g2, boot: 1, seq: 2, ...figures, users: 1, sessions: 2, ioPerSecond: 3 };
const report = { gateway: g2, boot: 1, seq: 3, unreachable: [memberId("n1")] };
const reach = [report];
const loads = [{ load, ageMs: 5 }];
const messages: readonly PulseMessage[] = [
  { kind: "beat", seq: 1, vitals, pairs: [{ shard: shardId(0), epoch: epoch(1) }] },
  { kind: "beatAck", seq: 1, vitals, refused: [shardId(0)] },
  { kind: "token", ring, seq: 4, order, tableRevision: 5, reach, loads },
  { kind: "hopAck", ring, seq: 1 },
  { kind: "pinned", ring, seq: 1 },
  { kind: "join", ring, hearsYou: true },
  { kind: "form", ring, order },
  { kind: "merge", ring, order: [g2], hearsYou: true },
  { kind: "reach", report },
];

/** A body with some bytes changed, cut or put in; or only noise. */
const packet = fc
  .record({
    message: fc.constantFrom(...messages),
    edits: fc.array(
      fc.record({
        at: fc.nat(80),
        byte: fc.integer({ min: 0, max: 255 }),
        cut: fc.constantFrom(1, 1, 1, 0, 2),
      }),
      { maxLength: 3 },
    ),
    noise: fc.option(fc.uint8Array({ maxLength: 200 }), { freq: 8 }),
  })
  .map(({ message, edits, noise }) => {
    const writer = new PacketWriter();
    writeBody(writer, message);
    let bytes = Buffer.from(noise ?? writer.view());
    for (const { at, byte, cut } of edits) {
      const place = at % (bytes.length + 1);
      const [before, after] = [bytes.subarray(0, place), bytes.subarray(place + cut)];
      bytes = Buffer.concat([before, Buffer.from([byte]), after]);
    }
    return { type: typeOf(message), bytes };
  });

function decode(type: number, bytes: Buffer): PulseMessage | undefined {
  try {
    return readBody(type, new PacketReader(bytes));
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

test("any bytes are a message that is written the same again, or no message", () => {
  let taken = 0;
  fc.assert(
    fc.property(packet, ({ type, bytes }) => {
      const message = decode(type, bytes);
      if (message === undefined) return;
      taken += 1;
      expect(typeOf(message)).toBe(type);
      const writer = new PacketWriter();
      writeBody(writer, message);
      expect(decode(type, Buffer.from(writer.view()))).toEqual(message);
    }),
    { numRuns: 20_000 },
  );
  expect(taken).toBeGreaterThan(1000);
});

test("the machines take any message of a known member", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(packet, fc.nat(400)), { maxLength: 30 }), (packets) => {
      let nowMs = 0;
      const gateway = makeRing(g1, 1, nowMs);
      const heartbeat = makeHeartbeat(g1, nowMs);
      stepRing(gateway, { kind: "gateways", gateways: [{ member: g2, boot: 1 }], nowMs }, []);
      const hold = { epoch: epoch(1), secondaries: [g2] };
      stepHeartbeat(heartbeat, { kind: "hold", shard: shardId(0), hold, nowMs }, []);
      for (const [{ type, bytes }, waitMs] of packets) {
        nowMs += waitMs;
        const message = decode(type, bytes);
        if (message?.kind === "beat" || message?.kind === "beatAck") {
          stepHeartbeat(heartbeat, { kind: "message", from: g2, message, nowMs }, []);
        } else if (message !== undefined) {
          stepRing(gateway, { kind: "message", from: g2, message, nowMs }, []);
        }
        // What is due is done in a few steps: the thread never spins.
        for (let tick = 0; tick < 4; tick++) stepRing(gateway, { kind: "tick", nowMs }, []);
        stepHeartbeat(heartbeat, { kind: "tick", nowMs }, []);
        expect(nextRingMs(gateway)).toBeGreaterThan(nowMs);
        expect(gateway.joiners.size).toBeLessThanOrEqual(1);
        expect(gateway.order.length).toBeLessThanOrEqual(ringMembersMax);
      }
    }),
    { numRuns: 3000 },
  );
});
