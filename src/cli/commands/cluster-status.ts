// `pabal cluster status`: the cluster as one gateway sees it, once or as a live view, and the form in
// which the admin API gives it.

import { setTimeout as wait } from "node:timers/promises";
import type { Command } from "commander";
import { z } from "zod";
import { AdminClient, type AdminOptions, decodeAnswer } from "../admin-client.ts";
import { CommandFailure, exitStatus } from "../failure.ts";
import { print, table } from "../output.ts";
import { withAdminOptions } from "./options.ts";

/** What `GET /admin/v1/status` answers. Fields are only ever added. */
export const clusterStatus = z.looseObject({
  cluster: z.string(),
  gateway: z.string(),
  shards: z.looseObject({
    total: z.number(),
    /** Two whole copies on nodes that are up. */
    full: z.number(),
    /** The second copy is being made. */
    sync: z.number().optional(),
    /** One copy. */
    solo: z.number().optional(),
    oneCopy: z.number(),
    down: z.number(),
    /** Users whose mail is on one whole copy only. */
    usersOnOneCopy: z.number().optional(),
    /** The highest; each change of a shard's members raises it by one. */
    epoch: z.number().optional(),
    /** Two of whose copies lie in one failure domain. */
    sharedDomain: z.number().optional(),
  }),
  /** Until every shard is whole, as copies go now; 0: all are. Absent: can't be said. */
  toSafeMs: z.number().optional(),
  /** Whole copies of shards that nodes are getting. */
  copies: z
    .array(
      z.looseObject({
        node: z.string(),
        shard: z.number(),
        doneBytes: z.number(),
        ofBytes: z.number(),
      }),
    )
    .optional(),
  /** Copies that wait for their turn, on all nodes. */
  copiesWaiting: z.number().optional(),
  /** What happened to the shard table since the asked gateway started. */
  changes: z
    .looseObject({
      failovers: z.number(),
      handovers: z.number(),
      copiesRemoved: z.number(),
      copiesWhole: z.number(),
      lastFailoverAgoMs: z.number().optional(),
    })
    .optional(),
  /** Alarms that hold now, at most 32 shards of each named. */
  alarms: z
    .array(
      z.looseObject({
        why: z.string(),
        forMs: z.number(),
        count: z.number(),
        shards: z.array(z.number()),
      }),
    )
    .optional(),
  /** The ring of gateways as this one sees it. */
  ring: z
    .looseObject({
      order: z.array(z.string()),
      /** The gateway that has the token: it manages failures. */
      holder: z.string().optional(),
      rotationMs: z.number().optional(),
      /** Grows with each change of the order. */
      term: z.number().optional(),
      /** The holder keeps the token while it manages a failure. */
      pinned: z.boolean().optional(),
      /** The asked gateway is the acting manager. */
      acting: z.boolean().optional(),
      /** Gateways that can't reach some nodes, and which. */
      unreachable: z
        .array(z.looseObject({ gateway: z.string(), nodes: z.array(z.string()) }))
        .optional(),
    })
    .optional(),
  directory: z.object({ missing: z.number(), stale: z.number() }),
  members: z.array(
    z.looseObject({
      id: z.string(),
      role: z.string(),
      up: z.boolean(),
      draining: z.boolean().optional(),
      primaries: z.number().optional(),
      secondaries: z.number().optional(),
      /** Share of a core, bytes not yet committed, share of the disk; `ageMs`: since the member took them. */
      load: z
        .looseObject({
          cpu: z.number().optional(),
          queue: z.number().optional(),
          fsyncP99Ms: z.number().optional(),
          diskFree: z.number().optional(),
          users: z.number().optional(),
          sessions: z.number().optional(),
          ioPerSecond: z.number().optional(),
          ageMs: z.number().optional(),
        })
        .optional(),
      /** Copies of a shard lie in different ones, where there are several. */
      failureDomain: z.string().optional(),
      /** The newest version of the wire format that it speaks. */
      wire: z.number().optional(),
      /** How long its main thread has been stuck. */
      loopLagMs: z.number().optional(),
    }),
  ),
});
export type ClusterStatus = z.infer<typeof clusterStatus>;

export function addStatus(cluster: Command): void {
  withAdminOptions(cluster.command("status").description("Members, shards, links and load"))
    .option("--watch", "print it anew every second until interrupted; with --json a line each")
    .action(async (options: AdminOptions & { json?: boolean; watch?: boolean }) => {
      const client = new AdminClient(options);
      if (options.watch !== true) {
        const status = await readStatus(client);
        print(options, status, () => lines(status));
        return;
      }
      for (;;) {
        await showOnce(client, options.json === true);
        await wait(1000);
      }
    });
}

async function readStatus(client: AdminClient): Promise<ClusterStatus> {
  return decodeAnswer(clusterStatus, await client.request("GET", "/admin/v1/status"));
}

/** A gateway that is away is what one watches for: it is told, and watching goes on. */
async function showOnce(client: AdminClient, json: boolean): Promise<void> {
  let shown: readonly string[];
  try {
    const status = await readStatus(client);
    shown = json ? [JSON.stringify(status)] : lines(status);
  } catch (error) {
    if (!(error instanceof CommandFailure) || error.status !== exitStatus.unavailable) throw error;
    shown = json ? [JSON.stringify({ error: error.message })] : [error.message];
  }
  const clear = !json && process.stdout.isTTY ? "\u001b[2J\u001b[H" : "";
  process.stdout.write(`${clear}${shown.join("\n")}\n`);
}

function lines(status: ClusterStatus): readonly string[] {
  const { shards, ring } = status;
  const { sync = 0, solo = 0, usersOnOneCopy = 0 } = shards;
  const domains = new Set(status.members.flatMap(({ failureDomain }) => failureDomain ?? [])).size;
  return [
    `cluster ${status.cluster} as seen by ${status.gateway}: ${shards.total} shards, ` +
      `${shards.full} on two nodes, ${shards.oneCopy} on one, ${shards.down} down`,
    ...(sync + solo === 0
      ? []
      : [
          `${sync} being copied (SYNC), ${solo} alone (SOLO): ${usersOnOneCopy} users on one copy`,
          ...copyLines(status),
        ]),
    ...((shards.sharedDomain ?? 0) === 0 || domains < 2
      ? []
      : [`${shards.sharedDomain} shards have two copies in one failure domain`]),
    ...(status.alarms ?? []).map(alarmLine),
    ...versionLines(status),
    ...changeLines(status.changes),
    ...(ring === undefined ? [] : ringLines(ring)),
    ...(status.directory.missing + status.directory.stale === 0
      ? []
      : [`directory: ${status.directory.missing} shards missing, ${status.directory.stale} late`]),
    "",
    ...table([
      ["MEMBER", "ROLE", "LINK", "PRIMARY", "SECONDARY", "SESSIONS", "CPU", "QUEUE", ...loadHeads],
      ...status.members.map((member) => [
        member.id,
        member.draining === true ? `${member.role} (draining)` : member.role,
        member.up ? "up" : "DOWN",
        String(member.primaries ?? "-"),
        String(member.secondaries ?? "-"),
        String((member.role === "gateway" ? member.load?.sessions : undefined) ?? "-"),
        member.load?.cpu === undefined ? "-" : `${Math.round(member.load.cpu * 100)}%`,
        String(member.load?.queue ?? "-"),
        ...loadCells(member.load),
      ]),
    ]),
  ];
}

/** How far the copies are, and when all is whole again. */
function copyLines({ copies = [], copiesWaiting = 0, toSafeMs }: ClusterStatus): readonly string[] {
  const waiting = copiesWaiting === 0 ? "" : `, ${copiesWaiting} wait`;
  const safe = toSafeMs === undefined ? "" : `; all on two nodes in about ${duration(toSafeMs)}`;
  const far = copies.map(
    ({ node, shard, doneBytes, ofBytes }) =>
      `shard ${shard} to ${node} ${Math.min(99, Math.floor((doneBytes / Math.max(1, ofBytes)) * 100))}%`,
  );
  if (far.length === 0 && waiting === "" && safe === "") return [];
  return [`copies: ${far.length === 0 ? "none run" : far.join(", ")}${waiting}${safe}`];
}

function alarmLine({ why, count, forMs }: NonNullable<ClusterStatus["alarms"]>[number]): string {
  return `ALARM ${why}: ${count} shards, for ${duration(forMs)}`;
}

/** In the middle of an upgrade: who is behind. */
function versionLines({ members }: ClusterStatus): readonly string[] {
  const versions = members.flatMap(({ wire }) => wire ?? []);
  const newest = Math.max(0, ...versions);
  const behind = members.filter(({ wire }) => wire !== undefined && wire < newest);
  if (behind.length === 0) return [];
  const names = behind.map(({ id, wire }) => `${id} (${wire})`).join(", ");
  return [`wire version ${newest}; not upgraded yet: ${names}`];
}

function changeLines(changes: ClusterStatus["changes"]): readonly string[] {
  if (changes === undefined || changes.failovers === 0) return [];
  const { failovers, handovers, lastFailoverAgoMs } = changes;
  const last =
    lastFailoverAgoMs === undefined ? "" : `, the last ${duration(lastFailoverAgoMs)} ago`;
  return [`since this gateway's start: ${failovers} failovers${last}, ${handovers} handovers`];
}

/** Rounded to what a person wants to know. */
function duration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

const loadHeads = ["FSYNC", "DISK", "IO/S", "AGE"];

/** Age: how old the figures are that this gateway has. */
function loadCells(load: ClusterStatus["members"][number]["load"]): readonly string[] {
  const { fsyncP99Ms, diskFree, ioPerSecond, ageMs } = load ?? {};
  return [
    fsyncP99Ms === undefined ? "-" : `${fsyncP99Ms.toFixed(1)}ms`,
    diskFree === undefined ? "-" : `${Math.round(diskFree * 100)}% free`,
    String(ioPerSecond ?? "-"),
    ageMs === undefined ? "-" : `${(ageMs / 1000).toFixed(1)}s`,
  ];
}

function ringLines(ring: NonNullable<ClusterStatus["ring"]>): readonly string[] {
  const { order, holder, rotationMs, pinned, unreachable = [] } = ring;
  const round = rotationMs === undefined ? "" : `, ${Math.round(rotationMs)} ms a round`;
  const token = `token ${pinned === true ? "pinned " : ""}at ${holder ?? "nobody"}`;
  return [
    order.length === 0 ? "ring: none yet" : `ring ${order.join(" → ")}, ${token}${round}`,
    ...unreachable.map(({ gateway, nodes }) => `${gateway} can't reach ${nodes.join(", ")}`),
  ];
}
