// How soon a primary wants a secondary removed whose process is gone, or says that it goes. The rest of
// REMOVE_SECONDARY is in replica-failover.test.ts.

import { describe, expect, test } from "vitest";
import { config, node, World } from "./replica-world.ts";

/** A pair whose last acknowledged heartbeat was sent at 1000 ms. */
function pair(): World {
  const world = new World(["n1", "n2"], { graceMs: 750 });
  world.start();
  world.pass();
  world.nowMs = 1000;
  world.primary.leaseStartMs = () => 1000;
  world.primary.tick();
  return world;
}

describe("a secondary whose link broke", () => {
  test("is removed when it answers no heartbeat, sooner than one that is only silent", () => {
    const world = pair();
    world.disconnect(world.primary, world.member("n2"));
    world.nowMs = 1249;
    world.primary.tick();
    expect(world.primary.state.wish).toBeUndefined();
    world.nowMs = 1250;
    world.primary.tick();
    expect(world.primary.state.wish).toMatchObject({ kind: "removeSecondary", settled: true });
  });

  test("stays as long as it answers heartbeats and owes nothing", () => {
    const world = pair();
    world.disconnect(world.primary, world.member("n2"));
    world.nowMs = 5000;
    world.primary.leaseStartMs = () => 4751;
    world.primary.tick();
    expect(world.primary.state.wish).toBeUndefined();
  });

  test("has as long in a new epoch, whose leases begin anew", () => {
    const world = pair();
    world.disconnect(world.primary, world.member("n2"));
    world.primary.leaseStartMs = () => Number.NEGATIVE_INFINITY;
    world.nowMs = 1200;
    world.config = config(2, ["n1", "n2"]);
    world.join(world.primary);
    world.nowMs = 1449;
    world.primary.tick();
    expect(world.primary.state.wish).toBeUndefined();
    world.nowMs = 1450;
    world.primary.tick();
    expect(world.primary.state.wish).toMatchObject({ kind: "removeSecondary" });
  });
});

describe("a primary with a slow disk", () => {
  test("does not remove a secondary for what is not on its own disk yet", () => {
    const world = pair();
    world.primary.leaseStartMs = () => world.nowMs;
    // Nothing arrives: a secondary that is fed gets what the primary can read from its log.
    world.filter = () => false;
    world.propose("a");
    for (let ms = 0; ms < 5000; ms += 50) {
      world.nowMs += 50;
      world.primary.tick();
    }
    expect(world.primary.state.wish).toBeUndefined();
    world.primary.sync();
    const durableMs = world.nowMs;
    world.primary.tick();
    for (; world.nowMs < durableMs + 1950; world.primary.tick()) world.nowMs += 50;
    expect(world.primary.state.wish).toBeUndefined();
    world.nowMs = durableMs + 2000;
    world.primary.tick();
    expect(world.primary.state.wish).toMatchObject({ kind: "removeSecondary" });
  });

  test("ships what an epoch begins with before it is on its own disk", () => {
    const world = pair();
    world.primary.leaseStartMs = () => world.nowMs;
    const secondary = world.member("n2");
    world.config = config(2, ["n1", "n2"]);
    world.join(world.primary);
    world.join(secondary);
    const { length } = world.primary.log;
    for (let round = 0; round < 4; round += 1) {
      const batch = world.packets.splice(0);
      for (const packet of batch) world.deliver(packet);
      secondary.sync();
      for (const member of [world.primary, secondary])
        member.step({ kind: "flush", nowMs: world.nowMs });
    }
    expect(secondary.durable).toBe(length);
    expect(world.primary.durable).toBe(length - 1);
    expect(world.primary.committed).toBe(length - 1);
    world.primary.sync();
    expect(world.primary.committed).toBe(length);
  });
});

describe("a secondary that says it stops", () => {
  function leave(world: World, name: string): void {
    world.primary.step({ kind: "peerLeaving", node: node(name), nowMs: world.nowMs });
  }

  test("is to be removed at once, and nothing is committed until it is", () => {
    const world = pair();
    leave(world, "n2");
    expect(world.primary.state.wish).toMatchObject({
      kind: "removeSecondary",
      secondary: { node: "n2" },
      commitMark: 1,
    });
    world.propose("a");
    world.pass();
    expect(world.primary.committed).toBe(1);
    world.config = config(2, ["n1"]);
    world.config = { ...world.config, minCopies: 1 };
    world.join(world.primary);
    world.pass();
    expect(world.primary.committed).toBe(3);
  });

  test("is nothing to one that is not its primary, or has ended its epoch, or must wait yet", () => {
    const world = pair();
    leave(world, "n3");
    expect(world.primary.state.asking).toBeUndefined();
    const secondary = world.member("n2");
    secondary.step({ kind: "peerLeaving", node: node("n1"), nowMs: world.nowMs });
    expect(secondary.state.wish).toBeUndefined();
    world.primary.state.waitUntilMs = 1001;
    leave(world, "n2");
    expect(world.primary.state.asking).toBeUndefined();
    world.primary.state.waitUntilMs = 0;
    world.primary.step({ kind: "handOver", epoch: world.config.epoch, nowMs: world.nowMs });
    leave(world, "n2");
    expect(world.primary.state.asking).toBeUndefined();
  });
});
