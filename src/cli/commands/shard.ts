// `pabal shard …`: what an operator may do to one shard when nothing repairs it by itself any more.

import type { Command } from "commander";
import { z } from "zod";
import { AdminClient, type AdminOptions, decodeAnswer } from "../admin-client.ts";
import { CommandFailure, exitStatus } from "../failure.ts";
import { type OutputOptions, print } from "../output.ts";
import { examples, withAdminOptions } from "./options.ts";

type Options = AdminOptions & OutputOptions & { node: string; fenced?: boolean };

/** What `POST /admin/v1/shards/:id/force-promote` answers. Fields are only ever added. */
const forceFacts = z.looseObject({
  shard: z.number(),
  node: z.string(),
  lost: z.string(),
  lastLsn: z.number(),
  lacking: z.number(),
  newestMs: z.number().optional(),
});
type ForceFacts = z.infer<typeof forceFacts>;

export function addShardCommands(program: Command): void {
  const shard = program.command("shard").description("Repair one shard by hand");
  const force = withAdminOptions(
    shard
      .command("force-promote")
      .description("Make a copy primary that may lack acknowledged mail; the lost one is given up"),
  )
    .argument("<shard>")
    .requiredOption("--node <id>", "whose copy")
    .option("--fenced", "the lost node is switched off and will not come back with its data")
    .action(async (id: string, options: Options) => {
      const fenced = options.fenced === true;
      const path = `/admin/v1/shards/${encodeURIComponent(id)}/force-promote`;
      const body = { node: options.node, fenced };
      const answer = await new AdminClient(options).request("POST", path, body);
      const facts = decodeAnswer(forceFacts, answer);
      print(options, { ...facts, promoted: fenced }, () => lines(facts, fenced));
      if (!fenced) {
        throw new CommandFailure(
          "nothing was done: say --fenced when the lost node can't come back with its data",
          exitStatus.usage,
        );
      }
    });
  examples(force, [
    ["pabal shard force-promote 12 --node n2", "shows what would be lost"],
    ["pabal shard force-promote 12 --node n2 --fenced", "does it"],
  ]);
}

function lines(facts: ForceFacts, done: boolean): readonly string[] {
  const { shard, node, lost, lastLsn, lacking, newestMs } = facts;
  const newest =
    newestMs === undefined ? "at an unknown time" : `${new Date(newestMs).toISOString()}`;
  return [
    `shard ${shard}: the copy at ${node} ends with change ${lastLsn}, the newest made ${newest}`,
    lacking === 0
      ? `no other copy is known to have more; what only ${lost} had is lost`
      : `at least ${lacking} changes are missing from it, and what only ${lost} had`,
    ...(done
      ? [
          `it is promoted. Mailboxes get a new UIDVALIDITY; users wait until there is a second copy`,
          `${lost} may not come back with its old data folder`,
        ]
      : []),
  ];
}
