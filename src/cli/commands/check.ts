// `pabal check`: looks through a stopped mail node's data for damage.

import type { Command } from "commander";
import { exitStatus } from "../failure.ts";
import { type OutputOptions, print } from "../output.ts";
import { examples } from "./options.ts";

export function addCheckCommand(program: Command): void {
  const check = program
    .command("check")
    .description("Look through a mail node's data for damage; the node must be stopped")
    .requiredOption("--config <file>", "the node's configuration")
    .option("--bodies", "read every message, too")
    .option("--json", "machine-readable output")
    .action(async (options: OutputOptions & { config: string; bodies?: boolean }) => {
      const { checkNode } = await import("../check.ts");
      const { findings, shards } = await checkNode(options.config, options.bodies === true);
      print(options, { ok: findings.length === 0, shards, findings }, () => [
        ...findings.map((finding) => JSON.stringify(finding)),
        findings.length === 0
          ? `${shards} shards: no damage found`
          : `${findings.length} findings; the other copies of these shards are on other nodes`,
      ]);
      if (findings.length > 0) process.exitCode = exitStatus.failed;
    });
  examples(check, [
    ["pabal check --config /etc/pabal/n1.yaml", "index, counters, places of messages"],
    ["pabal check --config /etc/pabal/n1.yaml --bodies", "every byte"],
  ]);
}
