// The replica state machine where epochs end and begin: leases, SEAL, waiting, REMOVE_SECONDARY.
// cluster.md "Replica state machine". HANDOVER is in replica-handover.test.ts, tails in replica-tail.test.ts.

import { describe, expect, test } from "vitest";
import { epoch, lsn } from "../../../src/mail/ids.ts";
import { grantOf, holdOf, stepReplica } from "../../../src/cluster/protocol/replica.ts";
import { positionOf, sealAnswerOf } from "../../../src/cluster/protocol/replica-report.ts";
import type { ReplicaEffect } from "../../../src/cluster/protocol/replica-types.ts";
import type { Member } from "./replica-member.ts";
import { config, World } from "./replica-world.ts";
import { tailFirst } from "./tail-support.ts";

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

/** Seals `name` in the present epoch, as a manager that no gateway's word stops. */
function seal(world: World, name: string): void {
  const { epoch: of } = world.config;
  const heardMs = Number.NEGATIVE_INFINITY;
  const { nowMs } = world;
  world.member(name).step({ kind: "seal", epoch: of, evenIfHeard: true, heardMs, nowMs });
}

function lastAnswer(member: Member): string | undefined {
  return member.answers.at(-1)?.kind;
}

describe("leases", () => {
  test.each([
    { ageMs: 0, serves: true },
    { ageMs: 599, serves: true },
    { ageMs: 600, serves: false },
    { ageMs: Number.POSITIVE_INFINITY, serves: false },
  ])("with a lease that began $ageMs ms ago it serves: $serves", ({ ageMs, serves }) => {
    const world = pair();
    world.primary.leaseStartMs = () => world.nowMs - ageMs;
    expect(world.primary.serves).toBe(serves);
    world.propose("a");
    expect(world.primary.refused).toHaveLength(serves ? 0 : 1);
  });

  test("one stale lease of two is enough to stop", () => {
    const world = new World(["n1", "n2", "n3"], limits);
    world.start();
    world.pass();
    world.primary.leaseStartMs = (peer) => (peer === "n3" ? -1000 : 0);
    expect(world.primary.serves).toBe(false);
  });

  test("a lease towards a secondary that only catches up is needed, too", () => {
    const world = pair();
    world.propose("a");
    world.settle(2);
    const [secondary] = world.config.secondaries;
    if (secondary === undefined) throw new Error("no secondary");
    const { commitMark, markHash } = positionOf(world.primary.state);
    const tail = { full: false, fromLsn: lsn(commitMark + 1), anchorHash: markHash };
    world.config = { ...config(2, ["n1", "n2"]), secondaries: [{ ...secondary, ...tail }] };
    join(world, "n1", "n2");
    world.settle(1);
    expect(world.primary.serves).toBe(true);
    world.primary.leaseStartMs = () => world.nowMs - 600;
    expect(world.primary.serves).toBe(false);
  });

  test("a secondary grants for its config, and not when sealed", () => {
    const world = pair();
    const { state } = world.member("n2");
    expect(grantOf(state)).toEqual({ epoch: 1, primary: "n1" });
    expect(holdOf(state)).toBeUndefined();
    expect(holdOf(world.primary.state)).toEqual({ epoch: 1, secondaries: ["n2"] });
    seal(world, "n2");
    expect(grantOf(state)).toBeUndefined();
  });
});

describe("SEAL", () => {
  test("is answered when it is on disk; from then on nothing is acknowledged or logged", () => {
    const world = pair();
    const secondary = world.member("n2");
    seal(world, "n2");
    expect(secondary.answers).toEqual([]);
    secondary.sync();
    expect(secondary.answers).toEqual([{ kind: "sealed", epoch: 1 }]);
    world.propose("late");
    world.settle(2);
    expect(secondary.log).toHaveLength(1);
    expect(world.primary.committed).toBe(1);
  });

  test("an acknowledgement that was due before the seal is not sent after it", () => {
    const world = pair();
    const secondary = world.member("n2");
    world.propose("a");
    world.primary.step({ kind: "flush", nowMs: 0 });
    for (const packet of world.packets.splice(0)) world.deliver(packet);
    seal(world, "n2");
    secondary.sync();
    secondary.step({ kind: "flush", nowMs: 0 });
    expect(world.packets).toEqual([]);
    expect(sealAnswerOf(secondary.state)).toMatchObject({ lastLsn: 2, full: true, epoch: 1 });
  });

  test("survives a crash once it is answered", () => {
    const world = pair();
    const secondary = world.member("n2");
    seal(world, "n2");
    secondary.sync();
    world.restart(secondary);
    world.propose("late");
    world.settle(2);
    expect(world.primary.committed).toBe(1);
    expect(secondary.state.wish).toMatchObject({ kind: "sealed", epoch: 1 });
  });

  test.each([
    { heardAgo: 100, evenIfHeard: false, up: true, answer: "sealRefused" },
    { heardAgo: 100, evenIfHeard: true, up: true, answer: "sealed" },
    { heardAgo: 100, evenIfHeard: false, up: false, answer: "sealed" },
    { heardAgo: 500, evenIfHeard: false, up: true, answer: "sealed" },
  ])("heard $heardAgo ms ago, link up $up, evenIfHeard $evenIfHeard: $answer", (row) => {
    const world = pair();
    const secondary = world.member("n2");
    if (!row.up) world.disconnect(world.primary, secondary);
    const { nowMs } = world;
    const { evenIfHeard } = row;
    const heardMs = nowMs - row.heardAgo;
    secondary.step({ kind: "seal", epoch: epoch(1), evenIfHeard, heardMs, nowMs });
    secondary.sync();
    expect(lastAnswer(secondary)).toBe(row.answer);
  });

  test("of an older epoch is refused, by the epoch's primary too", () => {
    const world = pair();
    world.config = config(2, ["n1", "n2"]);
    join(world, "n1", "n2");
    const at = { evenIfHeard: true, heardMs: 0, nowMs: 0 };
    world.member("n2").step({ kind: "seal", epoch: epoch(1), ...at });
    expect(world.member("n2").answers).toEqual([{ kind: "sealRefused", epoch: 1, why: "newer" }]);
    world.primary.step({ kind: "seal", epoch: epoch(2), ...at });
    expect(world.primary.answers).toEqual([{ kind: "sealRefused", epoch: 2, why: "heard" }]);
  });

  test("waits until the pulse has confirmed", () => {
    const world = pair();
    const { state } = world.member("n2");
    state.sealing = 2; // As if the pulse had been asked.
    world.member("n2").step({ kind: "revoked", epoch: epoch(1), lastGrantedMs: 0, nowMs: 0 });
    expect(state.sealedEpoch).toBe(0);
    world.member("n2").step({ kind: "revoked", epoch: epoch(2), lastGrantedMs: 0, nowMs: 0 });
    expect(state.sealedEpoch).toBe(2);
  });
});

describe("becoming primary", () => {
  function promote(world: World, lastGrantedMs: number, endedEpoch?: number): Member {
    const next = world.member("n2");
    next.lastGrantedMs = lastGrantedMs;
    const ended = endedEpoch === undefined ? {} : { endedEpoch: epoch(endedEpoch) };
    world.config = { ...config(2, ["n2", "n1"]), ...ended };
    join(world, "n1", "n2");
    world.pass();
    return next;
  }

  test("it serves GRACE after the last lease it granted, not before", () => {
    const world = pair();
    world.nowMs = 10_000;
    const next = promote(world, 9_900);
    world.nowMs = 10_649;
    expect(next.serves).toBe(false);
    world.nowMs = 10_650;
    expect(next.serves).toBe(true);
  });

  test("it waits for the pulse before it knows how long", () => {
    const world = pair();
    const next = world.member("n2");
    const { state } = next;
    promote(world, Number.NEGATIVE_INFINITY);
    state.waitUntilMs = Number.POSITIVE_INFINITY;
    world.nowMs = 1e9;
    expect(next.serves).toBe(false);
  });

  test("a wait for the pulse that another epoch interrupts ends as well", () => {
    const world = pair();
    const { state } = world.member("n2");
    const out: ReplicaEffect<string>[] = [];
    for (const at of [2, 3]) {
      const next = config(at, ["n2", "n1"]);
      stepReplica(state, { kind: "config", config: next, nowMs: 10_000 }, out);
    }
    for (const effect of out) {
      if (effect.kind !== "revoke") continue;
      const { epoch: of } = effect;
      stepReplica(state, { kind: "revoked", epoch: of, lastGrantedMs: 9900, nowMs: 10_001 }, []);
    }
    expect(state.waitUntilMs).toBe(10_650);
  });

  test("after HANDOVER of the epoch whose secondary it was it need not wait", () => {
    const world = pair();
    world.nowMs = 10_000;
    expect(promote(world, 9_999, 1).serves).toBe(true);
  });

  test("an older epoch's HANDOVER does not help", () => {
    const world = pair();
    world.nowMs = 10_000;
    world.config = config(2, ["n1", "n2"]);
    join(world, "n1", "n2");
    world.member("n2").lastGrantedMs = 9_999;
    world.config = { ...config(3, ["n2", "n1"]), endedEpoch: epoch(1) };
    join(world, "n1", "n2");
    world.settle(2);
    expect(world.member("n2").committed).toBe(world.member("n2").log.length);
    expect(world.member("n2").serves).toBe(false);
    world.nowMs = 10_749;
    expect(world.member("n2").serves).toBe(true);
  });

  test("one that the table did not call full waits GRACE from now: its predecessor may not have waited", () => {
    const world = new World(["n1", "n2", "n3"], limits);
    world.config = config(1, ["n1", "n2"]);
    world.start();
    world.settle(2);
    // n2 had given leases of epoch 1 to n1, and dies before they have run out.
    tailFirst(world, "n2", "n3");
    world.settle(3);
    world.nowMs = 10_000;
    const next = world.member("n3");
    next.lastGrantedMs = 9_300;
    world.config = config(3, ["n3", "n1"]);
    join(world, "n3", "n1");
    world.settle(3);
    expect(next.committed).toBe(next.log.length);
    world.nowMs = 10_740;
    expect(next.serves).toBe(false);
    world.nowMs = 10_750;
    expect(next.serves).toBe(true);
  });

  test("after a restart it waits GRACE, as it may have granted leases before", () => {
    const world = pair();
    world.settle(2);
    world.nowMs = 20_000;
    world.restart(world.primary);
    world.pass();
    world.nowMs = 20_749;
    expect(world.primary.serves).toBe(false);
    world.nowMs = 20_750;
    expect(world.primary.serves).toBe(true);
  });

  test("entries of the old epoch are committed under the new one before anything is served", () => {
    const world = pair();
    world.propose("unacknowledged");
    world.primary.step({ kind: "flush", nowMs: 0 });
    for (const packet of world.packets.splice(0)) world.deliver(packet);
    world.member("n2").sync();
    const next = world.member("n2");
    world.disconnect(world.member("n1"), next);
    world.config = config(2, ["n2", "n1"]);
    join(world, "n2");
    world.nowMs += 1000;
    expect(next.serves).toBe(false);
    join(world, "n1");
    world.connect(world.member("n1"), next);
    world.connect(next, world.member("n1"));
    world.settle(2);
    expect(next.serves).toBe(true);
    expect(next.committed).toBe(3);
  });

  test("the same primary in a new epoch goes on without a wait", () => {
    const world = pair();
    world.settle(3);
    world.config = config(2, ["n1", "n2"]);
    join(world, "n1", "n2");
    world.pass();
    expect(world.primary.serves).toBe(true);
  });
});

describe("REMOVE_SECONDARY", () => {
  function silent(): World {
    const world = pair();
    world.nowMs = 1000;
    world.primary.leaseStartMs = () => 1000;
    world.primary.tick();
    expect(world.primary.state.wish).toBeUndefined();
    return world;
  }

  test("is asked for after LEASE + 50 ms of silence, with the commit mark and its hash", () => {
    const world = silent();
    world.nowMs = 1649;
    world.primary.tick();
    expect(world.primary.state.wish).toBeUndefined();
    world.nowMs = 1650;
    world.primary.tick();
    expect(world.primary.state.wish).toEqual({
      kind: "removeSecondary",
      shard: 0,
      epoch: 1,
      secondary: { node: "n2", store: "store-n2" },
      commitMark: 1,
      markHash: world.primary.log[0]?.hash,
      settled: true,
    });
  });

  test("a primary that has not committed what its log held says so when it asks", () => {
    const world = silent();
    world.primary.state.barrierLsn = lsn(2);
    world.nowMs = 1650;
    world.primary.tick();
    expect(world.primary.state.wish).toMatchObject({ kind: "removeSecondary", settled: false });
  });

  test("from asking until a newer epoch is read nothing is committed, also when it is back", () => {
    const world = silent();
    world.propose("a");
    world.nowMs = 1650;
    world.primary.tick();
    world.primary.leaseStartMs = () => world.nowMs;
    world.pass();
    expect(world.primary.committed).toBe(1);
    world.config = config(2, ["n1", "n2"]);
    join(world, "n1", "n2");
    world.settle(1);
    expect(world.primary.committed).toBe(3);
  });

  test("is asked for when heartbeats come but acknowledgements don't", () => {
    const world = pair();
    world.nowMs = 1000;
    world.primary.leaseStartMs = () => world.nowMs;
    world.disconnect(world.primary, world.member("n2"));
    world.propose("a");
    world.primary.sync();
    world.primary.tick();
    world.nowMs = 2999;
    world.primary.tick();
    expect(world.primary.state.wish).toBeUndefined();
    world.nowMs = 3000;
    world.primary.tick();
    expect(world.primary.state.wish).toMatchObject({ kind: "removeSecondary" });
  });

  test("is not asked for before its own wait is over", () => {
    const world = pair();
    world.settle(2);
    world.restart(world.primary);
    const begun = world.nowMs;
    world.primary.leaseStartMs = () => Number.NEGATIVE_INFINITY;
    world.nowMs = begun + 749;
    world.primary.tick();
    expect(world.primary.state.asking).toBeUndefined();
    world.nowMs = begun + 750;
    world.primary.tick();
    expect(world.primary.state.asking).toMatchObject({ node: "n2" });
  });

  test("a secondary without a heartbeat for GRACE asks for another primary", () => {
    const world = pair();
    const secondary = world.member("n2");
    secondary.heardMs = 500;
    world.nowMs = 1249;
    secondary.tick();
    expect(secondary.state.wish).toBeUndefined();
    world.nowMs = 1250;
    secondary.tick();
    expect(secondary.state.wish).toEqual({ kind: "primarySilent", shard: 0, epoch: 1 });
    secondary.heardMs = 1250;
    secondary.tick();
    expect(secondary.state.wish).toBeUndefined();
  });
});
