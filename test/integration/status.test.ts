// What an operator sees while a node is away and after: `pabal cluster status`, the admin API, metrics.

import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";

const noRoom = "noRoomForCopy";

let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 2, gateways: 2, users: 4, restartAfter: "never" });
}, 60_000);
afterAll(() => cluster.destroy());

async function metrics(member: string): Promise<ReadonlyMap<string, number>> {
  const { gateways, nodes } = cluster.ports;
  const http = [...gateways, ...nodes].find(({ id }) => id === member)?.http ?? 0;
  const text = await (await fetch(`http://127.0.0.1:${http}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line.startsWith("pabal_"));
  return new Map(
    lines.map((line) => {
      const [name = "", value] = line.split(" ");
      return [name.replace(/,?member="[^"]*"/, "").replace("{}", ""), Number(value)] as const;
    }),
  );
}

test("a cluster that is well says so, with every member's load and its age", async () => {
  await cluster.settled();
  await agreed(async () => {
    const status = await cluster.status();
    const loads = status.members.filter(({ role }) => role !== "coordinator");
    expect(loads.filter(({ load }) => load?.ageMs === undefined)).toEqual([]);
    expect(status).toMatchObject({ toSafeMs: 0, copies: [], alarms: [] });
    expect(status.shards.usersOnOneCopy).toBe(0);
    expect(status.ring).toMatchObject({ order: ["g1", "g2"] });
    const gateway = status.members.find(({ id }) => id === "g2");
    expect(gateway?.load?.sessions).toBeGreaterThanOrEqual(0);
    const seen = await metrics("g2");
    expect(seen.get("pabal_ring_members")).toBe(2);
    expect(seen.get("pabal_ring_rotation_seconds")).toBeGreaterThan(0);
    expect(seen.get('pabal_shard_states{state="FULL"}')).toBe(status.shards.total);
    expect(seen.get("pabal_users_on_one_copy")).toBe(0);
    expect(seen.get("pabal_time_to_safe_seconds")).toBe(0);
    expect(seen.get('pabal_load_age_seconds{of="n1"}')).toBeGreaterThan(0);
    expect(seen.get('pabal_pulse_datagrams_total{direction="sent"}')).toBeGreaterThan(0);
  });
});

test("a lost node is seen: failovers, users on one copy, no room; and that it is over", async () => {
  // A slow start may have raised alarms, too.
  const before = await metrics("g1");
  await cluster.kill("n2");
  const lost = await agreed(async () => {
    const status = await cluster.status("g1");
    const { total } = status.shards;
    expect(status.shards).toMatchObject({ full: 0, solo: total });
    expect(status.shards.usersOnOneCopy).toBeGreaterThanOrEqual(4);
    // A crowded machine may have had some more.
    expect(status.changes?.failovers).toBeGreaterThanOrEqual(total / 2);
    expect(status.toSafeMs).toBeUndefined();
    expect(status.alarms?.map(({ why }) => why)).toEqual([noRoom]);
    const seen = await metrics("g1");
    expect(seen.get(`pabal_alarm_shards{why="${noRoom}"}`)).toBe(total);
    expect(seen.get("pabal_failovers_total")).toBe(status.changes?.failovers);
    expect(seen.has("pabal_time_to_safe_seconds")).toBe(false);
    return seen;
  });
  const raised = `pabal_alarms_total{why="${noRoom}"}`;
  expect(lost.get(raised)).toBeGreaterThan(before.get(raised) ?? 0);
  const shown = await cluster.cli(["cluster", "status"]);
  expect(shown.stdout).toMatch(/ALARM noRoomForCopy: \d+ shards, for \d+ s/);
  expect(shown.stdout).toMatch(/\d+ failovers, the last \d+ s ago/);

  const back = cluster.serve("n2");
  await agreed(async () => {
    const { shards, alarms, toSafeMs } = await cluster.status("g1");
    expect({ full: shards.full, alarms, toSafeMs }).toEqual({
      full: shards.total,
      alarms: [],
      toSafeMs: 0,
    });
    expect((await metrics("g1")).get("pabal_copies_whole_total")).toBeGreaterThan(0);
  });
  await back.stop();
}, 150_000);

/** Until the members have told each other, and it holds at once. */
function agreed<T>(look: () => Promise<T>): Promise<T> {
  return vi.waitFor(look, { timeout: 60_000, interval: 200 });
}
