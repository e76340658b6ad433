// The replica state machine: what a message must prove before it counts. Each bound is crossed by one.

import { describe, expect, test } from "vitest";
import { lsn } from "../../../src/mail/ids.ts";
import type { Lsn } from "../../../src/mail/ids.ts";
import type { ReplicaMessage } from "../../../src/cluster/protocol/replica-types.ts";
import { node, World } from "./replica-world.ts";
import type { Op } from "./replica-member.ts";

/** Two members, one entry that only the primary's disk has. */
function waiting(): World {
  const world = new World(["n1", "n2"]);
  world.start();
  world.settle(2);
  world.propose("a");
  world.primary.sync();
  world.packets = [];
  return world;
}

function ack(
  world: World,
  change: Partial<{ toInc: number; fromInc: number; hash: number; lsn: Lsn }>,
): void {
  const { primary } = world;
  const at = { lsn: lsn(2), hash: primary.log[1]?.hash ?? 0, mark: lsn(1) };
  const base = { epoch: world.config.epoch, fromInc: world.member("n2").inc, toInc: primary.inc };
  const message = { kind: "ack", ...base, tail: false, ...at, ...change } as const;
  primary.step({ kind: "message", from: node("n2"), message, nowMs: world.nowMs });
}

describe("an acknowledgement", () => {
  test("that proves itself commits", () => {
    const world = waiting();
    const secondary = world.member("n2");
    secondary.log = [...world.primary.log];
    secondary.durable = 2;
    ack(world, {});
    expect(world.primary.committed).toBe(2);
  });

  test.each([
    { what: "of another entry at that place", change: { hash: 1 } },
    { what: "for an earlier life of the primary", change: { toInc: 0 } },
    { what: "for a later life of the primary", change: { toInc: 2 } },
    { what: "of an earlier life of the secondary", change: { fromInc: 0 } },
    { what: "of a life of the secondary that was not heard of", change: { fromInc: 9 } },
    { what: "of more than there is", change: { lsn: lsn(3) } },
  ])("$what commits nothing", ({ change }) => {
    const world = waiting();
    ack(world, change);
    expect(world.primary.committed).toBe(1);
  });

  test("of a member that is none, or about a tail that nobody keeps, commits nothing", () => {
    const world = waiting();
    const { primary } = world;
    const at = { lsn: lsn(2), hash: primary.log[1]?.hash ?? 0, mark: lsn(1) };
    const base = { epoch: world.config.epoch, fromInc: 1, toInc: primary.inc };
    const message = { kind: "ack", ...base, tail: false, ...at } as const;
    primary.step({ kind: "message", from: node("n3"), message, nowMs: 0 });
    primary.step({
      kind: "message",
      from: node("n2"),
      message: { ...message, tail: true },
      nowMs: 0,
    });
    expect(primary.committed).toBe(1);
  });
});

describe("a commit mark", () => {
  /** What the primary would send of its log, with a mark far ahead. */
  function append(world: World, entries: number): ReplicaMessage<Op> {
    const { primary } = world;
    const base = { epoch: world.config.epoch, fromInc: primary.inc, toInc: world.member("n2").inc };
    const at = { prevLsn: lsn(1), prevHash: primary.log[0]?.hash ?? 0, mark: lsn(99) };
    return {
      kind: "append",
      ...base,
      tail: false,
      ...at,
      entries: primary.log.slice(1, 1 + entries),
    };
  }

  test("applies nothing that is not on this disk", () => {
    const world = waiting();
    const secondary = world.member("n2");
    const message = append(world, 1);
    secondary.step({ kind: "message", from: node("n1"), message, nowMs: 0 });
    expect(secondary.committed).toBe(1);
    secondary.sync();
    expect(secondary.committed).toBe(2);
  });

  test("applies nothing that is not known to be the primary's", () => {
    const world = waiting();
    const secondary = world.member("n2");
    const [, entry] = world.primary.log;
    if (entry === undefined) throw new Error("no entry");
    secondary.log.push({ ...entry, hash: entry.hash + 1 });
    secondary.durable = 2;
    world.restart(secondary);
    world.packets = [];
    const probe = { epoch: world.config.epoch, fromInc: world.primary.inc, toInc: 0, tail: false };
    const from = node("n1");
    secondary.step({ kind: "message", from, message: { kind: "probe", ...probe }, nowMs: 0 });
    secondary.step({ kind: "message", from, message: append(world, 0), nowMs: 0 });
    expect(secondary.committed).toBe(1);
  });

  test("of another epoch, or for an earlier life of this copy, is not heard", () => {
    const world = waiting();
    const secondary = world.member("n2");
    const message = append(world, 1);
    const from = node("n1");
    secondary.step({ kind: "message", from, message: { ...message, toInc: 0 }, nowMs: 0 });
    secondary.sync();
    expect(secondary.state.heardMark).toBe(1);
    expect(secondary.log).toHaveLength(1);
  });
});
