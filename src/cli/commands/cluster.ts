// `pabal cluster status`: members, shards, links and load, once or as a live view.

import { setTimeout as wait } from "node:timers/promises";
import type { Command } from "commander";
import { z } from "zod";
import { AdminClient, type AdminOptions } from "../admin-client.ts";
import { print, table } from "../output.ts";
import { withAdminOptions } from "./user.ts";

/** What `GET /admin/v1/status` answers. Fields are only ever added. */
export const clusterStatus = z.looseObject({
  cluster: z.string(),
  gateway: z.string(),
  shards: z.object({ total: z.number(), full: z.number(), oneCopy: z.number(), down: z.number() }),
  directory: z.object({ missing: z.number(), stale: z.number() }),
  members: z.array(
    z.looseObject({
      id: z.string(),
      role: z.string(),
      up: z.boolean(),
      primaries: z.number().optional(),
      secondaries: z.number().optional(),
      load: z.looseObject({ cpu: z.number().optional(), queue: z.number().optional() }).optional(),
    }),
  ),
});
export type ClusterStatus = z.infer<typeof clusterStatus>;

export function addClusterCommands(program: Command): void {
  const cluster = program.command("cluster").description("Look at the cluster");
  withAdminOptions(cluster.command("status").description("Members, shards, links and load"))
    .option("--watch", "print it anew every second until interrupted")
    .action(async (options: AdminOptions & { json?: boolean; watch?: boolean }) => {
      const client = new AdminClient(options);
      for (;;) {
        const status = clusterStatus.parse(await client.request("GET", "/admin/v1/status"));
        if (options.watch === true && process.stdout.isTTY)
          process.stdout.write("\u001b[2J\u001b[H");
        print(options, status, () => lines(status));
        if (options.watch !== true) return;
        await wait(1000);
      }
    });
}

function lines(status: ClusterStatus): readonly string[] {
  const { shards } = status;
  return [
    `cluster ${status.cluster} as seen by ${status.gateway}: ${shards.total} shards, ` +
      `${shards.full} on two nodes, ${shards.oneCopy} on one, ${shards.down} down`,
    "",
    ...table([
      ["MEMBER", "ROLE", "LINK", "PRIMARY", "SECONDARY", "CPU", "QUEUE"],
      ...status.members.map((member) => [
        member.id,
        member.role,
        member.up ? "up" : "DOWN",
        String(member.primaries ?? "-"),
        String(member.secondaries ?? "-"),
        member.load?.cpu === undefined ? "-" : `${Math.round(member.load.cpu * 100)}%`,
        String(member.load?.queue ?? "-"),
      ]),
    ]),
  ];
}
