// The pulse's UDP socket against whoever can reach it: random, cut, changed, repeated packets and those
// of other clusters change nothing (cluster.md I12), while leases and the ring go on.

import { createSocket } from "node:dgram";
import type { Socket } from "node:dgram";
import { once } from "node:events";
import { afterEach, beforeEach, expect, test } from "vitest";
import { PacketSeal } from "../../src/cluster/pulse/packet-seal.ts";
import type { PulseMessage } from "../../src/cluster/pulse/packet-codec.ts";
import { heartbeatTimes, noVitals } from "../../src/cluster/protocol/heartbeat-types.ts";
import { SeededRandom, systemRandom } from "../../src/lib/random.ts";
import { epoch, memberId, shardId } from "../../src/mail/ids.ts";
import { leaseAgeMs, Pulses, until } from "../support/pulses.ts";

const shard = shardId(7);
const n1 = memberId("n1");
const n2 = memberId("n2");
const { leaseMs } = heartbeatTimes;

let pulses: Pulses;
const sockets: Socket[] = [];
beforeEach(() => {
  pulses = new Pulses();
});
afterEach(async () => {
  await pulses.stopAll();
  for (const socket of sockets.splice(0)) socket.close();
});

async function open(): Promise<Socket> {
  const socket = createSocket("udp4");
  sockets.push(socket);
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return socket;
}

async function send(socket: Socket, packets: readonly Uint8Array[], port: number): Promise<void> {
  for (const packet of packets) {
    await new Promise((done) => {
      socket.send(packet, port, "127.0.0.1", done);
    });
  }
}

test("a million random, changed and repeated packets: not one is taken", () => {
  const random = new SeededRandom(20);
  const key = { id: 0, secret: systemRandom.bytes(32) };
  const me = { member: n2, incarnation: 1 };
  const seal = new PacketSeal("one", me, [key]);
  seal.setSenders([{ member: n1, incarnation: 1 }]);
  const sender = new PacketSeal("one", { member: n1, incarnation: 1 }, [key]);
  const beat: PulseMessage = { kind: "beat", seq: 1, vitals: noVitals, pairs: [] };
  const genuine = Array.from({ length: 50 }, () => Buffer.from(sender.seal(me, beat)));
  for (const packet of genuine) expect(seal.open(packet).ok).toBe(true);
  let taken = 0;
  const scratch = Buffer.alloc(256);
  for (let round = 0; round < 1_000_000; round++) {
    const from = genuine[round % genuine.length];
    if (from === undefined) throw new Error("no packet");
    if (round % 3 === 0) {
      if (seal.open(from).ok) taken += 1;
      continue;
    }
    const length = round % 3 === 1 ? from.copy(scratch) : random.below(256);
    const at = random.below(Math.max(1, length));
    // Behind a genuine beginning, or at any place of a genuine packet, other bytes.
    scratch.writeUInt8(scratch.readUInt8(at) ^ (1 + random.below(255)), at);
    if (seal.open(scratch.subarray(0, length)).ok) taken += 1;
  }
  expect(taken).toBe(0);
}, 60_000);

test("a flood on the socket changes nothing but a counter, and leases stay fresh", async () => {
  const { pulse: primary } = await pulses.start("n1");
  const { pulse: secondary, events } = await pulses.start("n2");
  secondary.setGrant(shard, { epoch: epoch(3), primary: n1 });
  primary.setHold(shard, { epoch: epoch(3), secondaries: [n2] });
  await until(() => leaseAgeMs(primary, shard, "n2") < leaseMs);
  const key = { id: 0, secret: pulses.secret };
  const to = { member: n2, incarnation: 1 };
  const pairs = [{ shard: shardId(9), epoch: epoch(1) }];
  const beat: PulseMessage = { kind: "beat", seq: 1, vitals: noVitals, pairs };
  // Another cluster with the same key, a member nobody knows, an earlier start of one that is known,
  // another key, another receiver.
  const forgers = [
    new PacketSeal("other", { member: n1, incarnation: 1 }, [key]),
    new PacketSeal("test", { member: memberId("n9"), incarnation: 1 }, [key]),
    new PacketSeal("test", { member: n1, incarnation: 0 }, [key]),
    new PacketSeal("test", { member: n1, incarnation: 1 }, [
      { id: 0, secret: systemRandom.bytes(32) },
    ]),
  ];
  secondary.setGrant(shardId(9), { epoch: epoch(1), primary: n1 });
  const socket = await open();
  let worstMs = 0;
  for (let round = 0; round < 100; round++) {
    const forged = forgers.map((forger) => Buffer.from(forger.seal(to, beat)));
    const noise = Array.from({ length: 20 }, (_, at) => systemRandom.bytes(at * 60));
    await send(socket, [...forged, ...noise], secondary.port);
    worstMs = Math.max(worstMs, leaseAgeMs(primary, shard, "n2"));
  }
  await until(() => secondary.counters().dropped.forged > 100);
  const { dropped } = secondary.counters();
  expect(dropped.malformed).toBeGreaterThan(100);
  expect(dropped.unknownSender).toBeGreaterThan(0);
  expect(dropped.otherIncarnation).toBeGreaterThan(0);
  expect(secondary.lastGrantedMs(shardId(9))).toBe(-Infinity);
  expect(worstMs).toBeLessThan(leaseMs);
  expect(events.filter(({ kind }) => kind === "silent" || kind === "failed")).toEqual([]);
});

test("packets that a relay repeats and keeps back are taken once", async () => {
  const { pulse: g1 } = await pulses.start("g1");
  const { pulse: g2, events } = await pulses.start("g2");
  const relay = await open();
  const kept: Buffer[] = [];
  relay.on("message", (packet) => {
    kept.push(packet);
    const again = kept.length > 20 ? kept.slice(0, 10) : [];
    for (const one of [packet, packet, ...again]) relay.send(one, g2.port, "127.0.0.1");
  });
  const { port } = relay.address();
  pulses.introduce((peer, at) => (at === "g1" ? { ...peer, port } : peer));
  await until(() => [g1, g2].every((pulse) => pulse.ring()?.order.join(" ") === "g1 g2"));
  await until(() => g2.counters().dropped.replayed > 500);
  const ring = g2.ring()?.ring;
  await until(() => g2.counters().dropped.replayed > 1000);
  // The ring turned all the while, and is the same one.
  expect(g2.ring()?.ring).toEqual(ring);
  expect(g2.ring()?.order).toEqual(["g1", "g2"]);
  expect(events.filter(({ kind }) => kind === "acting" || kind === "failed").length).toBeLessThan(
    6,
  );
});
