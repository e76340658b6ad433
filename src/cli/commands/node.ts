// `pabal node …`: a mail node is emptied before it is taken away or worked on, and filled again.

import { setTimeout as wait } from "node:timers/promises";
import type { Command } from "commander";
import { AdminClient, type AdminOptions, decodeAnswer } from "../admin-client.ts";
import { parseDuration } from "../config/units.ts";
import { CommandFailure, exitStatus } from "../failure.ts";
import { type OutputOptions, print } from "../output.ts";
import { type ShardList, shardList } from "./cluster.ts";
import { examples, withAdminOptions } from "./options.ts";

type Options = AdminOptions & OutputOptions & { wait?: string };

const lookEveryMs = 200;

export function addNodeCommands(program: Command): void {
  const node = program.command("node").description("Empty a mail node, or use it again");
  addDrain(node);
  addUndrain(node);
}

function addDrain(node: Command): void {
  const drain = withAdminOptions(
    node.command("drain").description("Move all copies away from a mail node; it may stop then"),
  )
    .argument("<node>")
    .option("--wait <duration>", "return once the node holds nothing, give up after this time")
    .action(async (id: string, options: Options) => {
      const waitMs = options.wait === undefined ? 0 : parseDuration(options.wait);
      if (waitMs === undefined) {
        throw new CommandFailure("--wait wants a duration such as 10m", exitStatus.usage);
      }
      const client = new AdminClient(options);
      await client.request("POST", `/admin/v1/nodes/${encodeURIComponent(id)}/drain`);
      let left = heldBy(id, await readShards(client));
      const end = performance.now() + waitMs;
      while (left > 0 && performance.now() < end) {
        await wait(lookEveryMs);
        left = heldBy(id, await readShards(client));
      }
      if (left > 0 && waitMs > 0) {
        const why = `${id} still holds ${left} copies after ${options.wait}`;
        throw new CommandFailure(why, exitStatus.unavailable);
      }
      print(options, { node: id, draining: true, copies: left }, () => [
        left === 0 ? `${id} holds nothing` : `${id} is being emptied: ${left} copies left`,
      ]);
    });
  examples(drain, [
    ["pabal node drain n2 --wait 30m", "before its machine is taken away"],
    ["pabal node undrain n2", "it takes copies again"],
  ]);
}

function addUndrain(node: Command): void {
  withAdminOptions(node.command("undrain").description("Give the node copies again"))
    .argument("<node>")
    .action(async (id: string, options: Options) => {
      const client = new AdminClient(options);
      await client.request("POST", `/admin/v1/nodes/${encodeURIComponent(id)}/undrain`);
      print(options, { node: id, draining: false }, () => [`${id} takes copies again`]);
    });
}

async function readShards(client: AdminClient): Promise<ShardList> {
  return decodeAnswer(shardList, await client.request("GET", "/admin/v1/shards"));
}

function heldBy(node: string, { shards }: ShardList): number {
  return shards.filter(({ primary, secondaries }) =>
    [primary, ...secondaries].some((copy) => copy.node === node),
  ).length;
}
