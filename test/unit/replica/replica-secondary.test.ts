// The replica state machine, following cluster.md "Replica state machine": the secondary's part, and
// how it catches up. The primary's part is in replica.test.ts.

import { describe, expect, test } from "vitest";
import { at, node, World } from "./replica-world.ts";

function pair(): World {
  const world = new World(["n1", "n2"]);
  world.start();
  world.pass();
  return world;
}

describe("secondary", () => {
  test("a gap is answered and filled", () => {
    const world = pair();
    world.propose("a");
    world.primary.step({ kind: "flush", nowMs: 0 });
    world.packets = [];
    world.propose("b");
    world.primary.step({ kind: "flush", nowMs: 0 });
    for (const packet of world.packets.splice(0)) world.deliver(packet);
    expect(world.packets.map((packet) => packet.message)).toMatchObject([
      { kind: "status", reason: "gap", lsn: 1 },
    ]);
    world.pass();
    expect(world.primary.committed).toBe(3);
  });

  test("a conflict cuts the unacknowledged tail, and only that", () => {
    const world = pair();
    world.propose("kept");
    world.settle(2);
    world.propose("lost by the primary");
    world.primary.step({ kind: "flush", nowMs: 0 });
    for (const packet of world.packets.splice(0)) world.deliver(packet);
    world.member("n2").sync();
    world.restart(world.primary);
    world.settle(1);
    expect(world.member("n2").log).toHaveLength(3);
    world.propose("instead");
    world.settle(2);
    expect(world.cuts).toBe(1);
    expect(world.member("n2").log.map((entry) => entry.ref)).toEqual([
      "newEpoch 1",
      "kept",
      "instead",
    ]);
    expect(world.primary.committed).toBe(3);
  });

  test("a copy that contradicts what was applied is damaged: alarm, no cut, no commit", () => {
    const world = pair();
    world.propose("a");
    world.settle(2);
    const secondary = world.member("n2");
    secondary.log = secondary.log.map((entry) => ({ ...entry, hash: entry.hash + 1, mark: 2 }));
    world.restart(secondary);
    world.propose("b");
    world.settle(3);
    expect(secondary.alarms).toContain("damaged");
    expect(world.primary.alarms).toContain("damaged");
    expect(world.cuts).toBe(0);
    expect(world.primary.committed).toBe(2);
  });

  test("a member whose log ends below what it acknowledged raises an alarm and is filled", () => {
    const world = pair();
    world.propose("a");
    world.settle(2);
    const secondary = world.member("n2");
    secondary.log = [];
    secondary.durable = 0;
    world.restart(secondary);
    world.settle(4);
    expect(world.primary.alarms).toEqual(["acknowledgedLost"]);
    expect(secondary.log).toHaveLength(2);
  });

  test("an entry whose blob is missing is answered NEED_BLOB and taken once it is there", () => {
    const world = pair();
    world.propose("blob:1");
    world.primary.step({ kind: "flush", nowMs: 0 });
    for (const packet of world.packets.splice(0)) world.deliver(packet);
    expect(world.member("n2").log).toHaveLength(1);
    expect(world.packets.map((packet) => packet.message)).toMatchObject([
      { kind: "needBlob", lsn: 2, blobs: ["blob:1"] },
    ]);
    world.pass();
    expect(world.member("n2").blobs.has("blob:1")).toBe(true);
    expect(world.primary.committed).toBe(2);
  });

  test("an acknowledgement meant for the primary's earlier life is ignored", () => {
    const world = pair();
    world.propose("a");
    world.primary.step({ kind: "flush", nowMs: 0 });
    for (const packet of world.packets.splice(0)) world.deliver(packet);
    world.member("n2").sync();
    world.member("n2").step({ kind: "flush", nowMs: 0 });
    const late = world.packets.splice(0);
    world.primary.crash();
    world.join(world.primary);
    world.settle(1);
    world.propose("b");
    world.primary.sync();
    const before = world.primary.committed;
    for (const packet of late) world.deliver(packet);
    expect(world.primary.committed).toBe(before);
  });

  test("entries that the log refuses are asked for again", () => {
    const world = pair();
    world.propose("a");
    world.propose("b");
    world.primary.step({ kind: "flush", nowMs: 0 });
    for (const packet of world.packets.splice(0)) world.deliver(packet);
    const secondary = world.member("n2");
    secondary.log.length = 2;
    secondary.step({ kind: "notLogged", tail: false, lsn: at(3) });
    world.pass();
    expect(world.primary.committed).toBe(2);
    world.settle(5);
    expect(world.primary.committed).toBe(3);
    expect(secondary.committed).toBe(3);
  });

  test("a secondary whose way back was cut says at once where it is", () => {
    const world = pair();
    world.propose("a");
    world.primary.step({ kind: "flush", nowMs: 0 });
    for (const packet of world.packets.splice(0)) world.deliver(packet);
    const secondary = world.member("n2");
    secondary.sync();
    secondary.step({ kind: "flush", nowMs: 0 });
    world.packets = [];
    secondary.step({ kind: "peerUp", node: node("n1"), nowMs: 0 });
    world.pass();
    expect(world.primary.committed).toBe(2);
  });

  test("a fsync reported for a suffix that was cut does not count for its replacement", () => {
    const world = pair();
    const secondary = world.member("n2");
    world.propose("a");
    world.primary.step({ kind: "flush", nowMs: 0 });
    for (const packet of world.packets.splice(0)) world.deliver(packet);
    const old = secondary.log.at(-1);
    world.restart(world.primary);
    world.packets.splice(0);
    world.primary.step({ kind: "peerUp", node: node("n2"), nowMs: 0 });
    for (let i = 0; i < 5; i += 1) {
      for (const packet of world.packets.splice(0)) world.deliver(packet);
      secondary.step({ kind: "flush", nowMs: 0 });
    }
    expect(world.primary.serves).toBe(true);
    world.primary.sync();
    world.propose("b");
    world.primary.step({ kind: "flush", nowMs: 0 });
    // The conflict, its answer when the suffix is saved and cut, and the entry again.
    for (let i = 0; i < 3; i += 1) {
      for (const packet of world.packets.splice(0)) world.deliver(packet);
      world.primary.step({ kind: "flush", nowMs: 0 });
    }
    expect(secondary.log.at(-1)?.ref).toBe(world.primary.log.at(-1)?.ref);
    expect(world.saves).toBe(1);
    if (old === undefined) throw new Error("no old entry");
    secondary.step({ kind: "durable", tail: false, lsn: old.lsn, hash: old.hash });
    expect(secondary.state.durableLsn).toBeLessThan(old.lsn);
  });
});

describe("catching up", () => {
  test("a secondary that was away gets what it missed, in rounds, then follows live", () => {
    const world = pair();
    world.disconnect(world.member("n1"), world.member("n2"));
    for (let i = 0; i < 20; i += 1) world.propose(`op ${i}`);
    world.connect(world.member("n1"), world.member("n2"));
    world.connect(world.member("n2"), world.member("n1"));
    world.settle(4);
    expect(world.primary.committed).toBe(21);
    world.propose("live");
    world.primary.step({ kind: "flush", nowMs: world.nowMs });
    expect(world.packets).toHaveLength(1);
    world.pass();
    expect(world.primary.committed).toBe(22);
  });

  test("when the log no longer reaches back the primary says so and stops feeding", () => {
    const world = pair();
    world.primary.step({ kind: "peerDown", node: node("n2") });
    world.propose("a");
    const { state } = world.primary;
    const peer = state.peers[0];
    if (peer === undefined) throw new Error("no peer");
    peer.mode = "feeding";
    world.primary.step({ kind: "feedGone", to: node("n2"), toInc: peer.inc, tail: false });
    expect(world.primary.alarms).toEqual(["tooFarBehind"]);
    world.settle(3);
    expect(world.primary.committed).toBe(1);
  });

  test("a flush ships a bounded piece, and nothing to a member that is held back", () => {
    const world = pair();
    world.settle(1);
    for (let i = 0; i < 10; i += 1) world.primary.propose(`op ${i}`, 400_000);
    const hold = new Set([node("n2")]);
    world.primary.step({ kind: "flush", nowMs: world.nowMs, hold });
    expect(world.packets).toHaveLength(0);
    world.primary.step({ kind: "flush", nowMs: world.nowMs });
    expect(world.packets[0]?.message).toMatchObject({ kind: "append", entries: { length: 3 } });
    for (let i = 0; i < 3; i += 1) world.primary.step({ kind: "flush", nowMs: world.nowMs });
    world.pass();
    expect(world.primary.committed).toBe(11);
  });

  test("changes of one flush travel in one message", () => {
    const world = pair();
    world.settle(1);
    for (let i = 0; i < 10; i += 1) world.propose(`op ${i}`);
    world.primary.step({ kind: "flush", nowMs: world.nowMs });
    expect(world.packets).toHaveLength(1);
  });
});
