// The pulse as members use it: worker threads and real UDP sockets on loopback.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { heartbeatTimes } from "../../../src/cluster/protocol/heartbeat-types.ts";
import type { Pulse, PulseEvent } from "../../../src/cluster/pulse/pulse.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { systemRandom } from "../../../src/lib/random.ts";
import { epoch, memberId, shardId } from "../../../src/mail/ids.ts";
import { block, leaseAgeMs, Pulses, until } from "../../support/pulses.ts";

const shard = shardId(7);
const n1 = memberId("n1");
const n2 = memberId("n2");
const { leaseMs } = heartbeatTimes;

let pulses: Pulses;
beforeEach(() => {
  pulses = new Pulses();
});
afterEach(() => pulses.stopAll());

/** n1 is the primary of `shard` in epoch 3, n2 its secondary. */
async function leased(): Promise<{ primary: Pulse; secondary: Pulse; events: PulseEvent[] }> {
  const { pulse: primary, events } = await pulses.start("n1");
  const { pulse: secondary } = await pulses.start("n2");
  secondary.setGrant(shard, { epoch: epoch(3), primary: n1 });
  primary.setHold(shard, { epoch: epoch(3), secondaries: [n2] });
  expect(primary.leaseStartMs(shard, n2)).toBe(-Infinity);
  await until(() => leaseAgeMs(primary, shard, "n2") < leaseMs);
  return { primary, secondary, events };
}

describe("leases", () => {
  test("are kept fresh while the main threads are stuck for a second", async () => {
    const { primary, secondary, events } = await leased();
    const beforeMs = systemClock.monotonicMs();
    block(1000);
    expect(leaseAgeMs(primary, shard, "n2")).toBeLessThan(leaseMs);
    expect(systemClock.monotonicMs() - secondary.lastGrantedMs(shard)).toBeLessThan(leaseMs);
    expect(systemClock.monotonicMs() - secondary.heardMs(n1)).toBeLessThan(leaseMs);
    expect(secondary.loopLagMs()).toBeGreaterThan(500);
    // The others were told of it.
    const lags = () => events.flatMap((one) => (one.kind === "vitals" ? one.vitals.loopLagMs : []));
    await until(() => lags().some((lagMs) => lagMs > 500));
    await until(() => primary.vitals(n2)?.loopLagMs === 0);
    expect(primary.leaseStartMs(shard, n2)).toBeGreaterThan(beforeMs);
  });

  test("are begun no more once revoking has answered", async () => {
    const { primary, secondary } = await leased();
    const { lastGrantedMs } = await secondary.revoke(shard, epoch(3));
    // A grant that the table still speaks of does not bring it back.
    secondary.setGrant(shard, { epoch: epoch(3), primary: n1 });
    await until(() => leaseAgeMs(primary, shard, "n2") > leaseMs + 100);
    expect(primary.leaseStartMs(shard, n2)).toBeLessThanOrEqual(lastGrantedMs + 1);
    expect(Math.abs(secondary.lastGrantedMs(shard) - lastGrantedMs)).toBeLessThanOrEqual(1);
    expect(primary.heardMs(n2)).toBeGreaterThan(lastGrantedMs + leaseMs / 2);
  });

  test("of an epoch that is over are gone when setHold returns", async () => {
    const { primary, secondary } = await leased();
    primary.setHold(shard, { epoch: epoch(4), secondaries: [n2] });
    expect(primary.leaseStartMs(shard, n2)).toBe(-Infinity);
    const changedMs = systemClock.monotonicMs();
    secondary.setGrant(shard, { epoch: epoch(4), primary: n1 });
    await until(() => leaseAgeMs(primary, shard, "n2") < leaseMs);
    expect(primary.leaseStartMs(shard, n2)).toBeGreaterThanOrEqual(Math.floor(changedMs));
    primary.setHold(shard, undefined);
    expect(primary.leaseStartMs(shard, n2)).toBe(-Infinity);
  });

  test("run out when the secondary dies, which is told", async () => {
    const { primary, events } = await leased();
    await pulses.stop("n2");
    await until(() => events.some(({ kind }) => kind === "silent"));
    await until(() => leaseAgeMs(primary, shard, "n2") > leaseMs);
    // A new start of the node is heard as soon as it is listed.
    await pulses.start("n2");
    await until(() => events.at(-1)?.kind === "heard" || primary.vitals(n2) !== undefined);
    await until(() => systemClock.monotonicMs() - primary.heardMs(n2) < 200);
    expect(leaseAgeMs(primary, shard, "n2")).toBeGreaterThan(leaseMs);
  });
});

describe("the ring", () => {
  const whole = (at: readonly Pulse[], order: string): boolean =>
    at.every((pulse) => pulse.ring()?.order.join(" ") === order);

  test("turns among three, has one manager when there is work, and is whole soon after a death", async () => {
    const started = [await pulses.start("g1"), await pulses.start("g2"), await pulses.start("g3")];
    const gateways = started.map(({ pulse }) => pulse);
    await until(() => whole(gateways, "g1 g2 g3"));
    await until(() => gateways.every((pulse) => (pulse.ring()?.rotationMs ?? 0) >= 60));
    expect(gateways.filter((pulse) => pulse.acting())).toEqual([]);
    for (const pulse of gateways) pulse.wantToken(true);
    await until(() => gateways.some((pulse) => pulse.acting()));
    const acting = gateways.findIndex((pulse) => pulse.acting());
    expect(gateways.filter((pulse) => pulse.acting())).toHaveLength(1);
    const rest = gateways.filter((_, at) => at !== acting);
    const order = ["g1", "g2", "g3"].filter((_, at) => at !== acting).join(" ");
    await pulses.stop(`g${acting + 1}`);
    const diedMs = systemClock.monotonicMs();
    await until(() => whole(rest, order));
    expect(systemClock.monotonicMs() - diedMs).toBeLessThan(4000);
    await until(() => rest.some((pulse) => pulse.acting()));
  });

  test("of a single gateway is that gateway, which manages", async () => {
    const { pulse, events } = await pulses.start("g1");
    await until(() => pulse.acting());
    await until(() => pulse.ring()?.holder === "g1");
    expect(events).toContainEqual({ kind: "acting", acting: true });
  });

  test("carries what each gateway can't reach, and load figures with their ages", async () => {
    const { pulse: g1 } = await pulses.start("g1");
    const { pulse: g2 } = await pulses.start("g2");
    await pulses.start("n1");
    await until(() => whole([g1, g2], "g1 g2"));
    g1.setLink(n1, false);
    const figures = { cpuPerMille: 250, queueBytes: 9, fsyncP99Micros: 800, diskFreePerMille: 700 };
    const load = { ...figures, users: 5, sessions: 6, ioPerSecond: 7, member: n1, boot: 1, seq: 3 };
    g1.setLoad(load);
    const reported = (): readonly string[] =>
      g2.ring()?.reach.find(({ gateway }) => gateway === "g1")?.unreachable ?? [];
    await until(() => reported().includes("n1"));
    await until(() => g2.ring()?.loads[0]?.load.seq === 3);
    const [carried] = g2.ring()?.loads ?? [];
    expect(carried?.load).toEqual(load);
    expect(carried?.ageMs).toBeLessThan(3000);
    g1.setLink(n1, true);
    await until(() => !reported().includes("n1"));
    await pulses.stop("n1");
    await until(() => reported().includes("n1"));
  });
});

test("members are found by name, too", async () => {
  const { pulse: primary } = await pulses.start("n1");
  await pulses.start("g1");
  pulses.introduce((peer) => ({ ...peer, host: "localhost" }));
  await until(() => primary.heardMs(memberId("g1")) > -Infinity);
});

test("a new key is taken while members run, one after another", async () => {
  const { primary, secondary } = await leased();
  const old = { id: 0, secret: pulses.secret };
  const fresh = { id: 1, secret: systemRandom.bytes(32) };
  for (const keys of [[old, fresh], [fresh, old], [fresh]]) {
    for (const pulse of [primary, secondary]) pulse.setKeys(keys);
  }
  const sinceMs = systemClock.monotonicMs();
  await until(() => primary.leaseStartMs(shard, n2) > sinceMs);
});

test("a UDP port that is taken is told, and the pulse does not start", async () => {
  const { pulse } = await pulses.start("n1");
  const listen = { host: "127.0.0.1", port: pulse.port };
  await expect(pulses.start("n2", { listen })).rejects.toMatchObject({ code: "UNAVAILABLE" });
});

test("who waits for a pulse that stops hears so", async () => {
  const { pulse } = await pulses.start("n1");
  await pulse.stop();
  await expect(pulse.revoke(shard, epoch(1))).rejects.toMatchObject({ code: "UNAVAILABLE" });
});
