// The metrics of Pabal: names, meanings, and the figures that they are made of. A member registers
// what it has (src/cli/members); numbers are read at each scrape and nowhere else.

import type { Registry } from "prom-client";
import { backgroundFailures } from "../../lib/background.ts";
import {
  deliverySecondsBounds,
  type FrontEndCounters,
  frontEndProtocols,
  type ProtocolCounters,
} from "../front-end-counters.ts";
import {
  type Family,
  registerFamilies,
  registerHistogram,
  type Sample,
} from "./metric-families.ts";

/** Links of one direction: a LinkManager's (dialled) or a LinkServer's (accepted) counters. */
export interface LinkFigures {
  readonly direction: "dialled" | "accepted";
  /** Links that are greeted now. */
  readonly up: number;
  /** Links that there should be; absent where that is not known. */
  readonly expected?: number;
  readonly opened: number;
  readonly framesIn: number;
  readonly framesOut: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly malformed: number;
}

/** A mail node's log, cache and shards. */
export interface NodeFigures {
  readonly shardsPrimary: number;
  readonly shardsSecondary: number;
  /** Of the primaries, those that serve now. */
  readonly shardsServing: number;
  readonly committedEntries: number;
  /** Commit groups synced to disk; entries per group is the quotient. */
  readonly commitGroups: number;
  readonly uncommittedBytes: number;
  readonly fsyncP99Seconds: number;
  /** Applied rows that wait for LevelDB. */
  readonly indexQueueBytes: number;
  readonly summaryCacheBytes: number;
  readonly accountsLoaded: number;
  /** Alarms of copies since the start, by kind. */
  readonly alarms: ReadonlyMap<string, number>;
}

/** A gateway's directory and its logins. */
export interface DirectoryFigures {
  /** Shards of which not everything has arrived yet. */
  readonly shardsMissing: number;
  /** Shards whose names can't be denied now: unknown recipients get 451. */
  readonly shardsStale: number;
  readonly cacheHits: number;
  readonly cacheMisses: number;
  readonly hashesWaiting?: number;
  readonly verifiedCached?: number;
}

export function registerFrontEndMetrics(registry: Registry, counters: FrontEndCounters): void {
  registerFamilies(registry, () => counters, frontEndFamilies);
  registerHistogram(registry, {
    name: "pabal_delivery_duration_seconds",
    help: "From the end of a message's data to its answer; the answer comes after the disks of two nodes",
    labels: ["protocol"],
    bounds: deliverySecondsBounds,
    read: () =>
      deliveringProtocols.map((protocol) => ({
        labels: { protocol },
        counts: counters[protocol].deliverySeconds,
        sum: counters[protocol].deliverySecondsSum,
      })),
  });
}

export function registerLinkMetrics(registry: Registry, read: () => readonly LinkFigures[]): void {
  registerFamilies(registry, read, linkFamilies);
}

export function registerNodeMetrics(registry: Registry, read: () => NodeFigures): void {
  registerFamilies(registry, read, nodeFamilies);
}

export function registerDirectoryMetrics(registry: Registry, read: () => DirectoryFigures): void {
  registerFamilies(registry, read, directoryFamilies);
}

/** What every member has: version, readiness, failures of background work. */
export function registerMemberMetrics(
  registry: Registry,
  read: () => { readonly version: string; readonly role: string; readonly ready: boolean },
): void {
  registerFamilies(registry, read, [
    {
      name: "pabal_info",
      help: "1; version and role are labels",
      kind: "gauge",
      labels: ["version", "role"],
      read: ({ version, role }) => [{ labels: { version, role }, value: 1 }],
    },
    {
      name: "pabal_ready",
      help: "1 when /readyz says ready",
      kind: "gauge",
      read: ({ ready }) => (ready ? 1 : 0),
    },
    {
      name: "pabal_background_failures_total",
      help: "Failures of work that nobody awaits, by name",
      kind: "counter",
      labels: ["name"],
      read: () => [...backgroundFailures()].map(([name, value]) => ({ labels: { name }, value })),
    },
  ]);
}

const deliveringProtocols = ["smtp", "submission", "lmtp"] as const;

const byProtocol =
  (read: (counters: ProtocolCounters) => number) =>
  (counters: FrontEndCounters): readonly Sample[] =>
    frontEndProtocols.map((protocol) => ({
      labels: { protocol },
      value: read(counters[protocol]),
    }));

const frontEndFamilies: readonly Family<FrontEndCounters>[] = [
  {
    name: "pabal_connections",
    help: "Client connections open now",
    kind: "gauge",
    labels: ["protocol"],
    read: byProtocol((of) => of.connectionsOpen),
  },
  {
    name: "pabal_connections_opened_total",
    help: "Client connections accepted, refused ones included",
    kind: "counter",
    labels: ["protocol"],
    read: byProtocol((of) => of.connectionsOpened),
  },
  {
    name: "pabal_received_bytes_total",
    help: "Bytes from clients whose connection has ended, TLS included",
    kind: "counter",
    labels: ["protocol"],
    read: byProtocol((of) => of.bytesIn),
  },
  {
    name: "pabal_sent_bytes_total",
    help: "Bytes to clients whose connection has ended, TLS included",
    kind: "counter",
    labels: ["protocol"],
    read: byProtocol((of) => of.bytesOut),
  },
  {
    name: "pabal_logins_total",
    help: "Password checks by verdict: ok, refused, disabled, unavailable (try later)",
    kind: "counter",
    labels: ["protocol", "verdict"],
    read: (counters) =>
      frontEndProtocols.flatMap((protocol) =>
        Object.entries(counters[protocol].logins).map(([verdict, value]) => ({
          labels: { protocol, verdict },
          value,
        })),
      ),
  },
  {
    name: "pabal_messages_total",
    help: "Messages by answer: stored (2yz), put-off (4yz), refused (5yz)",
    kind: "counter",
    labels: ["protocol", "answer"],
    read: (counters) =>
      deliveringProtocols.flatMap((protocol) => {
        const { messagesStored, messagesPutOff, messagesRefused } = counters[protocol];
        return [
          { labels: { protocol, answer: "stored" }, value: messagesStored },
          { labels: { protocol, answer: "put-off" }, value: messagesPutOff },
          { labels: { protocol, answer: "refused" }, value: messagesRefused },
        ];
      }),
  },
  {
    name: "pabal_message_bytes_total",
    help: "Bytes of messages received, whatever the answer",
    kind: "counter",
    labels: ["protocol"],
    read: (counters) =>
      deliveringProtocols.map((protocol) => ({
        labels: { protocol },
        value: counters[protocol].messageBytes,
      })),
  },
];

const byDirection =
  (read: (link: LinkFigures) => number) =>
  (links: readonly LinkFigures[]): readonly Sample[] =>
    links.map((link) => ({ labels: { direction: link.direction }, value: read(link) }));

const perDirection = (
  name: string,
  help: string,
  kind: "gauge" | "counter",
  read: (link: LinkFigures) => number,
): Family<readonly LinkFigures[]> => ({
  name,
  help,
  kind,
  labels: ["direction"],
  read: byDirection(read),
});

const linkFamilies: readonly Family<readonly LinkFigures[]>[] = [
  perDirection("pabal_links_up", "Links between members that are up", "gauge", (of) => of.up),
  {
    name: "pabal_links_expected",
    help: "Links between members that should be up",
    kind: "gauge",
    labels: ["direction"],
    read: (links) =>
      links.flatMap(({ direction, expected }) =>
        expected === undefined ? [] : [{ labels: { direction }, value: expected }],
      ),
  },
  perDirection("pabal_links_opened_total", "Links greeted", "counter", (of) => of.opened),
  perDirection("pabal_link_received_frames_total", "Frames in", "counter", (of) => of.framesIn),
  perDirection("pabal_link_sent_frames_total", "Frames out", "counter", (of) => of.framesOut),
  perDirection("pabal_link_received_bytes_total", "Bytes in", "counter", (of) => of.bytesIn),
  perDirection("pabal_link_sent_bytes_total", "Bytes out", "counter", (of) => of.bytesOut),
  perDirection(
    "pabal_link_malformed_total",
    "Links closed because of a malformed frame",
    "counter",
    (of) => of.malformed,
  ),
];

const simple = <F>(
  name: string,
  help: string,
  kind: "gauge" | "counter",
  read: (figures: F) => number | undefined,
): Family<F> => ({ name, help, kind, read });

const nodeFamilies: readonly Family<NodeFigures>[] = [
  {
    name: "pabal_shards",
    help: "Copies of shards on this node by role; serving: primaries that answer now",
    kind: "gauge",
    labels: ["role"],
    read: ({ shardsPrimary, shardsSecondary, shardsServing }) => [
      { labels: { role: "primary" }, value: shardsPrimary },
      { labels: { role: "secondary" }, value: shardsSecondary },
      { labels: { role: "serving" }, value: shardsServing },
    ],
  },
  simple(
    "pabal_entries_committed_total",
    "Log entries committed in the shards of this node since they were made",
    "counter",
    (of) => of.committedEntries,
  ),
  simple(
    "pabal_commit_groups_total",
    "Groups of entries written with one fdatasync since the start",
    "counter",
    (of) => of.commitGroups,
  ),
  simple(
    "pabal_uncommitted_bytes",
    "Bytes of entries that wait for all copies' disks",
    "gauge",
    (of) => of.uncommittedBytes,
  ),
  simple(
    "pabal_fsync_p99_seconds",
    "99th percentile of the last 128 commit groups' way to this disk",
    "gauge",
    (of) => of.fsyncP99Seconds,
  ),
  simple(
    "pabal_index_queue_bytes",
    "Applied rows that wait to be written to LevelDB",
    "gauge",
    (of) => of.indexQueueBytes,
  ),
  simple(
    "pabal_summary_cache_bytes",
    "Memory of mailbox summaries",
    "gauge",
    (of) => of.summaryCacheBytes,
  ),
  simple("pabal_accounts_loaded", "Accounts in memory", "gauge", (of) => of.accountsLoaded),
  {
    name: "pabal_replica_alarms_total",
    help: "Alarms of this node's copies since the start",
    kind: "counter",
    labels: ["why"],
    read: ({ alarms }) => [...alarms].map(([why, value]) => ({ labels: { why }, value })),
  },
];

const directoryFamilies: readonly Family<DirectoryFigures>[] = [
  simple(
    "pabal_directory_shards_missing",
    "Shards of which the directory has not everything yet; 0 when ready",
    "gauge",
    (of) => of.shardsMissing,
  ),
  simple(
    "pabal_directory_shards_stale",
    "Shards whose unknown names are answered with try later, since their stream is late",
    "gauge",
    (of) => of.shardsStale,
  ),
  simple(
    "pabal_directory_cache_hits_total",
    "Rows found in memory",
    "counter",
    (of) => of.cacheHits,
  ),
  simple(
    "pabal_directory_cache_misses_total",
    "Rows looked for on disk",
    "counter",
    (of) => of.cacheMisses,
  ),
  simple(
    "pabal_password_hashes_waiting",
    "Password checks that wait for a processor",
    "gauge",
    (of) => of.hashesWaiting,
  ),
  simple(
    "pabal_verified_credentials",
    "Verified credentials remembered",
    "gauge",
    (of) => of.verifiedCached,
  ),
];
