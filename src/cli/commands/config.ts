// `pabal config check|show|schema`: does what start-up does with a configuration file, and says what came of it.

import type { Command } from "commander";
import { stringify } from "yaml";
import { loadConfig } from "../config/load.ts";
import { configJsonSchema } from "../config/json-schema.ts";
import { print } from "../output.ts";

export function addConfigCommands(program: Command): void {
  const config = program.command("config").description("Check and show configuration files");
  config
    .command("check")
    .description("Read a file as `pabal serve` would; exit status 78 when it can't be used")
    .argument("<file>", "configuration file")
    .option("--json", "machine-readable output")
    .action((file: string, options: { json?: boolean }) => {
      const { member, cluster } = loadConfig(file);
      print(
        options,
        { ok: true, member: member.id, role: member.role, cluster: cluster.id },
        () => [`${file}: good (${member.role} ${member.id} of cluster ${cluster.id})`],
      );
    });
  config
    .command("show")
    .description("The whole configuration with all defaults, durations in ms and sizes in bytes")
    .argument("<file>", "configuration file")
    .option("--json", "machine-readable output")
    .action((file: string, options: { json?: boolean }) => {
      const loaded = loadConfig(file);
      print(options, loaded, () => [stringify(loaded).trimEnd()]);
    });
  config
    .command("schema")
    .description("JSON Schema of configuration files, for editors")
    .action(() => {
      print({ json: true }, configJsonSchema(), () => []);
    });
}
