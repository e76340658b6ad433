// The replica state machine: HANDOVER, and a primary that is alone where two copies are wanted.

import { describe, expect, test } from "vitest";
import { epoch } from "../../../src/mail/ids.ts";
import { holdOf } from "../../../src/cluster/protocol/replica.ts";
import { positionOf } from "../../../src/cluster/protocol/replica-report.ts";
import type { Member } from "./replica-member.ts";
import { config, node, World } from "./replica-world.ts";

const limits = { graceMs: 750 };

function pair(): World {
  const world = new World(["n1", "n2"], limits);
  world.start();
  world.pass();
  return world;
}

function join(world: World, ...members: readonly string[]): void {
  for (const name of members) world.join(world.member(name));
}

function lastAnswer(member: Member): string | undefined {
  return member.answers.at(-1)?.kind;
}

describe("HANDOVER", () => {
  function handOver(world: World): void {
    world.primary.step({ kind: "handOver", epoch: world.config.epoch, nowMs: world.nowMs });
  }

  test("settles what is under way, then ends the epoch for reads and writes for ever", () => {
    const world = pair();
    world.nowMs = 1000;
    world.propose("a");
    handOver(world);
    world.propose("too late");
    expect(world.primary.refused).toEqual([{ ref: "too late", why: "notServing" }]);
    expect(world.primary.serves).toBe(true);
    expect(world.primary.answers).toEqual([]);
    world.pass();
    expect(world.primary.answers).toEqual([{ kind: "handedOver", epoch: 1 }]);
    expect(positionOf(world.primary.state)).toMatchObject({ lastLsn: 2, commitMark: 2 });
    expect(world.primary.serves).toBe(false);
    world.restart(world.primary);
    world.settle(5);
    expect(world.primary.serves).toBe(false);
    expect(world.primary.state.wish).toMatchObject({ kind: "handedOver", lastLsn: 2 });
    expect(holdOf(world.primary.state)).toBeUndefined();
  });

  test("is refused when its members don't keep up; then it serves on", () => {
    const world = pair();
    world.nowMs = 1000;
    world.disconnect(world.primary, world.member("n2"));
    world.propose("a");
    handOver(world);
    world.nowMs += 500;
    world.primary.tick();
    expect(world.primary.answers).toEqual([{ kind: "handOverRefused", epoch: 1 }]);
    world.propose("b");
    expect(world.primary.refused).toEqual([]);
  });

  test("waits for the end of its own wait: its successor goes by that", () => {
    const world = pair();
    world.settle(2);
    world.restart(world.primary);
    world.pass();
    handOver(world);
    world.primary.sync();
    expect(world.primary.answers).toEqual([]);
    world.nowMs += 499;
    world.primary.tick();
    expect(world.primary.answers).toEqual([]);
  });

  test("giving it up is another epoch with the same primary", () => {
    const world = pair();
    world.nowMs = 1000;
    handOver(world);
    world.pass();
    world.config = config(2, ["n1", "n2"]);
    join(world, "n1", "n2");
    world.settle(1);
    expect(world.primary.serves).toBe(true);
  });

  test("of another epoch, or to a secondary, is refused", () => {
    const world = pair();
    const order = { kind: "handOver", epoch: epoch(7), nowMs: 0 } as const;
    world.primary.step(order);
    world.member("n2").step({ ...order, epoch: epoch(1) });
    expect(lastAnswer(world.primary)).toBe("handOverRefused");
    expect(lastAnswer(world.member("n2"))).toBe("handOverRefused");
  });
});

describe("a primary that is alone where two copies are wanted", () => {
  function alone(): World {
    const world = pair();
    world.nowMs = 1000;
    world.propose("maybe acknowledged");
    world.primary.step({ kind: "flush", nowMs: world.nowMs });
    for (const packet of world.packets.splice(0)) world.deliver(packet);
    world.member("n2").sync();
    world.disconnect(world.primary, world.member("n2"));
    world.config = config(2, ["n2"]);
    join(world, "n2");
    world.primary.sync();
    world.nowMs += 1000;
    return world;
  }

  test("shows what its log held and serves reads, but commits nothing", () => {
    const world = alone();
    const { primary } = world;
    expect(primary.serves).toBe(true);
    expect(primary.shown).toBe(3);
    expect(primary.committed).toBe(1);
    expect(world.acknowledged.map((entry) => entry.lsn)).toEqual([1]);
  });

  test("takes changes for a while, then refuses them", () => {
    const world = alone();
    world.propose("new");
    world.primary.sync();
    expect(world.primary.log).toHaveLength(4);
    expect(world.primary.shown).toBe(3);
    world.nowMs += 5000;
    world.propose("newer");
    expect(world.primary.refused).toEqual([{ ref: "newer", why: "backlog" }]);
  });

  test("commits all of it once a second copy has it", () => {
    const world = alone();
    world.propose("new");
    world.config = config(3, ["n2", "n1"]);
    join(world, "n1", "n2");
    world.connect(world.member("n1"), world.member("n2"));
    world.connect(world.member("n2"), world.member("n1"));
    world.settle(3);
    expect(world.primary.committed).toBe(5);
    expect(world.member("n1").log).toEqual(world.primary.log);
    expect(world.primary.applied).toEqual([1, 4, 5]);
  });

  test("what was shown is never cut", () => {
    const world = alone();
    const { state } = world.primary;
    expect(state.shownLsn).toBe(3);
    expect(state.tail.baseLsn).toBe(1);
    expect(positionOf(state)).toMatchObject({ commitMark: 1, lastLsn: 3 });
  });

  test("with minCopies 1 it goes on", () => {
    const world = pair();
    world.config = config(2, ["n1"], 1);
    join(world, "n1", "n2");
    world.propose("a");
    world.primary.sync();
    world.propose("b");
    world.primary.sync();
    expect(world.primary.committed).toBe(3);
    expect(node("n1")).toBe(world.config.primary.node);
  });
});
