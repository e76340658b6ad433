// What a mail node shows at /metrics of its search index.

import type { Registry } from "prom-client";
import { registerFamilies } from "./metric-families.ts";
import type { Family } from "./metric-families.ts";

export interface SearchFigures {
  readonly waiting: number;
  readonly messages: number;
  readonly damages: number;
}

const families: readonly Family<SearchFigures>[] = [
  {
    name: "pabal_search_index_waiting",
    help: "Mailboxes whose new mail waits to be indexed; searches read it through",
    kind: "gauge",
    read: ({ waiting }) => waiting,
  },
  {
    name: "pabal_search_indexed_total",
    help: "Messages put into the search index since the start",
    kind: "counter",
    read: ({ messages }) => messages,
  },
  {
    name: "pabal_search_index_dropped_total",
    help: "Damaged parts of the search index that were dropped, to be built anew, since the start",
    kind: "counter",
    read: ({ damages }) => damages,
  },
];

/** Adds the figures of the search index, read when asked for; none where there is no index. */
export function registerSearchMetrics(
  registry: Registry,
  figures: () => SearchFigures | undefined,
): void {
  const none = { waiting: 0, messages: 0, damages: 0 };
  registerFamilies(registry, () => figures() ?? none, families);
}
