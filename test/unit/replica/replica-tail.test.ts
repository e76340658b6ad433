// The replica state machine: tail-first copies. New entries are on two disks at once while the copy is
// filled behind them, the table says full when the copy has caught up, and a primary lost meanwhile
// loses nothing. cluster.md "Tail first".

import { describe, expect, test } from "vitest";
import { epoch, lsn } from "../../../src/mail/ids.ts";
import { isComplete } from "../../../src/cluster/protocol/replica-report.ts";
import { copyFrom } from "../../../src/cluster/protocol/replica-secondary.ts";
import { copyOf } from "./replica-member.ts";
import { config, node } from "./replica-world.ts";
import { begun, link, onlyTails, seal, tailFirst } from "./tail-support.ts";

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

  test("what it acknowledged before it was damaged does not count for the copy made then", () => {
    const world = begun(5);
    tailFirst(world, "n1", "n3");
    link(world, "n1", "n3");
    world.settle(3);
    const [peer] = world.primary.state.peers;
    if (peer === undefined) throw new Error("no peer");
    expect([peer.ackedLsn, peer.mark]).toEqual([7, 7]);
    const to = { epoch: epoch(2), fromInc: peer.inc + 1, toInc: world.primary.inc, tail: false };
    const message = { kind: "status", ...to, reason: "damaged", lsn: lsn(0), hash: 0 } as const;
    world.primary.step({ kind: "message", from: node("n3"), message, nowMs: world.nowMs });
    expect(peer).toMatchObject({ mode: "broken", ackedLsn: 0, mark: 0 });
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

  test("waits for a former member that may return, and only for a while", () => {
    const world = begun(5);
    tailFirst(world, "n1", "n3");
    const copy = world.member("n3");
    const { state } = copy;
    if (state.config === undefined) throw new Error("no config");
    const out: (typeof copy.answers)[number][] = [];
    state.config = { ...state.config, former: [copyOf("n2")] };
    const begunMs = state.fillingSinceMs ?? Number.NaN;
    copyFrom(state, node("n1"), out);
    expect(out).toEqual([]);
    world.nowMs = begunMs + state.limits.copyWaitMs - 1;
    copy.tick();
    expect(copy.answers.some(({ kind }) => kind === "copy")).toBe(false);
    world.nowMs += 1;
    copy.tick();
    expect(copy.answers.at(-1)).toEqual({ kind: "copy", from: "n1" });
    // Its own former copy is nobody to wait for.
    state.copying = false;
    state.config = { ...state.config, former: [copyOf("n3")] };
    state.fillingSinceMs = world.nowMs;
    copyFrom(state, node("n1"), out);
    expect(out).toEqual([{ kind: "copy", from: "n1" }]);
  });

  test("without a tail it is of no use to anybody", () => {
    const world = begun(5);
    const { state } = world.member("n2");
    state.damaged = true;
    seal(world, world.member("n2"));
    expect(world.member("n2").answers).toMatchObject([{ kind: "sealRefused", why: "unusable" }]);
  });
});
