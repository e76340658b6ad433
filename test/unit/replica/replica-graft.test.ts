// The replica state machine when a primary is lost before its secondary's copy is full: tail and log
// become one, in the copy itself or in a former member. cluster.md "What the manager does".

import { describe, expect, test } from "vitest";
import { epoch, lsn } from "../../../src/mail/ids.ts";
import { pushHash } from "../../../src/cluster/protocol/hash-tail.ts";
import { positionOf, sealAnswerOf } from "../../../src/cluster/protocol/replica-report.ts";
import type { Member } from "./replica-member.ts";
import { node } from "./replica-world.ts";
import type { World } from "./replica-world.ts";
import { begun, link, onlyTails, seal, tailFirst } from "./tail-support.ts";

describe("the primary is lost while its secondary is not full", () => {
  function lost(history: number): World {
    const world = begun(history);
    tailFirst(world, "n1", "n3");
    return world;
  }

  /** n2 comes back with its log, is sealed as n3 is, and is to take n3's tail. */
  function graftAfterRestart(world: World, former: Member): void {
    world.restart(former);
    seal(world, former);
    const tail = world.member("n3");
    seal(world, tail);
    link(world, "n2", "n3");
    const { lastLsn, lastHash } = positionOf(tail.state);
    const through = { throughLsn: lastLsn, throughHash: lastHash };
    const { nowMs } = world;
    former.step({ kind: "graft", epoch: world.config.epoch, from: node("n3"), ...through, nowMs });
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
    const { epoch: logEpoch } = world.config;
    expect(sealAnswerOf(member.state)).toMatchObject({
      full: true,
      lastLsn: acknowledged,
      logEpoch,
    });
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
    graftAfterRestart(world, former);
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
    graftAfterRestart(world, former);
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

  test("what a full log did not take of the tail is asked for again", () => {
    const world = lost(10);
    const former = world.member("n2");
    onlyTails(world);
    link(world, "n1", "n3");
    world.settle(1);
    for (let i = 0; i < 7; i += 1) world.propose(`acknowledged ${i}`);
    world.pass();
    const { log } = world.primary;
    const tail = world.member("n3");
    world.filter = () => true;
    seal(world, former);
    seal(world, tail);
    const { lastLsn: throughLsn, lastHash: throughHash } = positionOf(tail.state);
    const through = { throughLsn, throughHash, nowMs: world.nowMs };
    former.step({ kind: "graft", epoch: world.config.epoch, from: node("n3"), ...through });
    // Three entries come, the log takes one of them; the answer to the next question is under way.
    const entries = tail.tail?.entries ?? [];
    const pulled = (from: number) => {
      const run = entries.slice(from, from + 3);
      const [first] = run;
      if (first === undefined) throw new Error("no entries");
      const at = { prevLsn: lsn(first.lsn - 1), prevHash: first.prevHash, entries: run };
      const base = { epoch: epoch(2), fromInc: tail.inc, toInc: former.inc, tail: true };
      const message = { kind: "pulled", ...base, ...at } as const;
      former.step({ kind: "message", from: node("n3"), message, nowMs: world.nowMs });
    };
    const before = former.log.length;
    pulled(0);
    former.log.length = before + 1;
    former.step({ kind: "notLogged", tail: false, lsn: lsn(before + 2) });
    pulled(3);
    link(world, "n2", "n3");
    world.settle(20);
    expect(former.answers.at(-1)).toEqual({ kind: "grafted", epoch: 2, ok: true });
    expect(former.log.map(({ hash }) => hash)).toEqual(log.map(({ hash }) => hash));
  });
});
