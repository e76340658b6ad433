// What a gateway shows at /metrics of the whole cluster: ring, shards, failovers, alarms, and how long
// until all is safe again; and, of every member, its datagrams. Each gateway shows its own view.

import type { Registry } from "prom-client";
import type { RaisedAlarm } from "../../cluster/node/alarm-board.ts";
import type { TableCounts } from "../../cluster/node/table-news.ts";
import type { RingView } from "../../cluster/protocol/ring-types.ts";
import type { PulseCounters } from "../../cluster/pulse/pulse.ts";
import { registerFamilies, registerLookedUp } from "./metric-families.ts";
import type { Family } from "./metric-families.ts";

export interface ClusterFigures {
  /** How many shards are FULL, SYNC, SOLO, and `down`: none of their nodes is linked. */
  readonly shards: Readonly<Record<string, number>>;
  /** The highest of the shard table. */
  readonly epoch: number;
  readonly ring: RingView | undefined;
  readonly acting: boolean;
  /** Undefined: can't be said. */
  readonly toSafeSeconds: number | undefined;
  readonly changes: TableCounts | undefined;
  readonly alarms: ReadonlyMap<string, number>;
  readonly raised: readonly RaisedAlarm[];
}

/** `users`: how many have their mail on one whole copy only. */
export function registerClusterMetrics(
  registry: Registry,
  read: () => ClusterFigures,
  users: () => Promise<number>,
): void {
  registerFamilies(registry, read, families);
  registerLookedUp(registry, {
    name: "pabal_users_on_one_copy",
    help: "Users whose mail is on one whole copy only",
    read: users,
  });
}

export function registerPulseMetrics(registry: Registry, read: () => PulseCounters): void {
  registerFamilies(registry, read, pulseFamilies);
}

const gauge = (
  name: string,
  help: string,
  read: (figures: ClusterFigures) => number | undefined,
): Family<ClusterFigures> => ({ name, help, kind: "gauge", read });

const counter = (
  name: string,
  help: string,
  read: (counts: TableCounts) => number,
): Family<ClusterFigures> => ({
  name,
  help,
  kind: "counter",
  read: ({ changes }) => (changes === undefined ? undefined : read(changes)),
});

const families: readonly Family<ClusterFigures>[] = [
  {
    name: "pabal_shard_states",
    help: "Shards by state: FULL (two whole copies), SYNC, SOLO; down: no member is linked",
    kind: "gauge",
    labels: ["state"],
    read: ({ shards }) =>
      Object.entries(shards).map(([state, value]) => ({ labels: { state }, value })),
  },
  gauge("pabal_table_epoch", "Highest epoch of the shard table", ({ epoch }) => epoch),
  gauge(
    "pabal_time_to_safe_seconds",
    "Estimate until every shard has two whole copies; 0: all have; absent: can't be said",
    ({ toSafeSeconds }) => toSafeSeconds,
  ),
  gauge("pabal_ring_members", "Gateways on the ring", ({ ring }) => ring?.order.length),
  gauge("pabal_ring_term", "Grows with each change of the ring", ({ ring }) => ring?.ring.term),
  gauge("pabal_ring_rotation_seconds", "Time of the token's last whole round", ({ ring }) =>
    ring?.rotationMs === undefined ? undefined : ring.rotationMs / 1000,
  ),
  gauge("pabal_manager_acting", "1 while this gateway manages a failure", ({ acting }) =>
    acting ? 1 : 0,
  ),
  {
    name: "pabal_nodes_unreachable",
    help: "Mail nodes that a gateway can't reach, by gateway, as the ring tells",
    kind: "gauge",
    labels: ["gateway"],
    read: ({ ring }) =>
      (ring?.reach ?? []).map(({ gateway, unreachable }) => ({
        labels: { gateway },
        value: unreachable.length,
      })),
  },
  {
    name: "pabal_load_age_seconds",
    help: "Age of a member's load figures as they go round the ring",
    kind: "gauge",
    labels: ["of"],
    read: ({ ring }) =>
      (ring?.loads ?? []).map(({ load, ageMs }) => ({
        labels: { of: load.member },
        value: ageMs / 1000,
      })),
  },
  counter("pabal_failovers_total", "Shards whose lost primary was replaced", (of) => of.failovers),
  counter("pabal_handovers_total", "Shards handed over by plan", (of) => of.handovers),
  counter("pabal_copies_removed_total", "Whole copies that left a shard", (of) => of.copiesRemoved),
  counter("pabal_copies_whole_total", "Copies that became whole", (of) => of.copiesWhole),
  {
    name: "pabal_alarms_total",
    help: "Alarms of the manager raised since the start",
    kind: "counter",
    labels: ["why"],
    read: ({ alarms }) => [...alarms].map(([why, value]) => ({ labels: { why }, value })),
  },
  {
    name: "pabal_alarm_shards",
    help: "Shards for which an alarm holds now",
    kind: "gauge",
    labels: ["why"],
    read: ({ raised }) =>
      raised.map(({ why, shards }) => ({ labels: { why }, value: shards.length })),
  },
];

const pulseFamilies: readonly Family<PulseCounters>[] = [
  {
    name: "pabal_pulse_datagrams_total",
    help: "Datagrams of heartbeats and ring",
    kind: "counter",
    labels: ["direction"],
    read: ({ sent, received }) => [
      { labels: { direction: "sent" }, value: sent },
      { labels: { direction: "received" }, value: received },
    ],
  },
  {
    name: "pabal_pulse_dropped_total",
    help: "Datagrams that were not believed, by cause",
    kind: "counter",
    labels: ["cause"],
    read: ({ dropped }) =>
      Object.entries(dropped).map(([cause, value]) => ({ labels: { cause }, value })),
  },
];
