// What a gateway shows at /metrics of groups and their views.

import type { Registry } from "prom-client";
import { registerFamilies } from "./metric-families.ts";
import type { Family } from "./metric-families.ts";

export interface GroupFigures {
  readonly groups: number;
  readonly waiting: number;
  readonly states: number;
  readonly cacheBytes: number;
  readonly cacheHits: number;
  readonly cacheMisses: number;
}

const families: readonly Family<GroupFigures>[] = [
  {
    name: "pabal_groups_followed",
    help: "Groups whose index this gateway keeps",
    kind: "gauge",
    read: ({ groups }) => groups,
  },
  {
    name: "pabal_group_sessions_waiting",
    help: "Sessions that wait to be told of a change in a group (groups.notifyRate)",
    kind: "gauge",
    read: ({ waiting }) => waiting,
  },
  {
    name: "pabal_group_views_watched",
    help: "Members' views that sessions of this gateway watch",
    kind: "gauge",
    read: ({ states }) => states,
  },
  {
    name: "pabal_group_cache_bytes",
    help: "Rendered messages of groups kept in memory (groups.cache)",
    kind: "gauge",
    read: ({ cacheBytes }) => cacheBytes,
  },
  {
    name: "pabal_group_cache_hits_total",
    help: "Messages of groups that were answered from memory since the start",
    kind: "counter",
    read: ({ cacheHits }) => cacheHits,
  },
  {
    name: "pabal_group_cache_misses_total",
    help: "Messages of groups that were asked for at their node since the start",
    kind: "counter",
    read: ({ cacheMisses }) => cacheMisses,
  },
];

/** Adds the figures of groups, read when asked for. */
export function registerGroupMetrics(registry: Registry, figures: () => GroupFigures): void {
  registerFamilies(registry, figures, families);
}
