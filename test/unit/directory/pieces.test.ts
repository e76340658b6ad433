// The small machines of the directory, one by one: sagas, rings, guards, limits, placement, names.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { accountName, aliasNames } from "../../../src/cluster/directory/account-names.ts";
import { ChangeRing } from "../../../src/cluster/directory/change-ring.ts";
import { GuessLimits, networkOf } from "../../../src/cluster/directory/guess-limits.ts";
import { OrderGuard } from "../../../src/cluster/directory/order-guard.ts";
import { Placement } from "../../../src/cluster/directory/placement.ts";
import { startSaga, stepSaga } from "../../../src/cluster/directory/saga.ts";
import type { Saga, SagaEffect, SagaEvent } from "../../../src/cluster/directory/saga.ts";
import { decodeSaga, encodeSaga } from "../../../src/cluster/directory/saga-codec.ts";
import { SeededRandom } from "../../../src/lib/random.ts";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";
import { accountId, epoch, lsn, memberId, opId, shardId } from "../../../src/mail/ids.ts";

const registration = {
  account: accountId(5),
  name: "alice@example.test",
  aliases: ["a@example.test", "b@example.test"],
  state: "active",
  credentials: { hash: "x" },
  credVersion: 1,
  userVersion: 1,
  quotaBytes: 0,
  quotaMessages: 0,
  profile: { __proto__x: "y" },
  createdMs: 1,
} as const;
const saga: Saga = {
  id: opId("0".repeat(32)),
  name: registration.name,
  account: registration.account,
  shard: shardId(3),
  work: { kind: "create", registration },
  add: registration.aliases,
  drop: [],
  failure: undefined,
};

describe("a saga", () => {
  test("survives its bytes", () => {
    expect(decodeSaga(encodeSaga(saga))).toEqual(saga);
    const failed: Saga = { ...saga, failure: { code: "NAME_TAKEN", name: "a@example.test" } };
    expect(decodeSaga(encodeSaga(failed))).toEqual(failed);
    expect(() => decodeSaga(encodeSaga(saga).subarray(0, 40))).toThrow();
  });

  test("ignores answers that it did not ask for", () => {
    const [run] = startSaga(saga, 9);
    for (const event of [
      { kind: "saved" },
      { kind: "put", floor: 99, names: [] },
      { kind: "released", name: "a@example.test" },
      { kind: "claimed", name: "other@example.test", floor: 99 },
    ] as const) {
      expect(stepSaga(run, event)).toEqual([run, []]);
    }
  });

  // A small world: names and the account, with crashes that restart the saga from its durable form.
  test("ends with everything or nothing, wherever it is restarted", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20)), fc.boolean(), fc.boolean(), (crashes, taken, refuses) => {
        const world = new World(taken, refuses);
        for (const after of [...crashes.slice(0, 5), 1000]) world.run(after);
        expect(world.ended).toBe(true);
        const wanted = taken || refuses ? [] : [saga.name, ...saga.add].toSorted();
        expect([...world.held].toSorted()).toEqual(wanted);
        expect(world.account).toBe(taken || refuses ? "fenced" : "there");
        expect(world.floor).toBe(taken || refuses ? undefined : 40);
      }),
    );
  });
});

class World {
  readonly held = new Set([saga.name]);
  account: "never" | "there" | "fenced" = "never";
  floor: number | undefined;
  ended = false;
  #durable: Saga | undefined = saga;
  readonly #taken: boolean;
  readonly #refuses: boolean;

  constructor(taken: boolean, refuses: boolean) {
    this.#taken = taken;
    this.#refuses = refuses;
  }

  /** Carries the saga on for some effects, then forgets what isn't durable. */
  run(effectsMax: number): void {
    if (this.#durable === undefined) return;
    let left = effectsMax;
    let [run, effects] = startSaga(this.#durable, 7);
    while (effects.length > 0) {
      const more: SagaEffect[] = [];
      for (const effect of effects) {
        if (left-- <= 0) return;
        const event = this.#perform(effect);
        if (event === undefined) continue;
        const [next, follow] = stepSaga(run, event);
        run = next;
        more.push(...follow);
      }
      effects = more;
    }
  }

  #perform(effect: SagaEffect): SagaEvent | undefined {
    switch (effect.kind) {
      case "claim":
        if (this.#taken && effect.name === "b@example.test")
          return { kind: "taken", name: effect.name };
        this.held.add(effect.name);
        return { kind: "claimed", name: effect.name, floor: 40 };
      case "release":
        this.held.delete(effect.name);
        return { kind: "released", name: effect.name };
      case "put":
        if (this.#refuses) return { kind: "refused", failure: { code: "CONFLICT", why: "" } };
        expect(this.account).not.toBe("fenced");
        this.account = "there";
        this.floor = effect.floor;
        return { kind: "put", floor: 0, names: [saga.name, ...saga.add] };
      case "fence":
        this.account = "fenced";
        return { kind: "put", floor: 0, names: [] };
      case "save":
        this.#durable = effect.saga;
        return { kind: "saved" };
      case "finish":
        this.#durable = undefined;
        if (effect.release !== undefined) this.held.delete(saga.name);
        this.ended = true;
        return { kind: "saved" };
      case "answer":
        return undefined;
    }
  }
}

describe("a ring of changes", () => {
  test("gives what follows, or says that it no longer can", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), fc.nat(60), fc.nat(60), (most, count, after) => {
        const ring = new ChangeRing(lsn(10), most);
        for (let at = 11; at <= 10 + count; at++) {
          ring.push({ shard: shardId(0), lsn: lsn(at), rows: [], claims: [] });
        }
        const found = ring.after(lsn(after), 100)?.map((change) => change.lsn);
        const all = Array.from({ length: count }, (_, index) => 11 + index);
        const kept = all.slice(-most);
        const reaches = after >= 10 + count - kept.length;
        expect(found).toEqual(reaches ? kept.filter((at) => at > after) : undefined);
      }),
    );
  });

  test("keeps changes of one entry together", () => {
    const ring = new ChangeRing(lsn(0), 4);
    const change = { shard: shardId(0), lsn: lsn(1), rows: [], claims: [] };
    ring.push(change);
    ring.push(change);
    expect(ring.after(lsn(0), 10)).toHaveLength(1);
  });
});

test("an order that was overtaken is not admitted", () => {
  const guard = new OrderGuard(2);
  const order = (inEpoch: number, number: number, shard = 1) => ({
    shard: shardId(shard),
    epoch: epoch(inEpoch),
    number,
  });
  expect(guard.admit("x", order(2, 5))).toBe(true);
  expect(guard.admit("x", order(2, 5))).toBe(true);
  expect(guard.admit("x", order(2, 4))).toBe(false);
  expect(guard.admit("x", order(1, 9))).toBe(false);
  expect(guard.admit("x", order(1, 9, 2))).toBe(true);
  expect(guard.admit("x", order(3, 1))).toBe(true);
});

describe("guess limits", () => {
  test.each([
    ["127.0.0.1", undefined],
    ["::1", undefined],
    ["::ffff:127.0.0.9", undefined],
    ["192.0.2.7", "192.0.2.7"],
    ["::ffff:192.0.2.7", "192.0.2.7"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:DB8:1:2::9%eth0", "2001:db8:1:2::/64"],
    ["2001:db8::", "2001:db8:0:0::/64"],
  ])("count %s as %s", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });

  test("give back what right passwords took, and refill with time", () => {
    const clock = new SimulatedClock();
    const limits = new GuessLimits({ perMinute: 2, delayMaxMs: 40_000 }, clock);
    limits.attempt("a", "192.0.2.1")?.refund();
    expect(limits.attempt("a", "192.0.2.1")?.delayMs).toBe(0);
    expect(limits.attempt("a", "192.0.2.1")?.delayMs).toBe(0);
    expect(limits.attempt("a", "192.0.2.1")?.delayMs).toBe(30_000);
    expect(limits.attempt("a", "192.0.2.1")).toBeUndefined();
    clock.advance(90_000);
    expect(limits.attempt("b", "192.0.2.1")?.delayMs).toBe(0);
  });
});

describe("placement", () => {
  const busy = memberId("n1");
  const idle = memberId("n2");
  const primaries = { primary: (shard: number) => (shard % 2 === 0 ? busy : idle) };

  test("prefers the node with less to do, and takes an unknown load for a heavy one", () => {
    for (const load of [0.9, undefined]) {
      const loadOf = (node: string) => (node === busy ? load : 0.1);
      const random = new SeededRandom(1);
      const placement = new Placement({ shardCount: 8, primaries, loadOf, random });
      const chosen = Array.from({ length: 200 }, () => {
        const placed = placement.choose();
        placed?.done();
        return placed?.shard;
      });
      expect(chosen.filter((shard) => (shard ?? 0) % 2 === 0).length).toBeLessThan(10);
    }
  });

  test("spreads what it places at the same time", () => {
    const random = new SeededRandom(1);
    const placement = new Placement({ shardCount: 8, primaries, loadOf: () => 0.5, random });
    const chosen = Array.from({ length: 200 }, () => placement.choose()?.shard ?? 0);
    const even = chosen.filter((shard) => shard % 2 === 0).length;
    expect(Math.abs(even - 100)).toBeLessThan(5);
  });

  test("finds nothing where nothing is served", () => {
    const nowhere = { primary: () => undefined };
    const random = new SeededRandom(1);
    const options = { shardCount: 8, primaries: nowhere, loadOf: () => 0, random };
    expect(new Placement(options).choose()).toBeUndefined();
  });
});

test("names are brought to one form and bounded", () => {
  const ours = ["example.test", "xn--oj4b.test"];
  expect(accountName("ÀLICE@EXAMPLE.test", ours)).toBe("àlice@example.test");
  expect(aliasNames(["A@example.test", "a@example.test", "@Example.test"], "x", ours)).toEqual([
    "a@example.test",
    "@example.test",
  ]);
  const many = Array.from({ length: 101 }, (_, index) => `a${index}@example.test`);
  expect(() => aliasNames(many, "x", ours)).toThrow(/LIMIT/);
});
