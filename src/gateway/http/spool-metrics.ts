// What a mail node shows at /metrics of its spool, and of deliveries that clients may repeat.

import type { Registry } from "prom-client";
import { registerFamilies } from "./metric-families.ts";
import type { Family } from "./metric-families.ts";

export interface SpoolMetrics {
  /** That wait, in the shards whose primary this node is or was. */
  readonly recipients: number;
  readonly bytes: number;
  readonly delivered: number;
  readonly failed: number;
  readonly untold: number;
  readonly unconfirmed: number;
}

const family = (
  name: string,
  kind: "gauge" | "counter",
  help: string,
  read: (of: SpoolMetrics) => number,
): Family<SpoolMetrics> => ({ name, help, kind, read });

const families: readonly Family<SpoolMetrics>[] = [
  family(
    "pabal_spool_recipients",
    "gauge",
    "Recipients whose accepted mail waits here for their shard",
    (of) => of.recipients,
  ),
  family("pabal_spool_bytes", "gauge", "Bytes of that mail", (of) => of.bytes),
  family(
    "pabal_spool_delivered_total",
    "counter",
    "Recipients that had their mail from the spool since the start",
    (of) => of.delivered,
  ),
  family(
    "pabal_spool_failed_total",
    "counter",
    "Recipients that will never have it: account gone, or away for five days",
    (of) => of.failed,
  ),
  family(
    "pabal_spool_untold_total",
    "counter",
    "Of those, the ones whose sender could not be told",
    (of) => of.untold,
  ),
  family(
    "pabal_deliveries_unconfirmed",
    "gauge",
    "Deliveries of the last day whose client is not known to have had its 2xx",
    (of) => of.unconfirmed,
  ),
];

export function registerSpoolMetrics(registry: Registry, read: () => SpoolMetrics): void {
  registerFamilies(registry, read, families);
}
