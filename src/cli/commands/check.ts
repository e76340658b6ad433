// `pabal check` and `pabal salvage`: what can be done with a stopped mail node's data.

import type { Command } from "commander";
import { exitStatus } from "../failure.ts";
import { type OutputOptions, print } from "../output.ts";
import { examples } from "./options.ts";

interface CheckFlags {
  readonly config: string;
  readonly bodies?: boolean;
  readonly repair?: boolean;
}

export function addCheckCommand(program: Command): void {
  const check = program
    .command("check")
    .description("Look through a mail node's data for damage; the node must be stopped")
    .requiredOption("--config <file>", "the node's configuration")
    .option("--bodies", "read every message, too")
    .option("--repair", "replace what is damaged from the other nodes, which must run")
    .option("--json", "machine-readable output")
    .action(async (options: OutputOptions & CheckFlags) => {
      const { checkNode } = await import("../check.ts");
      const { bodies = false, repair = false } = options;
      const outcome = await checkNode(options.config, { bodies, repair });
      const { findings, shards, repaired, lost } = outcome;
      print(options, { ok: findings.length === 0, ...outcome }, () => [
        ...findings.map((finding) => JSON.stringify(finding)),
        ...(repair ? [`${repaired} repaired, ${lost} lost on every node`] : []),
        findings.length === 0
          ? `${shards} shards: no damage found`
          : `${findings.length} findings; the other copies of these shards are on other nodes`,
      ]);
      if (findings.length > 0) process.exitCode = exitStatus.failed;
    });
  examples(check, [
    ["pabal check --config /etc/pabal/n1.yaml", "index, counters, places of messages"],
    ["pabal check --config /etc/pabal/n1.yaml --bodies", "every byte"],
    ["pabal check --config /etc/pabal/n1.yaml --repair", "and put right what another node has"],
  ]);
}

export function addSalvageCommand(program: Command): void {
  const salvage = program
    .command("salvage")
    .description("Write the mail that a stopped node's segments hold to Maildirs: the last resort")
    .requiredOption("--config <file>", "the node's configuration")
    .requiredOption("--out <dir>", "an empty folder; gets <user>/<mailbox>/cur/…")
    .option("--json", "machine-readable output")
    .action(async (options: OutputOptions & { config: string; out: string }) => {
      const { salvageNode } = await import("../salvage.ts");
      const outcome = await salvageNode(options.config, options.out);
      print(options, outcome, () => [
        `${outcome.messages} messages in ${outcome.folders} folders of ${options.out}, ${outcome.lost} can't be read`,
      ]);
      if (outcome.lost > 0) process.exitCode = exitStatus.failed;
    });
  salvage.addHelpText(
    "after",
    "\nThe node's data is only read. A node has the users of its own shards, as primary or secondary. Messages that were\n" +
      "expunged may come back, flags may be missing, keywords are left out. Give the Maildirs back by IMAP, with mbsync.",
  );
  examples(salvage, [["pabal salvage --config /etc/pabal/n1.yaml --out /srv/salvaged", ""]]);
}
