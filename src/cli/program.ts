// The command line: which commands there are and how their failures end the process.

import { Command, CommanderError } from "commander";
import { addAnnounceCommands } from "./commands/announce.ts";
import { addCheckCommand, addSalvageCommand } from "./commands/check.ts";
import { addClusterCommands } from "./commands/cluster.ts";
import { addConfigCommands } from "./commands/config.ts";
import { addGroupCommands } from "./commands/group.ts";
import { addNodeCommands } from "./commands/node.ts";
import { addShardCommands } from "./commands/shard.ts";
import { examples } from "./commands/options.ts";
import { addUserCommands } from "./commands/user.ts";
import { ConfigError } from "./config/load.ts";
import { type RawDevOptions, devOptions } from "./dev/options.ts";
import { CommandFailure, exitStatus } from "./failure.ts";

/** Runs one command line (`process.argv`). Never throws: sets the exit status. */
export async function runProgram(argv: readonly string[], version: string): Promise<void> {
  process.stdout.off("error", onOutputError).on("error", onOutputError);
  try {
    await build(version).parseAsync([...argv]);
  } catch (error) {
    process.exitCode = report(error);
  }
}

/** `pabal user list | head`: the reader has what it wanted. */
function onOutputError(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
}

function build(version: string): Command {
  const program = new Command("pabal")
    .description(
      "A clustered mail system: SMTP, IMAP and POP3 in front, every message on two machines before it is acknowledged",
    )
    .version(version)
    .showHelpAfterError("(try --help)")
    .exitOverride();
  examples(program, [
    ["pabal dev", "a whole cluster on this machine, to try"],
    ["pabal serve --config /etc/pabal/g1.yaml", "one member of a real one"],
    ["pabal user add kim@example.org", "asks for the password"],
    ["pabal cluster status --watch", "who is up, who holds what"],
  ]);
  program.addHelpText(
    "after",
    "\nExit status: see docs/cli.md. 0: done, 64: wrong usage, 69: try again.",
  );
  addDevCommand(program);
  program
    .command("serve")
    .description("Run one member of a cluster until SIGTERM, which drains it")
    .requiredOption("--config <file>", "its configuration")
    .action(async ({ config }: { config: string }) => {
      const { serve } = await import("./serve.ts");
      try {
        await serve(config);
      } catch (error) {
        // Whatever had started by then (links, listeners) would keep the process alive.
        process.exit(report(error));
      }
    });
  addUserCommands(program);
  addGroupCommands(program);
  addAnnounceCommands(program);
  addClusterCommands(program);
  addNodeCommands(program);
  addShardCommands(program);
  addConfigCommands(program);
  addCheckCommand(program);
  addSalvageCommand(program);
  return program;
}

function addDevCommand(program: Command): void {
  const dev = program
    .command("dev")
    .description("Run a whole cluster on this machine, ready to use")
    .option(
      "--data <dir>",
      "keep data here and continue it (default: a temporary folder, removed at exit)",
    )
    .option("--gateways <n>", "gateways", "2")
    .option("--nodes <n>", "mail nodes", "3")
    .option("--coordinator <kind>", "embedded, or etcd (Debian: etcd-server)", "embedded")
    .option("--users <n>", "users u1 … uN @pabal.test, password `secret`", "10")
    .option("--port-base <n>", "first port; 0 takes free ones", "0")
    .option("--ports-json <file>", "write ports, pids and users here once everything serves")
    .option(
      "--restart-after <duration>",
      "start a dead member again after this time, or never",
      "1s",
    )
    .option("--set <key=value...>", "any configuration key, for every member")
    .action(async (raw: RawDevOptions) => {
      const { runDev } = await import("./dev/run.ts");
      await runDev(devOptions(raw));
    });
  examples(dev, [
    ["pabal dev", "two gateways, three nodes, ten users"],
    ["pabal dev --data ./data --port-base 20000", "keeps mail and ports"],
    ["pabal dev --set limits.messageBytes=1MiB log.level=debug", "other settings"],
  ]);
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitStatus.usage;
  if (error instanceof ConfigError) {
    process.stderr.write(`${error.message}\n`);
    return exitStatus.config;
  }
  if (error instanceof CommandFailure) {
    process.stderr.write(`pabal: ${error.message}\n`);
    return error.status;
  }
  process.stderr.write(
    `pabal: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  return exitStatus.software;
}
