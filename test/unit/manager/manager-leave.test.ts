// Primaries that are to leave their node, and do not: a disk that takes seconds, a stuck main thread.

import { describe, expect, test } from "vitest";
import { epoch, shardId } from "../../../src/mail/ids.ts";
import { base, copy, full, Gateway, position, shard, written } from "./manager-gateway.ts";

const unwell = { degraded: true };

describe("a primary on an unwell node", () => {
  test("is asked to hand over, and taken as if lost when it does not in time", () => {
    const gateway = new Gateway();
    expect(gateway.members({ n1: unwell })).toMatchObject([{ kind: "handOver", from: copy("n1") }]);
    expect(gateway.after(1400)).toEqual([]);
    expect(gateway.after(100)).toMatchObject([
      { kind: "seal", to: copy("n2"), epoch: 3, evenIfHeard: true },
    ]);
    expect(written(gateway.sealed("n2"))).toEqual({
      shard,
      epoch: 4,
      primary: copy("n2"),
      secondaries: [{ ...copy("n3"), full: false, fromLsn: 8, anchorHash: 77 }],
      former: [copy("n1")],
      minCopies: 2,
    });
  });

  test("is asked again when it refuses, but not for ever", () => {
    const gateway = new Gateway();
    gateway.members({ n1: unwell });
    let asked = 0;
    for (let ms = 0; ms < 1500; ms += 500) {
      const refused = { epoch: epoch(3), from: copy("n1"), position: undefined };
      gateway.tell({ kind: "handOverAnswer", shard, ...refused });
      for (let rest = 0; rest < 500; rest += 50)
        asked += gateway.after(50).filter(({ kind }) => kind === "handOver").length;
    }
    expect(asked).toBe(3);
    expect(gateway.state.shards.get(shard)?.action).toMatchObject({ kind: "seal", leaving: true });
  });

  test("keeps its copy where no other node is better", () => {
    for (const nodes of [{ n3: unwell }, { n3: { failureDomain: "n2" } }]) {
      const gateway = new Gateway({}, { n1: unwell, ...nodes });
      gateway.after(1500);
      const plan = written(gateway.sealed("n2"));
      expect(plan).toMatchObject({ primary: copy("n2"), secondaries: [full("n1")] });
      // It did not end its epoch: whoever follows has to wait for its leases.
      expect(plan).not.toHaveProperty("endedEpoch");
    }
  });

  test("is taken though the sealed one's answer was lost", () => {
    const gateway = new Gateway({}, { n1: unwell });
    gateway.after(1500);
    gateway.report("n2", { kind: "sealed", shard, epoch: epoch(3), ...position });
    expect(gateway.after(250)).toMatchObject([{ kind: "seal", to: copy("n2") }]);
  });

  test("goes to a node that was unwell a moment ago before it stays", () => {
    const lately = { degraded: true, recovering: true };
    const gateway = new Gateway({}, { n1: unwell, n2: lately });
    expect(gateway.after(50)).toEqual([]);
    expect(gateway.state.shards.get(shard)?.action).toMatchObject({ kind: "handOver" });
    const both = new Gateway({}, { n1: lately, n2: lately });
    expect(both.state.shards.get(shard)?.action).toBeUndefined();
  });

  test("does not go to and fro between nodes that are unwell in turns", () => {
    const lately = { degraded: true, recovering: true };
    const gateway = new Gateway();
    const actionAfter = (sick: string, other: string): string | undefined => {
      gateway.after(5000);
      gateway.members({ [sick]: unwell, [other]: lately });
      return gateway.state.shards.get(shard)?.action?.kind;
    };
    const move = (to: string, other: string, at: number): void => {
      const moved = { primary: copy(to), secondaries: [full(other)], epoch: epoch(at) };
      gateway.table({ ...base, ...moved });
    };
    expect(actionAfter("n1", "n2")).toBe("handOver");
    move("n2", "n1", 4);
    expect(actionAfter("n2", "n1")).toBe("handOver");
    move("n1", "n2", 5);
    expect(actionAfter("n1", "n2")).toBeUndefined();
    // A node that is well is taken at any time.
    gateway.members({ n1: unwell });
    expect(gateway.state.shards.get(shard)?.action?.kind).toBe("handOver");
  });

  test("goes to an unwell node when its own is about to end", () => {
    const gateway = new Gateway({}, { n1: { ...unwell, stopping: true }, n2: unwell });
    expect(gateway.state.shards.get(shard)?.action).toMatchObject({ kind: "handOver" });
    const both = { ...unwell, stopping: true };
    const none = new Gateway({}, { n1: both, n2: both });
    expect(none.state.shards.get(shard)?.action).toBeUndefined();
  });

  test("stays while its secondary is unwell, too", () => {
    const gateway = new Gateway({}, { n1: unwell, n2: unwell });
    expect(gateway.after(5000).filter(({ kind }) => kind !== "ask")).toEqual([]);
  });

  test("leaves with all the others of its node at once; from a drained node eight at a time", () => {
    for (const [facts, most] of [[unwell, 20] as const, [{ draining: true }, 8] as const]) {
      const gateway = new Gateway();
      for (let id = 1; id < 20; id++) gateway.table({ ...base, shard: shardId(id) });
      const asked = gateway.members({ n1: facts }).filter(({ kind }) => kind === "handOver");
      expect(asked).toHaveLength(most);
    }
  });
});
