// What every Coordinator must do, faults included. Rows: test/support/coordinator/harness.ts.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Coordinator } from "../../src/cluster/coordinator/coordinator.ts";
import { presenceKey } from "../../src/cluster/coordinator/coordinator.ts";
import { memberId } from "../../src/mail/ids.ts";
import { coordinatorRows, historyMax } from "../support/coordinator/harness.ts";
import type { CoordinatorHarness } from "../support/coordinator/harness.ts";
import { eventually, watching } from "../support/coordinator/watching.ts";

const member = memberId("n1");

describe.each(coordinatorRows)("$name coordinator", ({ start }) => {
  let harness: CoordinatorHarness;
  beforeEach(async () => {
    harness = await start();
  });
  afterEach(() => harness.close());

  describe("compare-and-set", () => {
    test("creates, changes and deletes, each only from the expected revision", async () => {
      const { first } = harness;
      expect(await first.get("a")).toBeUndefined();
      const made = await put(first, "a", 0, "1");
      expect(made.ok).toBe(true);
      expect(await first.get("a")).toEqual({ value: "1", revision: made.revision });
      expect((await put(first, "a", 0, "2")).ok).toBe(false);
      expect((await put(first, "a", made.revision + 1, "2")).ok).toBe(false);
      const changed = await put(first, "a", made.revision, "2");
      expect(changed.ok).toBe(true);
      expect(changed.revision).toBeGreaterThan(made.revision);
      expect((await put(first, "a", changed.revision, undefined)).ok).toBe(true);
      expect(await first.get("a")).toBeUndefined();
      expect((await put(first, "a", 0, "3")).ok).toBe(true);
    });

    test("of several keys changes all or none, at one revision", async () => {
      const { first } = harness;
      const made = await first.compareAndSet([
        { key: "s/1", ifRevision: 0, value: "x" },
        { key: "s/2", ifRevision: 0, value: "y" },
      ]);
      expect(made.ok).toBe(true);
      const refused = await first.compareAndSet([
        { key: "s/1", ifRevision: made.revision, value: "z" },
        { key: "s/2", ifRevision: 0, value: "z" },
      ]);
      expect(refused.ok).toBe(false);
      expect((await first.list("s/")).entries).toEqual([
        { key: "s/1", value: "x", revision: made.revision },
        { key: "s/2", value: "y", revision: made.revision },
      ]);
    });

    test("has one winner among racers, and no lost update", async () => {
      const { first, second } = harness;
      const add = async (client: Coordinator): Promise<void> => {
        for (;;) {
          const state = await client.get("counter");
          const next = String(Number(state?.value ?? "0") + 1);
          if ((await put(client, "counter", state?.revision ?? 0, next)).ok) return;
        }
      };
      await Promise.all(Array.from({ length: 20 }, (_, n) => add(n % 2 === 0 ? first : second)));
      expect((await second.get("counter"))?.value).toBe("20");
    });

    test.each([
      ["no change", []],
      ["a key twice", [change("a"), change("a")]],
      ["an empty key", [change("")]],
      ["a key with a blank", [change("a b")]],
      ["too many", Array.from({ length: 41 }, (_, n) => change(`k${n}`))],
    ])("refuses %s as INVALID", async (_what, changes) => {
      await expect(harness.first.compareAndSet(changes)).rejects.toMatchObject({ code: "INVALID" });
    });

    test("refuses a value over its limit", async () => {
      await expect(put(harness.first, "a", 0, "x".repeat(65_537))).rejects.toMatchObject({
        code: "LIMIT",
      });
    });
  });

  describe("reading", () => {
    test("a barrier is no older than what another client was promised", async () => {
      const { first, second } = harness;
      const { revision } = await put(first, "a", 0, "1");
      expect(await second.readBarrier()).toBeGreaterThanOrEqual(revision);
      expect((await second.get("a"))?.value).toBe("1");
    });

    test("a listing holds the keys with the prefix, in order", async () => {
      const { first } = harness;
      for (const key of ["p/b", "p/a", "q/a", "p"]) await put(first, key, 0, key);
      expect((await first.list("p/")).entries.map(({ key }) => key)).toEqual(["p/a", "p/b"]);
    });

    test("values and revisions survive a restart, and revisions go on from there", async () => {
      let last = 0;
      for (let n = 0; n < 200; n++) {
        const key = `k${n % 7}`;
        const state = await harness.first.get(key);
        last = (await put(harness.first, key, state?.revision ?? 0, `v${n}`)).revision;
      }
      const before = await harness.first.list("");
      await harness.restart();
      expect(await harness.first.list("")).toEqual(before);
      expect((await put(harness.first, "new", 0, "1")).revision).toBeGreaterThan(last);
    });
  });

  describe("a watch", () => {
    test("gives what exists, then every change in order, and ends with its signal", async () => {
      const { first, second } = harness;
      await put(first, "w/a", 0, "1");
      await put(first, "other", 0, "1");
      const seen = watching(() => first, "w/", 0);
      await seen.reaches("w/a=1");
      const made = await put(second, "w/b", 0, "1");
      await put(second, "w/b", made.revision, "2");
      await seen.reaches("w/b=2");
      const now = await second.get("w/b");
      await put(second, "w/b", now?.revision ?? 0, undefined);
      await seen.reaches("w/b deleted");
      await seen.stop();
      expect(seen.words).toEqual(["w/a=1", "w/b=1", "w/b=2", "w/b deleted"]);
    });

    test("gives the changes of one transaction together, marked", async () => {
      const { first } = harness;
      const seen = watching(() => first, "t/", 0);
      await first.compareAndSet([change("t/1"), change("t/2"), change("x"), change("t/3")]);
      await seen.reaches("t/3=v");
      await seen.stop();
      expect(seen.changes.map(({ more }) => more)).toEqual([true, true, false]);
      expect(new Set(seen.changes.map(({ revision }) => revision)).size).toBe(1);
    });

    test("from a revision gives only what came after it", async () => {
      const { first } = harness;
      const { revision } = await put(first, "w/a", 0, "1");
      await put(first, "w/b", 0, "1");
      const seen = watching(() => first, "w/", revision);
      await seen.reaches("w/b=1");
      await seen.stop();
      expect(seen.words).toEqual(["w/b=1"]);
    });

    test("goes on through a restart in its middle without a gap", async () => {
      const seen = watching(() => harness.first, "w/", 0);
      const write = async (n: number): Promise<void> => {
        await put(harness.second, `w/${n}`, 0, "1");
      };
      for (let n = 0; n < 5; n++) await write(n);
      await seen.reaches("w/4=1");
      await harness.restart();
      for (let n = 5; n < 10; n++) await write(n);
      await seen.reaches("w/9=1");
      await seen.stop();
      expect(seen.words).toEqual(Array.from({ length: 10 }, (_, n) => `w/${n}=1`));
    });

    test("from before the kept history gives each key as it is now, deleted ones too", async () => {
      const { first } = harness;
      const { revision } = await put(first, "w/gone", 0, "1");
      const state = await first.get("w/gone");
      await put(first, "w/gone", state?.revision ?? 0, undefined);
      let last = 0;
      for (let n = 0; n < 3 * historyMax; n++) {
        last = (await put(first, "w/busy", last, String(n))).revision;
      }
      const seen = watching(() => first, "w/", revision);
      await seen.reaches(`w/busy=${3 * historyMax - 1}`);
      await seen.stop();
      expect(seen.words).toContain("w/gone deleted");
    });

    test("from a revision that never was is refused: this is another history", async () => {
      const seen = watching(() => harness.first, "", 1_000_000);
      await expect(seen.stopped).rejects.toMatchObject({ code: "CONFLICT" });
    });
  });

  describe("a registration", () => {
    test("hands out a greater incarnation each time, also after a restart", async () => {
      const one = await harness.first.register(member, 2000);
      const two = await harness.second.register(member, 2000);
      expect(two.incarnation).toBeGreaterThan(one.incarnation);
      await two.release();
      await harness.restart();
      const three = await harness.first.register(member, 2000);
      expect(three.incarnation).toBeGreaterThan(two.incarnation);
      await three.release();
    });

    test("is lost when the member registers anew", async () => {
      const one = await harness.first.register(member, 300);
      const two = await harness.second.register(member, 300);
      expect(await one.lost).toMatch(/taken over/);
      expect((await harness.first.get(presenceKey(member)))?.value).toContain(
        `"incarnation":${two.incarnation}`,
      );
      await two.release();
    });

    test("shows presence until it is released, and watchers learn of both", async () => {
      const seen = watching(() => harness.first, "presence/", 0);
      const registration = await harness.second.register(member, 2000);
      await registration.release();
      await seen.reaches("presence/n1 deleted");
      await seen.stop();
      expect(await harness.first.get(presenceKey(member))).toBeUndefined();
      expect(await registration.lost).toBe("released");
    });

    test("outlives its lease length while it is renewed", async () => {
      const registration = await harness.first.register(member, 200);
      const seen = watching(() => harness.first, "presence/", 0);
      const other = await harness.second.acquireLease(memberId("n2"), 600);
      // The second lease, three times as long and never renewed, is our watch.
      await seen.reaches("presence/n2 deleted");
      await seen.stop();
      expect(seen.words.filter((word) => word === "presence/n1 deleted")).toEqual([]);
      expect(await harness.second.renewLease(memberId("n2"), other)).toBe(false);
      await registration.release();
    });

    test("that is not renewed ends with its lease", async () => {
      const seen = watching(() => harness.second, "presence/", 0);
      const incarnation = await harness.first.acquireLease(member, 200);
      await seen.reaches("presence/n1 deleted");
      await seen.stop();
      expect(await harness.first.renewLease(member, incarnation)).toBe(false);
    });

    test("survives a restart of the coordinator that is shorter than the lease", async () => {
      const incarnation = await harness.first.acquireLease(member, 3000);
      await harness.restart();
      await harness.first.readBarrier();
      expect(await harness.first.renewLease(member, incarnation)).toBe(true);
      await harness.first.releaseLease(member, incarnation);
    });
  });

  describe("behind a bad network", () => {
    test("a change whose answer is lost is reported as it was: done once", async () => {
      const { network, first, second } = harness;
      if (network === undefined) return;
      await first.readBarrier();
      network.swallow("answers");
      const changing = put(first, "a", 0, "mine");
      await eventually(async () => (await second.get("a"))?.value === "mine");
      network.swallow("nothing");
      network.cut();
      const outcome = await changing;
      expect(outcome).toEqual({ ok: true, revision: (await second.get("a"))?.revision });
    });

    test("a change that never arrived is sent again", async () => {
      const { network, first, second } = harness;
      if (network === undefined) return;
      await first.readBarrier();
      network.swallow("all");
      const changing = put(first, "a", 0, "mine");
      await eventually(() => Promise.resolve(network.connections > 1));
      network.swallow("nothing");
      network.cut();
      expect((await changing).ok).toBe(true);
      expect((await second.get("a"))?.value).toBe("mine");
    });

    test("a change whose answer is lost and that another undid meanwhile is not reported done", async () => {
      const { network, first, second } = harness;
      if (network === undefined) return;
      await first.readBarrier();
      network.swallow("answers");
      const changing = put(first, "a", 0, "mine");
      await eventually(async () => (await second.get("a")) !== undefined);
      await put(second, "a", (await second.get("a"))?.revision ?? 0, "theirs");
      network.swallow("nothing");
      network.cut();
      expect((await changing).ok).toBe(false);
      expect((await second.get("a"))?.value).toBe("theirs");
    });

    test("a member that is cut off learns that its registration is lost", async () => {
      const { network, first, second } = harness;
      if (network === undefined) return;
      const registration = await first.register(member, 300);
      network.swallow("all");
      expect(await registration.lost).toBe("lease not renewed in time");
      await eventually(async () => (await second.get(presenceKey(member))) === undefined);
      network.swallow("nothing");
      network.cut();
    });

    test("a watch cut off over a compaction learns the difference, deletions too", async () => {
      const { network, compact, first, second } = harness;
      if (network === undefined || compact === undefined) return;
      for (const key of ["w/gone", "w/kept", "w/changed"]) await put(second, key, 0, "1");
      const seen = watching(() => first, "w/", 0);
      await seen.reaches("w/changed=1");
      network.swallow("all");
      const gone = await second.get("w/gone");
      await put(second, "w/gone", gone?.revision ?? 0, undefined);
      const changed = await second.get("w/changed");
      await put(second, "w/changed", changed?.revision ?? 0, "2");
      await compact((await put(second, "w/new", 0, "1")).revision);
      network.swallow("nothing");
      network.cut();
      await seen.reaches("w/new=1");
      await seen.reaches("w/gone deleted");
      await seen.stop();
      expect(seen.words.filter((word) => word.startsWith("w/kept"))).toEqual(["w/kept=1"]);
      expect(seen.words).toContain("w/changed=2");
    });

    test("a watch from a compacted revision is refused: it could not tell what was deleted", async () => {
      const { compact, first } = harness;
      if (compact === undefined) return;
      const { revision } = await put(first, "w/a", 0, "1");
      await put(first, "w/b", 0, "1");
      await compact((await put(first, "w/c", 0, "1")).revision);
      const seen = watching(() => first, "w/", revision);
      await expect(seen.stopped).rejects.toMatchObject({ code: "CONFLICT" });
    });

    test("a watch misses nothing over many broken links", async () => {
      const { network, first, second } = harness;
      if (network === undefined) return;
      const seen = watching(() => first, "w/", 0);
      for (let n = 0; n < 30; n++) {
        await put(second, `w/${n}`, 0, "1");
        if (n % 10 === 5) network.cut();
      }
      await seen.reaches("w/29=1");
      await seen.stop();
      expect(seen.words).toEqual(Array.from({ length: 30 }, (_, n) => `w/${n}=1`));
    });
  });
});

function change(key: string): { key: string; ifRevision: number; value: string } {
  return { key, ifRevision: 0, value: "v" };
}

function put(
  coordinator: Coordinator,
  key: string,
  ifRevision: number,
  value: string | undefined,
): Promise<{ readonly ok: boolean; readonly revision: number }> {
  return coordinator.compareAndSet([{ key, ifRevision, value }]);
}
