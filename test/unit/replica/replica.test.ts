// The replica state machine, following cluster.md "Replica state machine" paragraph by paragraph
// as far as the data path goes; leases, seals, promotion and tails are in replica-failover.test.ts.

import { describe, expect, test } from "vitest";
import { config, World } from "./replica-world.ts";

function pair(): World {
  const world = new World(["n1", "n2"]);
  world.start();
  world.pass();
  return world;
}

describe("serve", () => {
  test("a new primary serves only after NEWEPOCH is on both disks", () => {
    const world = new World(["n1", "n2"]);
    world.start();
    expect(world.primary.serves).toBe(false);
    world.pass();
    expect(world.primary.serves).toBe(true);
    expect(world.primary.log.map((entry) => entry.ref)).toEqual(["newEpoch 1"]);
    expect(world.member("n2").serves).toBe(false);
  });

  test("a change proposed to a secondary, or before serving, is refused with the epoch", () => {
    const world = new World(["n1", "n2"]);
    world.start();
    world.propose("early");
    expect(world.primary.refused).toEqual([{ ref: "early", why: "notServing" }]);
    world.pass();
    world.member("n2").propose("wrong");
    expect(world.member("n2").refused).toEqual([{ ref: "wrong", why: "notServing" }]);
  });

  test("after a restart nothing is served before the table was read", () => {
    const world = pair();
    world.restart(world.primary, false);
    world.pass();
    expect(world.primary.serves).toBe(false);
    world.join(world.primary);
    world.settle(2);
    expect(world.primary.serves).toBe(true);
  });

  test("after a restart it waits until everything in the log at the start is committed", () => {
    const world = pair();
    world.disconnect(world.member("n1"), world.member("n2"));
    world.propose("unacknowledged");
    world.primary.sync();
    world.primary.crash();
    world.join(world.primary);
    expect(world.primary.serves).toBe(false);
    world.connect(world.member("n1"), world.member("n2"));
    world.connect(world.member("n2"), world.member("n1"));
    world.settle(2);
    expect(world.primary.serves).toBe(true);
    expect(world.primary.log.map((entry) => entry.ref)).toEqual(["newEpoch 1", "unacknowledged"]);
    expect(world.primary.committed).toBe(2);
  });

  test("an epoch that has its NEWEPOCH gets no second one after a restart", () => {
    const world = pair();
    world.restart(world.primary);
    world.settle(2);
    expect(world.primary.log).toHaveLength(1);
  });

  test("a table that went back below the disk's epoch is refused and alarmed", () => {
    const world = pair();
    world.config = config(5, ["n1", "n2"]);
    for (const member of world.members) world.join(member);
    world.settle(2);
    world.config = config(4, ["n1", "n2"]);
    world.restart(world.primary);
    world.settle(2);
    expect(world.primary.alarms).toEqual(["tableBehind"]);
    expect(world.primary.serves).toBe(false);
  });
});

describe("epochs", () => {
  test("every epoch begins with NEWEPOCH, also when the primary stays", () => {
    const world = pair();
    world.propose("a");
    world.pass();
    world.config = config(2, ["n1", "n2"]);
    for (const member of world.members) world.join(member);
    expect(world.primary.serves).toBe(false);
    world.settle(2);
    expect(world.primary.log.map((entry) => entry.ref)).toEqual(["newEpoch 1", "a", "newEpoch 2"]);
    expect(world.primary.serves).toBe(true);
  });

  test("a secondary that has not heard of the epoch yet takes nothing until it has", () => {
    const world = pair();
    world.config = config(2, ["n1", "n2"]);
    world.join(world.primary);
    world.settle(3);
    expect(world.member("n2").log).toHaveLength(1);
    world.join(world.member("n2"));
    world.settle(10);
    expect(world.member("n2").log).toHaveLength(2);
    expect(world.primary.serves).toBe(true);
  });

  test("with the members changed, the old primary refuses and the new one serves", () => {
    const world = pair();
    world.propose("a");
    world.settle(2);
    world.config = config(2, ["n2", "n1"]);
    for (const member of world.members) world.join(member);
    world.settle(3);
    expect(world.member("n1").serves).toBe(false);
    expect(world.member("n2").serves).toBe(true);
    expect(world.member("n1").log.map((entry) => entry.ref)).toEqual([
      "newEpoch 1",
      "a",
      "newEpoch 2",
    ]);
  });

  test("a config heard again changes nothing", () => {
    const world = pair();
    world.propose("a");
    world.join(world.primary);
    world.pass();
    expect(world.primary.committed).toBe(2);
  });
});

describe("commit", () => {
  test("an entry is not committed on the primary's disk alone", () => {
    const world = pair();
    world.propose("a");
    world.primary.sync();
    world.primary.step({ kind: "flush", nowMs: 0 });
    expect(world.primary.committed).toBe(1);
  });

  test("an entry is not committed on the secondary's disk alone", () => {
    const world = pair();
    world.propose("a");
    for (const member of world.members) member.step({ kind: "flush", nowMs: 0 });
    for (const packet of world.packets.splice(0)) world.deliver(packet);
    world.member("n2").sync();
    world.member("n2").step({ kind: "flush", nowMs: 0 });
    for (const packet of world.packets.splice(0)) world.deliver(packet);
    expect(world.primary.committed).toBe(1);
    world.primary.sync();
    expect(world.primary.committed).toBe(2);
  });

  test("a secondary acknowledges only what is fsynced there", () => {
    const world = pair();
    world.propose("a");
    world.primary.sync();
    world.primary.step({ kind: "flush", nowMs: 0 });
    for (const packet of world.packets.splice(0)) world.deliver(packet);
    world.member("n2").step({ kind: "flush", nowMs: 0 });
    for (const packet of world.packets.splice(0)) world.deliver(packet);
    expect(world.primary.committed).toBe(1);
    expect(world.member("n2").log).toHaveLength(2);
  });

  test("fewer members than minCopies commit nothing; with minCopies 1 one is enough", () => {
    const alone = new World(["n1"]);
    alone.start();
    alone.pass();
    expect(alone.primary.committed).toBe(0);
    const single = new World(["n1"]);
    single.config = config(1, ["n1"], 1);
    single.start();
    single.pass();
    expect(single.primary.serves).toBe(true);
  });

  test("with two secondaries both must have it", () => {
    const world = new World(["n1", "n2", "n3"]);
    world.start();
    world.pass();
    world.disconnect(world.member("n1"), world.member("n3"));
    world.propose("a");
    world.settle(2);
    expect(world.primary.committed).toBe(1);
    world.connect(world.member("n1"), world.member("n3"));
    world.connect(world.member("n3"), world.member("n1"));
    world.settle(2);
    expect(world.primary.committed).toBe(2);
  });

  test("after 5 s the outcome is unknown; the entry stays and commits later", () => {
    const world = pair();
    world.disconnect(world.member("n1"), world.member("n2"));
    world.propose("a");
    world.nowMs += 4999;
    world.primary.tick();
    expect(world.primary.expired).toEqual([]);
    world.nowMs += 1;
    world.primary.tick();
    expect(world.primary.expired).toEqual([2]);
    world.primary.tick();
    expect(world.primary.expired).toEqual([2]);
    world.propose("b");
    world.nowMs += 5000;
    world.primary.tick();
    expect(world.primary.expired).toEqual([2, 3]);
    world.connect(world.member("n1"), world.member("n2"));
    world.connect(world.member("n2"), world.member("n1"));
    world.settle(2);
    expect(world.primary.committed).toBe(3);
  });

  test("too much uncommitted is refused, and taken again once it is committed", () => {
    const world = pair();
    world.disconnect(world.member("n1"), world.member("n2"));
    const bytes = 33 * 1024 * 1024;
    for (const ref of ["a", "b"]) {
      world.primary.propose(ref, bytes);
    }
    expect(world.primary.refused).toEqual([{ ref: "b", why: "backlog" }]);
    world.connect(world.member("n1"), world.member("n2"));
    world.connect(world.member("n2"), world.member("n1"));
    world.settle(2);
    world.primary.propose("b", bytes);
    expect(world.primary.refused).toHaveLength(1);
  });

  test("the secondary applies up to the commit mark, also when nothing follows", () => {
    const world = pair();
    world.propose("a");
    world.settle(2);
    expect(world.member("n2").committed).toBe(2);
    expect(world.member("n2").applied).toEqual([1, 2]);
  });
});
