// The replica state machine: tail-first copies. New entries are on two disks at once while the copy is
// filled behind them, the table says full when the copy has caught up, and a primary lost meanwhile
// loses nothing. cluster.md "Tail first".

import { describe, expect, test } from "vitest";
import { epoch, lsn } from "../../../src/mail/ids.ts";
import {
  isComplete,
  positionOf,
  sealAnswerOf,
} from "../../../src/cluster/protocol/replica-report.ts";
import { pushHash } from "../../../src/cluster/protocol/hash-tail.ts";
import { copyOf } from "./replica-member.ts";
import type { Member } from "./replica-member.ts";
import { config, node, World } from "./replica-world.ts";

/** n1 with `history` entries is primary; n2 and n3 are empty; nobody is connected to n3. */
function begun(history: number): World {
  const world = new World(["n1", "n2", "n3"]);
  world.config = config(1, ["n1", "n2"]);
  for (const name of ["n1", "n2"]) world.join(world.member(name));
  link(world, "n1", "n2");
  world.pass();
  for (let i = 0; i < history; i += 1) world.propose(`old ${i}`);
  world.settle(3);
  return world;
}

function link(world: World, one: string, other: string): void {
  world.connect(world.member(one), world.member(other));
  world.connect(world.member(other), world.member(one));
}

/** The next epoch: `primary` with `secondary` tail-first behind the primary's commit mark. */
function tailFirst(world: World, primary: string, secondary: string): void {
  const { commitMark, markHash } = positionOf(world.member(primary).state);
  const tail = { full: false, fromLsn: lsn(commitMark + 1), anchorHash: markHash };
  const secondaries = [{ ...copyOf(secondary), ...tail }];
  world.config = { ...config(world.config.epoch + 1, [primary]), secondaries };
  for (const name of [primary, secondary]) world.join(world.member(name));
}

function seal(world: World, member: Member): void {
  const at = { evenIfHeard: true, heardMs: 0, nowMs: world.nowMs };
  member.step({ kind: "seal", epoch: world.config.epoch, ...at });
  member.sync();
}

/** Keeps n3's own log from being filled: what is not of a tail is lost. */
function onlyTails(world: World): void {
  world.filter = ({ message }) => message.tail;
}

describe("a tail-first secondary", () => {
  test("has new entries on its disk at once, while its own log is empty", () => {
    const world = begun(30);
    tailFirst(world, "n1", "n3");
    onlyTails(world);
    link(world, "n1", "n3");
    world.propose("refused until the epoch has begun");
    world.settle(1);
    world.propose("new");
    world.pass();
    expect(world.primary.committed).toBe(33);
    expect(world.member("n3").log).toEqual([]);
    expect(world.member("n3").tail?.entries.map((entry) => entry.ref)).toEqual([
      "newEpoch 2",
      "new",
    ]);
    expect(world.member("n3").committed).toBe(0);
  });

  test("is called full by a serving primary once its own log has everything and has applied it", () => {
    const world = begun(30);
    tailFirst(world, "n1", "n3");
    link(world, "n1", "n3");
    world.settle(1);
    world.primary.leaseStartMs = () => world.nowMs - 600;
    world.settle(2);
    expect(world.primary.state.wish).toBeUndefined();
    world.primary.leaseStartMs = () => world.nowMs;
    world.settle(1);
    expect(world.primary.state.wish).toMatchObject({ kind: "synced", secondary: copyOf("n3") });
    expect(world.member("n3").committed).toBe(world.primary.committed);
    expect(world.member("n3").log).toHaveLength(32);
  });

  test("is not called full before it has applied", () => {
    const world = begun(30);
    tailFirst(world, "n1", "n3");
    link(world, "n1", "n3");
    world.settle(4);
    const [peer] = world.primary.state.peers;
    if (peer === undefined) throw new Error("no peer");
    expect(peer.mode).toBe("live");
    world.primary.state.synced = undefined;
    peer.mark = lsn(3);
    world.packets = [];
    world.primary.tick();
    expect(world.primary.state.synced).toBeUndefined();
  });

  test("once it was called full only its own log counts, for the rest of the epoch", () => {
    const world = begun(5);
    tailFirst(world, "n1", "n3");
    link(world, "n1", "n3");
    world.settle(3);
    expect(world.primary.state.synced).toBeDefined();
    onlyTails(world);
    const before = world.primary.committed;
    world.propose("a");
    world.settle(3);
    expect(world.primary.committed).toBe(before);
  });

  test("a primary that started again does not count the tail: it may have said full before", () => {
    const world = begun(5);
    tailFirst(world, "n1", "n3");
    onlyTails(world);
    link(world, "n1", "n3");
    world.settle(2);
    const before = world.primary.committed;
    world.restart(world.primary);
    world.settle(2);
    world.primary.propose("a");
    world.settle(3);
    expect(world.primary.committed).toBeLessThanOrEqual(before);
    world.primary.leaseStartMs = () => world.nowMs;
    world.primary.tick();
    expect(world.primary.state.wish).toMatchObject({ kind: "removeSecondary" });
  });

  test("its tail is dropped when the table says full, or that it is out", () => {
    for (const members of [["n1", "n3"], ["n1"]]) {
      const world = begun(5);
      tailFirst(world, "n1", "n3");
      link(world, "n1", "n3");
      world.settle(3);
      expect(world.member("n3").tail).toBeDefined();
      world.config = config(3, members);
      for (const name of ["n1", "n3"]) world.join(world.member(name));
      expect(world.member("n3").tail).toBeUndefined();
    }
  });

  test("keeps its tail over a crash and into the next epoch, and goes on from there", () => {
    const world = begun(10);
    tailFirst(world, "n1", "n3");
    onlyTails(world);
    link(world, "n1", "n3");
    world.settle(2);
    world.propose("a");
    world.pass();
    const kept = world.member("n3").tail?.entries.length ?? 0;
    world.restart(world.member("n3"));
    expect(world.member("n3").tail?.entries).toHaveLength(kept);
    tailFirst(world, "n1", "n3");
    expect(world.member("n3").tail?.entries).toHaveLength(kept);
    world.settle(2);
    world.propose("b");
    world.pass();
    expect(world.primary.committed).toBe(world.primary.log.length);
  });

  test("begins its tail anew when the old one does not reach the new anchor", () => {
    const world = begun(10);
    tailFirst(world, "n1", "n3");
    onlyTails(world);
    link(world, "n1", "n3");
    world.settle(2);
    world.config = {
      ...world.config,
      epoch: epoch(3),
      secondaries: [
        {
          ...copyOf("n3"),
          full: false,
          fromLsn: lsn(5),
          anchorHash: world.primary.log[3]?.hash ?? 0,
        },
      ],
    };
    for (const name of ["n1", "n3"]) world.join(world.member(name));
    expect(world.member("n3").tail).toMatchObject({ baseLsn: 4, entries: [] });
    world.settle(2);
    expect(world.primary.committed).toBe(world.primary.log.length);
  });

  test("a former member that returns keeps its log, and only what conflicts is cut", () => {
    const world = begun(10);
    const former = world.member("n2");
    world.propose("only on n2's disk");
    world.primary.step({ kind: "flush", nowMs: world.nowMs });
    for (const packet of world.packets.splice(0)) world.deliver(packet);
    former.sync();
    world.disconnect(world.primary, former);
    world.restart(world.primary);
    tailFirst(world, "n1", "n3");
    link(world, "n1", "n3");
    world.settle(3);
    tailFirst(world, "n1", "n2");
    link(world, "n1", "n2");
    world.settle(3);
    expect(world.saves).toBe(1);
    expect(former.log).toEqual(world.primary.log);
    expect(former.committed).toBe(world.primary.committed);
  });
});

describe("a copy that the log can't fill", () => {
  test("is made anew from the primary's, and then filled from its log", () => {
    const world = begun(20);
    tailFirst(world, "n1", "n3");
    link(world, "n1", "n3");
    const [peer] = world.primary.state.peers;
    if (peer === undefined) throw new Error("no peer");
    peer.mode = "feeding";
    peer.inc = world.member("n3").inc;
    world.member("n3").state.primaryInc = world.primary.inc;
    world.packets = [];
    world.primary.step({ kind: "feedGone", to: node("n3"), toInc: peer.inc, tail: false });
    world.settle(2);
    const copy = world.member("n3");
    expect(copy.answers).toEqual([{ kind: "copy", from: "n1" }]);
    expect(copy.log).toEqual([]);
    expect(world.primary.committed).toBe(22);
    copy.take(world.primary, 15);
    world.settle(6);
    expect(copy.log).toEqual(world.primary.log);
    expect(copy.committed).toBe(22);
    expect(world.primary.state.wish).toMatchObject({ kind: "synced", secondary: copyOf("n3") });
  });

  test("is tried again when it failed, and is no copy meanwhile", () => {
    const world = begun(5);
    tailFirst(world, "n1", "n3");
    const copy = world.member("n3");
    copy.step({ kind: "copied", point: undefined, nowMs: 0 }); // Nobody asked for one.
    expect(copy.state.damaged).toBe(false);
    copy.state.copying = true;
    copy.step({ kind: "copied", point: undefined, nowMs: world.nowMs });
    expect(isComplete(copy.state)).toBe(false);
    world.nowMs += 5000;
    copy.tick();
    expect(copy.answers.at(-1)).toEqual({ kind: "copy", from: "n1" });
  });

  test("gives its tail to a former member while it is being made anew", () => {
    const world = begun(10);
    const former = world.member("n2");
    tailFirst(world, "n1", "n3");
    onlyTails(world);
    link(world, "n1", "n3");
    world.settle(1);
    world.propose("acknowledged");
    world.pass();
    const { log, committed } = world.primary;
    const copy = world.member("n3");
    // Its own log, which is given up, is longer than its tail and not the shard's.
    for (let lsnOf = 1; lsnOf <= 30; lsnOf += 1) pushHash(copy.state.tail, lsn(lsnOf), 7);
    copy.state.copying = true;
    world.filter = () => true;
    seal(world, former);
    seal(world, copy);
    expect(copy.answers.at(-1)).toMatchObject({ kind: "sealed", epoch: 2 });
    const answer = sealAnswerOf(copy.state);
    expect(answer).toMatchObject({ full: false, lastLsn: committed });
    link(world, "n2", "n3");
    const { lastLsn: throughLsn, lastHash: throughHash } = positionOf(copy.state);
    const through = { throughLsn, throughHash, nowMs: world.nowMs };
    former.step({ kind: "graft", epoch: world.config.epoch, from: node("n3"), ...through });
    world.settle(4);
    expect(former.answers.at(-1)).toEqual({ kind: "grafted", epoch: 2, ok: true });
    expect(former.log.map(({ hash }) => hash)).toEqual(log.map(({ hash }) => hash));
  });

  test("without a tail it is of no use to anybody", () => {
    const world = begun(5);
    const { state } = world.member("n2");
    state.damaged = true;
    seal(world, world.member("n2"));
    expect(world.member("n2").answers).toMatchObject([{ kind: "sealRefused", why: "unusable" }]);
  });
});

describe("the primary is lost while its secondary is not full", () => {
  function lost(history: number): World {
    const world = begun(history);
    tailFirst(world, "n1", "n3");
    return world;
  }

  test("a copy that reaches the tail is made whole by its own tail when it is sealed", () => {
    const world = lost(10);
    link(world, "n1", "n3");
    world.settle(1);
    const member = world.member("n3");
    onlyTails(world);
    world.propose("in the tail only");
    world.pass();
    const acknowledged = world.primary.committed;
    member.log.length = member.durable = 12;
    seal(world, member);
    member.sync();
    expect(member.answers.at(-1)).toMatchObject({ kind: "sealed" });
    expect(sealAnswerOf(member.state)).toMatchObject({ full: true, lastLsn: acknowledged });
    expect(member.log.map((entry) => entry.hash)).toEqual(
      world.primary.log.map((entry) => entry.hash),
    );
  });

  test("a copy that does not is not full, and says where its tail ends", () => {
    const world = lost(10);
    onlyTails(world);
    link(world, "n1", "n3");
    world.settle(1);
    const member = world.member("n3");
    seal(world, member);
    const { length } = world.primary.log;
    expect(sealAnswerOf(member.state)).toMatchObject({ full: false, lastLsn: length });
  });

  test("a former member that has the anchor takes the tail, suffixes that conflict cut first", () => {
    const world = lost(10);
    const former = world.member("n2");
    onlyTails(world);
    link(world, "n1", "n3");
    world.settle(1);
    for (let i = 0; i < 7; i += 1) world.propose(`acknowledged ${i}`);
    world.pass();
    const { log, committed } = world.primary;
    // An entry that only this member ever had.
    const stray = log[10];
    if (stray === undefined) throw new Error("no entry");
    former.log = former.log.slice(0, 11);
    former.log.push({ ...stray, lsn: lsn(12), hash: 77, prevHash: former.log[10]?.hash ?? 0 });
    former.durable = 12;
    world.filter = () => true;
    world.restart(former);
    seal(world, former);
    const tail = world.member("n3");
    seal(world, tail);
    link(world, "n2", "n3");
    const { lastLsn, lastHash } = positionOf(tail.state);
    const through = { throughLsn: lastLsn, throughHash: lastHash };
    const { nowMs } = world;
    former.step({ kind: "graft", epoch: world.config.epoch, from: node("n3"), ...through, nowMs });
    world.member("n1").step({ kind: "peerDown", node: node("n3") });
    world.settle(4);
    expect(former.answers.at(-1)).toEqual({ kind: "grafted", epoch: 2, ok: true });
    expect(former.log.map((entry) => entry.hash)).toEqual(
      log.slice(0, committed).map(({ hash }) => hash),
    );
    expect(world.saves).toBe(1);
  });

  test("one that lacks the anchor says so", () => {
    const world = lost(10);
    const former = world.member("n2");
    onlyTails(world);
    link(world, "n1", "n3");
    world.settle(1);
    world.filter = () => true;
    former.log = former.log
      .slice(0, 6)
      .map((entry) => ({ ...entry, mark: Math.min(entry.mark, 5) }));
    former.durable = 6;
    world.restart(former);
    seal(world, former);
    const tail = world.member("n3");
    seal(world, tail);
    link(world, "n2", "n3");
    const { lastLsn, lastHash } = positionOf(tail.state);
    const through = { throughLsn: lastLsn, throughHash: lastHash };
    const { nowMs } = world;
    former.step({ kind: "graft", epoch: world.config.epoch, from: node("n3"), ...through, nowMs });
    world.settle(2);
    expect(former.answers.at(-1)).toEqual({ kind: "grafted", epoch: 2, ok: false });
  });

  test("a tail is not handed out before the epoch is sealed, nor taken by one that is not", () => {
    const world = lost(10);
    onlyTails(world);
    link(world, "n1", "n3");
    world.settle(1);
    const order = {
      epoch: epoch(2),
      from: node("n3"),
      throughLsn: lsn(12),
      throughHash: 1,
      nowMs: 0,
    };
    world.member("n2").step({ kind: "graft", ...order });
    expect(world.member("n2").answers.at(-1)).toEqual({ kind: "grafted", epoch: 2, ok: false });
    world.packets = [];
    const base = { epoch: epoch(2), fromInc: 1, toInc: 0, tail: false };
    const message = { kind: "pull", ...base, lsn: lsn(0) } as const;
    world.member("n3").step({ kind: "message", from: node("n2"), message, nowMs: 0 });
    expect(world.packets).toEqual([]);
  });
});
