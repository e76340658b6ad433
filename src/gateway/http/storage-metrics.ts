// What a mail node shows at /metrics of its disk: room, damage, the scrubber, full copies of shards.

import type { Registry } from "prom-client";
import { registerFamilies } from "./metric-families.ts";
import type { Family } from "./metric-families.ts";

export interface StorageFigures {
  readonly diskFreeBytes: number;
  readonly diskTotalBytes: number;
  readonly ballastBytes: number;
  /** `ample`, `noCopies` or `noMail`. */
  readonly roomLevel: string;
  readonly damageFound: Readonly<Record<string, number>>;
  readonly damageRepaired: number;
  readonly damageLost: number;
  readonly scrubBytes: number;
  readonly scrubPasses: number;
  readonly scrubFinishedMs: number;
  /** What the scrubber compared with other copies since the start. */
  readonly compared: {
    readonly units: number;
    readonly bodies: number;
    readonly differing: number;
    readonly mended: number;
    readonly skipped: number;
  };
  readonly copies: readonly {
    readonly direction: "in" | "out";
    readonly doneBytes: number;
    readonly ofBytes: number;
  }[];
  readonly copiesWaiting: number;
  readonly copiesFinished: number;
  readonly copiesFailed: number;
  /** Unacknowledged entries cut from logs since the start, and the files of them that are kept. */
  readonly cutEntries: number;
  readonly cutFiles: number;
}

const directions = ["in", "out"] as const;

const families: readonly Family<StorageFigures>[] = [
  {
    name: "pabal_disk_bytes",
    help: "The data folder's file system; ballast is what is given up when it is full",
    kind: "gauge",
    labels: ["what"],
    read: ({ diskFreeBytes, diskTotalBytes, ballastBytes }) => [
      { labels: { what: "free" }, value: diskFreeBytes },
      { labels: { what: "total" }, value: diskTotalBytes },
      { labels: { what: "ballast" }, value: ballastBytes },
    ],
  },
  {
    name: "pabal_disk_refuses",
    help: "1 where the disk is too full: for new copies of shards, for new mail",
    kind: "gauge",
    labels: ["what"],
    read: ({ roomLevel }) => [
      { labels: { what: "copies" }, value: roomLevel === "ample" ? 0 : 1 },
      { labels: { what: "mail" }, value: roomLevel === "noMail" ? 1 : 0 },
    ],
  },
  {
    name: "pabal_damage_found_total",
    help: "Rows, bodies, blobs and log records found damaged since the start",
    kind: "counter",
    labels: ["kind"],
    read: ({ damageFound }) =>
      Object.entries(damageFound).map(([kind, value]) => ({ labels: { kind }, value })),
  },
  {
    name: "pabal_damage_repaired_total",
    help: "Damage replaced from another member since the start",
    kind: "counter",
    read: ({ damageRepaired }) => damageRepaired,
  },
  {
    name: "pabal_damage_lost_total",
    help: "Damage that every member has: shown to users as lost",
    kind: "counter",
    read: ({ damageLost }) => damageLost,
  },
  {
    name: "pabal_scrub_bytes",
    help: "Bytes read in the present pass of the scrubber; 0 between passes",
    kind: "gauge",
    read: ({ scrubBytes }) => scrubBytes,
  },
  {
    name: "pabal_scrub_passes_total",
    help: "Passes of the scrubber that came to their end since the start",
    kind: "counter",
    read: ({ scrubPasses }) => scrubPasses,
  },
  {
    name: "pabal_scrub_finished_seconds",
    help: "Unix time of the end of the last pass; 0: never",
    kind: "gauge",
    read: ({ scrubFinishedMs }) => scrubFinishedMs / 1000,
  },
  {
    name: "pabal_copies_compared_total",
    help: "Accounts and bodies of this node's secondary copies compared with the primary's, and those that could not be",
    kind: "counter",
    labels: ["what"],
    read: ({ compared: { units, bodies, skipped } }) => [
      { labels: { what: "accounts" }, value: units },
      { labels: { what: "bodies" }, value: bodies },
      { labels: { what: "skipped" }, value: skipped },
    ],
  },
  {
    name: "pabal_copies_differ_total",
    help: "Differences from the primary's copy found since the start, those that were mended included",
    kind: "counter",
    read: ({ compared }) => compared.differing,
  },
  {
    name: "pabal_copies_mended_total",
    help: "Accounts whose rows were replaced by the primary's, as ours did not add up",
    kind: "counter",
    read: ({ compared }) => compared.mended,
  },
  {
    name: "pabal_shard_copies",
    help: "Full copies of shards that run now, and those that wait for their turn",
    kind: "gauge",
    labels: ["state"],
    read: ({ copies, copiesWaiting }) => [
      ...directions.map((direction) => ({
        labels: { state: direction },
        value: copies.filter((copy) => copy.direction === direction).length,
      })),
      { labels: { state: "waiting" }, value: copiesWaiting },
    ],
  },
  {
    name: "pabal_shard_copy_bytes",
    help: "Of the copies that come in now: bytes that are here, and an estimate of all",
    kind: "gauge",
    labels: ["what"],
    read: ({ copies }) => {
      const coming = copies.filter(({ direction }) => direction === "in");
      return [
        { labels: { what: "done" }, value: coming.reduce((sum, one) => sum + one.doneBytes, 0) },
        { labels: { what: "all" }, value: coming.reduce((sum, one) => sum + one.ofBytes, 0) },
      ];
    },
  },
  {
    name: "pabal_shard_copies_total",
    help: "Full copies that came to this node since the start",
    kind: "counter",
    labels: ["outcome"],
    read: ({ copiesFinished, copiesFailed }) => [
      { labels: { outcome: "whole" }, value: copiesFinished },
      { labels: { outcome: "failed" }, value: copiesFailed },
    ],
  },
  {
    name: "pabal_cut_entries_total",
    help: "Entries that nobody was told of and that a failover removed from a log, since the start",
    kind: "counter",
    read: ({ cutEntries }) => cutEntries,
  },
  {
    name: "pabal_cut_files",
    help: "Files of such entries in cut/, removed after 7 days",
    kind: "gauge",
    read: ({ cutFiles }) => cutFiles,
  },
];

export function registerStorageMetrics(registry: Registry, read: () => StorageFigures): void {
  registerFamilies(registry, read, families);
}
