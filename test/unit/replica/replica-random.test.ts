// Random histories of two and three replicas: crashes that lose unsynced entries, a network that
// loses, repeats and reorders. Committed prefixes must agree, acknowledged entries must survive.

import { describe, expect, test } from "vitest";
import { memberId } from "../../../src/mail/ids.ts";
import { randomFrom, World } from "./replica-world.ts";

function runSeed(seed: number, names: readonly string[]): World {
  const random = randomFrom(seed);
  const world = new World(names);
  world.start();
  const lossy = random() < 0.7 ? random() * 0.3 : 0;
  const crashes = random() < 0.8 ? 0.02 : 0;
  const pick = <T>(list: readonly T[]): T => {
    const found = list[Math.floor(random() * list.length)];
    if (found === undefined) throw new Error("nothing to pick from");
    return found;
  };
  for (let i = 0; i < 600; i += 1) {
    const dice = random();
    if (dice < 0.2) world.propose(random() < 0.05 ? `blob:${i}` : `op ${i}`);
    else if (dice < 0.6) exchange(world, random, lossy);
    else if (dice < 0.75) pick(world.members).sync();
    else if (dice < 0.9) pick(world.members).step({ kind: "flush", nowMs: world.nowMs });
    else if (dice < 0.9 + crashes) world.restart(pick(world.members));
    else if (dice < 0.95) {
      world.nowMs += Math.floor(random() * 800);
      pick(world.members).tick();
    } else if (dice < 0.96) flapLink(world, pick);
  }
  world.settle();
  // A secondary may keep a suffix that the primary lost; the next entry cuts it.
  world.propose("last");
  world.settle();
  return world;
}

function exchange(world: World, random: () => number, lossy: number): void {
  if (world.packets.length === 0) return;
  // Any packet may overtake the others; some are lost, some come twice.
  const index = random() < 0.5 ? 0 : Math.floor(random() * world.packets.length);
  const packet = world.packets[index];
  if (packet === undefined) return;
  const fate = random();
  if (fate >= lossy * 0.5) world.packets.splice(index, 1);
  if (fate < lossy) return;
  world.deliver(packet);
}

function flapLink(world: World, pick: <T>(list: readonly T[]) => T): void {
  const a = pick(world.members);
  const b = pick(world.members);
  if (a === b) return;
  world.disconnect(a, b);
  world.connect(a, b);
  world.connect(b, a);
}

function check(world: World): void {
  const { primary } = world;
  expect(primary.serves).toBe(true);
  for (const member of world.members) {
    expect(member.alarms).toEqual([]);
    expect(member.committed).toBe(primary.log.length);
    expect(member.log.map((entry) => entry.hash)).toEqual(primary.log.map((entry) => entry.hash));
  }
  for (const { lsn, hash } of world.acknowledged) expect(primary.log[lsn - 1]?.hash).toBe(hash);
}

describe("replicas over a bad network with crashes", () => {
  test("two members agree and lose nothing acknowledged", () => {
    let cuts = 0;
    let acknowledged = 0;
    for (let seed = 1; seed <= 150; seed += 1) {
      const world = runSeed(seed, ["n1", "n2"]);
      try {
        check(world);
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
      cuts += world.cuts;
      acknowledged += world.acknowledged.length;
    }
    // The histories must reach the hard cases, or the test says nothing.
    expect(cuts).toBeGreaterThan(8);
    expect(acknowledged).toBeGreaterThan(4_000);
  });

  test("three members agree and lose nothing acknowledged", () => {
    for (let seed = 1; seed <= 50; seed += 1) {
      const world = runSeed(seed, ["n1", "n2", "n3"]);
      try {
        check(world);
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
    }
  });

  test("the same seed gives the same history", () => {
    const [a, b] = [runSeed(7, ["n1", "n2"]), runSeed(7, ["n1", "n2"])];
    expect(a.primary.log).toEqual(b.primary.log);
    expect(a.acknowledged).toEqual(b.acknowledged);
  });

  test("a follower of another shard's primary is not listened to", () => {
    const world = new World(["n1", "n2"]);
    world.start();
    world.pass();
    const before = world.member("n2").log.length;
    const message = { kind: "append", entries: [], mark: 99, prevLsn: 0, prevHash: 0 };
    const base = { epoch: world.config.epoch, fromInc: 9, toInc: 1, tail: false };
    world.member("n2").step({
      kind: "message",
      from: memberId("n3"),
      message: { ...message, ...base, kind: "append", mark: 99 as never, prevLsn: 0 as never },
      nowMs: 0,
    });
    expect(world.member("n2").committed).toBeLessThanOrEqual(before);
    expect(world.member("n2").state.heardMark).toBeLessThan(99);
  });
});
