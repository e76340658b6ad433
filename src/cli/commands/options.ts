// What several commands share: options that say where the cluster is, checks of numbers, help text.

import { type Command, InvalidArgumentError } from "commander";
import { parseSize } from "../config/units.ts";

/** Options that say where the cluster is, for every command that asks one. */
export function withAdminOptions(command: Command): Command {
  return command
    .option("--admin <url>", "admin API of any gateway (or PABAL_ADMIN)")
    .option("--admin-token <token>", "its token (or PABAL_ADMIN_TOKEN)")
    .option("--config <file>", "take admin.url and admin.tokenFile from this file")
    .option("--json", "machine-readable output");
}

/** Adds examples to a command's help. */
export function examples(
  command: Command,
  lines: readonly (readonly [command: string, what: string])[],
): void {
  const width = Math.max(...lines.map(([text]) => text.length));
  const shown = lines.map(([text, what]) => `  ${text.padEnd(width)}  ${what}`);
  command.addHelpText("after", `\nExamples:\n${shown.join("\n")}`);
}

/** A size with unit, in bytes. */
export function sizeOption(text: string): number {
  const bytes = parseSize(text);
  if (bytes === undefined) throw new InvalidArgumentError("Wants a size such as 5GiB.");
  return bytes;
}

/** A whole number from 0, or from `least`. */
export function countOption(text: string, least = 0): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least) {
    throw new InvalidArgumentError(`Wants a whole number from ${least}.`);
  }
  return value;
}
