// `pabal cluster …`: makes a cluster (certificates, init) and shows its shards; the status is in
// cluster-status.ts.

import type { Command } from "commander";
import { z } from "zod";
import { AdminClient, type AdminOptions, decodeAnswer } from "../admin-client.ts";
import { parseDuration } from "../config/units.ts";
import { CommandFailure, exitStatus } from "../failure.ts";
import { type OutputOptions, print, table } from "../output.ts";
import { addJoinCommands } from "./cluster-join.ts";
import { addStatus } from "./cluster-status.ts";
import { countOption, examples, withAdminOptions } from "./options.ts";

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
  addRecover(cluster);
  addJoinCommands(cluster);
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

function addRecover(cluster: Command): void {
  const command = cluster
    .command("recover")
    .description(
      "Write the shard table anew from the nodes' disks: the coordinator's data are lost",
    )
    .requiredOption("--config <file>", "configuration of a member that is stopped now")
    .option("--without <node...>", "nodes that are lost for good and can't be asked")
    .option("--json", "machine-readable output")
    .action(async (options: OutputOptions & { config: string; without?: readonly string[] }) => {
      const { recoverCluster } = await import("../recover.ts");
      const { nodes, changed, kept } = await recoverCluster(options.config, options.without ?? []);
      print(options, { nodes, changed: changed.length, kept }, () => [
        `asked ${nodes.join(", ")}: ${changed.length} shards written anew, ${kept} left as they are`,
      ]);
    });
  examples(command, [
    [
      "pabal cluster recover --config /etc/pabal/g1.yaml",
      "with all nodes running, gateways stopped",
    ],
  ]);
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
