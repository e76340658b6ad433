// The manager's table of situations, one after the other: what is asked, what is written, and what
// must not be done. Whole clusters with it run in test/sim.

import { describe, expect, test } from "vitest";
import { standingAlarms } from "../../../src/cluster/protocol/manager-alarms.ts";
import type { ShardReport } from "../../../src/cluster/protocol/manager-types.ts";
import type { ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import { epoch, lsn, memberId, storeId } from "../../../src/mail/ids.ts";
import {
  base,
  copy,
  full,
  g1,
  g2,
  Gateway,
  position,
  shard,
  tail,
  written,
} from "./manager-gateway.ts";
import type { Told } from "./manager-gateway.ts";

function removal(name: string, settled = true): ShardReport {
  const { commitMark, markHash } = position;
  const secondary = copy(name);
  const base = { kind: "removeSecondary", shard, epoch: epoch(3), secondary } as const;
  return { ...base, commitMark, markHash, settled };
}

const reset = (name: string): Told => ({
  kind: "link",
  node: memberId(name),
  state: "reset",
});

/** The primary wishes that n2 leaves, which nobody reaches. */
function withoutN2(gateway: Gateway, linked: readonly string[], settled = true) {
  gateway.tell(reset("n2"));
  return written(gateway.report("n1", removal("n2", settled), linked));
}

describe("a manager", () => {
  test("does nothing while the ring does not say that it acts", () => {
    const gateway = new Gateway();
    gateway.tell({ kind: "acting", acting: false });
    expect(gateway.tell(reset("n1"))).toEqual([]);
  });

  test("leaves a primary alone that only it can't reach", () => {
    const gateway = new Gateway();
    gateway.tell({ kind: "gateways", gateways: [g1, g2] });
    expect(gateway.tell(reset("n1"))).toEqual([]);
    const view = { kind: "view", gateway: g2, unreachable: [memberId("n1")] } as const;
    expect(gateway.tell(view)).toMatchObject([{ kind: "seal", evenIfHeard: true }]);
  });

  test("promotes the sealed secondary, with a linked node behind it", () => {
    const gateway = new Gateway();
    expect(gateway.tell(reset("n1"))).toMatchObject([{ kind: "seal", to: copy("n2"), epoch: 3 }]);
    expect(written(gateway.sealed("n2"))).toEqual({
      shard,
      epoch: 4,
      primary: copy("n2"),
      secondaries: [{ ...copy("n3"), full: false, fromLsn: 8, anchorHash: 77 }],
      minCopies: 2,
      former: [copy("n1")],
    });
  });

  test("never promotes a copy that is not complete", () => {
    const gateway = new Gateway({ secondaries: [tail("n2")] });
    gateway.tell(reset("n1"));
    expect(gateway.sealed("n2", false)).toEqual([]);
    expect(standingAlarms(gateway.state)).toEqual(new Map([["noPromotableCopy", [shard]]]));
    const behind = new Gateway();
    behind.tell(reset("n1"));
    const effects = behind.sealed("n2", false);
    expect(effects).toMatchObject([{ kind: "alarm", why: "copyBehind" }]);
  });

  test("does not take a wiped primary for the old one", () => {
    const gateway = new Gateway({}, { n1: { store: storeId("other") } });
    gateway.after(50);
    expect(written(gateway.sealed("n2"))?.former).toBeUndefined();
  });

  test("promotes a copy that is complete, though the table does not say so yet", () => {
    for (const late of [{}, { late: true }]) {
      const gateway = new Gateway({
        secondaries: [{ ...tail("n2"), ...late }],
        former: [copy("n4")],
      });
      expect(gateway.tell(reset("n1"))).toMatchObject([{ kind: "seal", to: copy("n2") }]);
      // Nothing of the present epoch in its own log: what was acknowledged before may lack.
      expect(written(gateway.sealed("n2", true, 2))).toBeUndefined();
      gateway.after(300);
      expect(written(gateway.sealed("n2", false, 3))).toBeUndefined();
      gateway.after(300);
      expect(written(gateway.sealed("n2", true, 3))).toMatchObject({
        primary: copy("n2"),
        secondaries: [{ node: "n3", fromLsn: 8 }],
        // An older one may lack what lies above the mark, and so may the new tail.
        former: [copy("n1")],
      });
    }
  });

  test("grafts a tail onto a former member, unless it was begun while the primary went on", () => {
    const former = [copy("n3")];
    const gateway = new Gateway({ secondaries: [tail("n2")], former });
    gateway.tell(reset("n1"));
    gateway.sealed("n2", false);
    expect(gateway.sealed("n3", false)).toMatchObject([
      { kind: "graft", to: copy("n3"), from: copy("n2"), throughLsn: 9 },
    ]);
    const answer = {
      kind: "graftAnswer",
      shard,
      epoch: epoch(3),
      from: copy("n3"),
      position,
    } as const;
    expect(written(gateway.tell(answer))?.primary).toEqual(copy("n3"));
    const late = new Gateway({ secondaries: [{ ...tail("n2"), late: true }], former });
    expect(late.tell(reset("n1"))).toMatchObject([{ kind: "seal", to: copy("n2") }]);
    expect(late.sealed("n2", false)).toEqual([]);
    expect([...standingAlarms(late.state).keys()]).toEqual(["noPromotableCopy"]);
  });

  test("a former member must hold all that the tail began behind, whatever the tail's node knows", () => {
    const kept = { fromLsn: lsn(3), anchorHash: 22, lastLsn: lsn(12), lastHash: 120 };
    // It has not heard of its place in the table: its log ends lower, or it keeps another tail.
    for (const old of [null, kept, { ...kept, fromLsn: lsn(5) }]) {
      const gateway = new Gateway({ secondaries: [tail("n2")], former: [copy("n3")] });
      gateway.tell(reset("n1"));
      gateway.sealed("n2", false, 2, old);
      expect(gateway.sealed("n3", false)).toMatchObject([
        { kind: "graft", from: copy("n2"), throughLsn: 4, throughHash: 44 },
      ]);
    }
  });

  test("replaces a removed secondary by a node that the primary reaches", () => {
    const gateway = new Gateway();
    expect(withoutN2(gateway, ["n3"])).toMatchObject({
      primary: copy("n1"),
      secondaries: [{ node: "n3", full: false, fromLsn: 8 }],
      former: [copy("n2")],
    });
    const alone = new Gateway();
    expect(withoutN2(alone, [])?.secondaries).toEqual([]);
  });

  test("asks a primary that misses a secondary which is here: it may be the one that hears nobody", () => {
    const gateway = new Gateway();
    const report = removal("n2");
    expect(gateway.report("n1", report, ["n2", "n3"])).toMatchObject([
      { kind: "ask", to: copy("n1") },
    ]);
    const answer = { kind: "askAnswer", shard, epoch: epoch(3), from: copy("n1") } as const;
    // It hears us, and n2 it misses still.
    const linked = [memberId("n3")];
    expect(written(gateway.tell({ ...answer, linked, position }))).toMatchObject({
      primary: copy("n1"),
      secondaries: [{ node: "n3", full: false }],
      former: [copy("n2")],
    });
    const deaf = new Gateway();
    deaf.report("n1", report, ["n2", "n3"]);
    expect(deaf.after(260)).toMatchObject([{ kind: "ask" }]);
    expect(deaf.tell(reset("n1"))).toMatchObject([{ kind: "seal", to: copy("n2") }]);
    expect(written(deaf.sealed("n2"))?.primary).toEqual(copy("n2"));
  });

  test("takes the primary's late answer, and its wish only as long as that is repeated", () => {
    const answer = { kind: "askAnswer", shard, epoch: epoch(3), from: copy("n1") } as const;
    const late = { ...answer, linked: [], position };
    const gateway = new Gateway();
    gateway.report("n1", removal("n2"));
    gateway.after(400);
    expect(written(gateway.tell(late))?.secondaries).toEqual([]);
    const over = new Gateway();
    over.report("n1", removal("n2"));
    over.after(260);
    over.after(400);
    expect(over.after(260)).toEqual([]);
    expect(over.tell(late)).toEqual([]);
  });

  test("does not ask again at once a primary that can't say where it stands", () => {
    const gateway = new Gateway();
    gateway.report("n1", removal("n2"), ["n3"]);
    const answer = { kind: "askAnswer", shard, epoch: epoch(3), from: copy("n1") } as const;
    expect(gateway.tell({ ...answer, linked: [], position: undefined })).toEqual([]);
    expect(gateway.after(10)).toEqual([]);
    expect(gateway.after(250)).toMatchObject([{ kind: "ask" }]);
  });

  test("seals a secondary that was sealed before, when the primary that misses it does not answer", () => {
    const gateway = new Gateway();
    gateway.report("n1", removal("n2"));
    gateway.report("n2", { kind: "sealed", shard, epoch: epoch(3), ...position });
    expect(gateway.after(260)).toMatchObject([{ kind: "seal", to: copy("n2"), evenIfHeard: true }]);
  });

  test("gives no copy to a node whose disk has no room for one", () => {
    const gateway = new Gateway({}, { n3: { crowded: true }, n4: { load: 1 } });
    const plan = withoutN2(gateway, ["n3", "n4"]);
    expect(plan?.secondaries).toMatchObject([{ node: "n4", full: false }]);
    const former = new Gateway({ former: [copy("n3")] }, { n3: { crowded: true } });
    const again = withoutN2(former, ["n3"]);
    expect(again?.secondaries).toMatchObject([{ node: "n3" }]);
  });

  test("puts two copies into one failure domain only when no other has a node for one", () => {
    const domains = { n1: { failureDomain: "a" }, n2: { failureDomain: "b" } };
    const worse = { failureDomain: "b", degraded: true, load: 1 };
    const gateway = new Gateway({}, { ...domains, n3: { failureDomain: "a" }, n4: worse });
    const linked = ["n3", "n4"];
    const plan = withoutN2(gateway, linked);
    expect(plan?.secondaries).toMatchObject([{ node: "n4" }]);
    const full = new Gateway(
      { former: [copy("n3")] },
      { ...domains, n3: { failureDomain: "a" }, n4: { ...worse, crowded: true } },
    );
    const shared = withoutN2(full, linked);
    expect(shared?.secondaries).toMatchObject([{ node: "n3" }]);
    expect(standingAlarms(full.state).has("sharedDomain")).toBe(false);
    full.table({ ...base, epoch: epoch(4), secondaries: shared?.secondaries ?? [] });
    expect(standingAlarms(full.state).get("sharedDomain")).toEqual([shard]);
  });

  test("tells that no node can take a second copy, also while it does not act", () => {
    const gateway = new Gateway(
      { secondaries: [] },
      { n2: { draining: true }, n3: { crowded: true } },
    );
    gateway.tell({ kind: "acting", acting: false });
    expect(standingAlarms(gateway.state)).toEqual(new Map([["noRoomForCopy", [shard]]]));
    const whole = new Gateway();
    expect(standingAlarms(whole.state)).toEqual(new Map());
  });

  test("removes nothing for anyone but the primary, nor in another epoch", () => {
    const gateway = new Gateway();
    const report = removal("n2");
    expect(gateway.report("n3", report, ["n3"])).toEqual([]);
    const effects = gateway.report("n1", { ...report, epoch: epoch(2) }, ["n3"]);
    expect(effects).toMatchObject([{ kind: "push", to: ["n1"] }]);
  });

  test("a tail begun by a primary that has not settled its log can't stand in for it", () => {
    const linked = ["n1", "n3", "n4"];
    const filling = { secondaries: [tail("n2")], former: [copy("n4")] };
    const next = (settled: boolean, over: Partial<ShardConfig>) =>
      withoutN2(new Gateway(over), linked, settled)?.secondaries[0];
    expect(next(true, filling)?.late).toBeUndefined();
    expect(next(false, filling)?.late).toBe(true);
    // A full member that leaves has it all.
    expect(next(false, {})?.late).toBeUndefined();
  });

  test("calls a copy full and forgets former ones", () => {
    const gateway = new Gateway({ secondaries: [tail("n2"), tail("n3")], former: [copy("n3")] });
    const plan = written(
      gateway.report("n1", { kind: "synced", shard, epoch: epoch(3), secondary: copy("n3") }),
    );
    expect(plan?.secondaries).toEqual([full("n3")]);
    expect(plan?.former).toBeUndefined();
  });

  test("asks the primary before a copy is added, and says that it went on", () => {
    const gateway = new Gateway({ secondaries: [] });
    expect(gateway.after(50)).toEqual([]);
    const linked = [memberId("n3")];
    const answer = {
      kind: "askAnswer",
      shard,
      epoch: epoch(3),
      from: copy("n1"),
      linked,
      position,
    } as const;
    expect(written(gateway.tell(answer))?.secondaries).toMatchObject([{ node: "n3", late: true }]);
  });

  test("hands the primaries of a drained node over, then replaces its copy", () => {
    const gateway = new Gateway({}, { n1: { draining: true } });
    const answer = {
      kind: "handOverAnswer",
      shard,
      epoch: epoch(3),
      from: copy("n1"),
      position,
    } as const;
    expect(written(gateway.tell(answer))).toMatchObject({
      primary: copy("n2"),
      secondaries: [full("n1")],
      endedEpoch: 3,
    });
  });

  describe("with three full copies", () => {
    const move = { kind: "move", shard, from: memberId("n2"), to: memberId("n1") } as const;
    const three = { secondaries: [full("n2"), full("n3")] };

    test("ends a move by removing the copy that was to go", () => {
      const gateway = new Gateway(three);
      const plan = written(gateway.tell({ kind: "order", order: move }));
      expect(plan).toMatchObject({ primary: copy("n1"), secondaries: [full("n3")] });
    });

    test("keeps the copy that was to go when no other one is to be seen", () => {
      const gateway = new Gateway(three, { n3: { store: storeId("another folder") } });
      expect(gateway.tell({ kind: "order", order: move })).toEqual([
        { kind: "alarm", why: "orderRefused", shard },
      ]);
      expect(written(gateway.after(29_000))).toBeUndefined();
    });

    test("keeps a drained node's copy while no other one is to be seen", () => {
      const gateway = new Gateway(three);
      gateway.tell(reset("n3"));
      expect(written(gateway.members({ n2: { draining: true } }))).toBeUndefined();
      const up = gateway.tell({ kind: "link", node: memberId("n3"), state: "up" });
      expect(written(up)).toMatchObject({ secondaries: [full("n3")] });
    });

    test("drops a surplus one that is away before one that is here", () => {
      const gateway = new Gateway(three);
      gateway.tell(reset("n2"));
      expect(written(gateway.after(30_000))).toMatchObject({ secondaries: [full("n3")] });
    });
  });

  test("undoes an ordered handover that nobody answers", () => {
    const gateway = new Gateway();
    gateway.tell({ kind: "order", order: { kind: "swap", shard, to: memberId("n2") } });
    expect(written(gateway.after(1600))).toMatchObject({ epoch: 4, primary: copy("n1") });
  });

  test("refuses to force a copy while the primary's node is registered", () => {
    const gateway = new Gateway({ secondaries: [] });
    const order = { kind: "forcePromote", shard, to: copy("n2") } as const;
    const effects = gateway.tell({ kind: "order", order });
    expect(effects).toContainEqual({ kind: "alarm", why: "orderRefused", shard });
  });

  test("tells every member of the old and the new configuration of a change", () => {
    const gateway = new Gateway();
    gateway.tell(reset("n1"));
    gateway.sealed("n2");
    const current = { ...base, epoch: epoch(4), primary: copy("n2"), secondaries: [], nonce: "b" };
    const effects = gateway.tell({ kind: "wrote", shard, ifEpoch: epoch(3), current });
    expect(effects).toContainEqual({ kind: "push", config: current, to: ["n1", "n2"] });
  });
});
