// `pabal cluster …`: makes a cluster (certificates, init) and shows it (status, once or as a live view).

import { setTimeout as wait } from "node:timers/promises";
import type { Command } from "commander";
import { z } from "zod";
import { AdminClient, type AdminOptions, decodeAnswer } from "../admin-client.ts";
import { parseDuration } from "../config/units.ts";
import { CommandFailure, exitStatus } from "../failure.ts";
import { type OutputOptions, print, table } from "../output.ts";
import { addJoinCommands } from "./cluster-join.ts";
import { countOption, examples, withAdminOptions } from "./options.ts";

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
  }),
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
      /** How long its main thread has been stuck. */
      loopLagMs: z.number().optional(),
    }),
  ),
});
export type ClusterStatus = z.infer<typeof clusterStatus>;

const copy = z.looseObject({ node: z.string() });

/** What `GET /admin/v1/shards` answers. Fields are only ever added. */
export const shardList = z.object({
  shards: z.array(
    z.looseObject({
      shard: z.number(),
      epoch: z.number(),
      /** FULL, SYNC (the second copy is being made) or SOLO. */
      state: z.string(),
      primary: copy,
      secondaries: z.array(copy.extend({ full: z.boolean() })),
    }),
  ),
});
export type ShardList = z.infer<typeof shardList>;

export function addClusterCommands(program: Command): void {
  const cluster = program.command("cluster").description("Make a cluster, look at it");
  addStatus(cluster);
  addShards(cluster);
  addInit(cluster);
  addCertificates(cluster);
  addJoinCommands(cluster);
}

function addStatus(cluster: Command): void {
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

function addShards(cluster: Command): void {
  withAdminOptions(cluster.command("shards").description("Who holds which shard")).action(
    async (options: AdminOptions & OutputOptions) => {
      const client = new AdminClient(options);
      const list = decodeAnswer(shardList, await client.request("GET", "/admin/v1/shards"));
      print(options, list, () =>
        table([
          ["SHARD", "EPOCH", "STATE", "PRIMARY", "SECONDARY"],
          ...list.shards.map(({ shard, epoch, state, primary, secondaries }) => [
            String(shard),
            String(epoch),
            state,
            primary.node,
            secondaries.map(({ node, full }) => (full ? node : `${node} (filling)`)).join(", "),
          ]),
        ]),
      );
    },
  );
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

function addInit(cluster: Command): void {
  const init = cluster
    .command("init")
    .description("Write the shard table, once the mail nodes have registered")
    .requiredOption("--config <file>", "configuration of any member on this machine")
    .requiredOption("--nodes <n>", "wait for so many mail nodes", (text) => countOption(text, 1))
    .option("--wait <duration>", "give up after", "60s")
    .option("--json", "machine-readable output")
    .action(async (options: OutputOptions & { config: string; nodes: number; wait: string }) => {
      const waitMs = parseDuration(options.wait);
      if (waitMs === undefined) {
        throw new CommandFailure("--wait wants a duration such as 60s", exitStatus.usage);
      }
      const { initFromConfig } = await import("../init.ts");
      const limit = AbortSignal.timeout(waitMs);
      const outcome = await initFromConfig(options.config, options.nodes, limit).catch(
        (error: unknown) => {
          if (!limit.aborted) throw error;
          throw new CommandFailure(
            `fewer than ${options.nodes} mail nodes have registered after ${options.wait}: are the coordinator and the nodes running? Their logs say more`,
            exitStatus.unavailable,
            { cause: error },
          );
        },
      );
      print(options, outcome, () => [
        outcome.existed
          ? `the cluster is there already: ${outcome.shards} shards`
          : `the cluster is made: ${outcome.shards} shards on ${outcome.nodes} nodes`,
      ]);
    });
  examples(init, [["pabal cluster init --config /etc/pabal/c1.yaml --nodes 3", ""]]);
}

function addCertificates(cluster: Command): void {
  const command = cluster
    .command("certificates")
    .description("Make the certificates with which members speak to each other")
    .argument("<member...>", "ids of members")
    .requiredOption("--cluster <id>", "cluster.id of their configuration")
    .requiredOption("--out <dir>", "where to write; the authority in it is used again")
    .option("--days <n>", "how long they are valid", (text) => countOption(text, 1), 3650)
    .option("--json", "machine-readable output")
    .action(
      async (
        members: readonly string[],
        options: OutputOptions & { cluster: string; out: string; days: number },
      ) => {
        const { makeMemberCertificates } = await import("../certificates.ts");
        const made = await makeMemberCertificates({ ...options, members });
        print(options, made, () => [
          ...made.written,
          "",
          `Give each member ca.pem and its own two files. Keep ${made.authorityKey} off the members: it can admit anyone.`,
        ]);
      },
    );
  examples(command, [
    ["pabal cluster certificates --cluster example --out tls c1 n1 n2 n3 g1 g2", "the first time"],
    ["pabal cluster certificates --cluster example --out tls n4", "later, for one more"],
  ]);
}

function lines(status: ClusterStatus): readonly string[] {
  const { shards, ring } = status;
  const { sync = 0, solo = 0, usersOnOneCopy = 0 } = shards;
  return [
    `cluster ${status.cluster} as seen by ${status.gateway}: ${shards.total} shards, ` +
      `${shards.full} on two nodes, ${shards.oneCopy} on one, ${shards.down} down`,
    ...(sync + solo === 0
      ? []
      : [`${sync} being copied (SYNC), ${solo} alone (SOLO): ${usersOnOneCopy} users on one copy`]),
    ...(ring === undefined ? [] : ringLines(ring)),
    ...(status.directory.missing + status.directory.stale === 0
      ? []
      : [`directory: ${status.directory.missing} shards missing, ${status.directory.stale} late`]),
    "",
    ...table([
      ["MEMBER", "ROLE", "LINK", "PRIMARY", "SECONDARY", "CPU", "QUEUE", ...loadHeads],
      ...status.members.map((member) => [
        member.id,
        member.draining === true ? `${member.role} (draining)` : member.role,
        member.up ? "up" : "DOWN",
        String(member.primaries ?? "-"),
        String(member.secondaries ?? "-"),
        member.load?.cpu === undefined ? "-" : `${Math.round(member.load.cpu * 100)}%`,
        String(member.load?.queue ?? "-"),
        ...loadCells(member.load),
      ]),
    ]),
  ];
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
