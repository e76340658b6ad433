// `pabal user import`: many accounts from lines of JSON, in batches. A line that is wrong or refused is
// told and the others go on, so that the same file can be given again.

import { open } from "node:fs/promises";
import { stdin } from "node:process";
import { createInterface } from "node:readline";
import type { Command } from "commander";
import { z } from "zod";
import { AdminClient, type AdminOptions, decodeAnswer } from "../admin-client.ts";
import { CommandFailure, exitStatus, fileFailure } from "../failure.ts";
import { type OutputOptions, print } from "../output.ts";
import { examples, withAdminOptions } from "./options.ts";

const results = z.object({
  results: z.array(z.object({ name: z.string(), error: z.string().optional() })),
});

/** Passwords in clear cost a hash each on the gateway: few enough for one request's time. */
const batchMost = 200;

export function addUserImport(user: Command): void {
  const command = withAdminOptions(user.command("import").description("Add many users"))
    .argument("<file>", "one JSON object a line; - for standard input")
    .action(importUsers);
  command.addHelpText(
    "after",
    "\nA line: {name, hash or password, aliases, quotaBytes, quotaMessages, profile}. Refused lines are told, the others\n" +
      "go on; exit status 1 when some were refused. Names that are there already are refused: a file may be given again.",
  );
  examples(command, [
    ["pabal user import users.jsonl", ""],
    [
      `echo '{"name":"kim@example.org","hash":"$6$…"}' | pabal user import -`,
      "from another program",
    ],
  ]);
}

async function importUsers(file: string, options: AdminOptions & OutputOptions): Promise<void> {
  const client = new AdminClient(options);
  const failures: string[] = [];
  let [imported, number] = [0, 0];
  let batch: unknown[] = [];
  const send = async (): Promise<void> => {
    if (batch.length === 0) return;
    const answer = await client.request("POST", "/admin/v1/users/import", { users: batch });
    batch = [];
    for (const { name, error } of decodeAnswer(results, answer).results) {
      if (error === undefined) imported++;
      else failures.push(`${name}: ${error}`);
    }
  };
  try {
    for await (const line of linesOf(file)) {
      number++;
      if (line.trim() === "") continue;
      const account = objectIn(line);
      if (account === undefined) failures.push(`line ${number}: no JSON object`);
      else batch.push(account);
      if (batch.length === batchMost) await send();
    }
    await send();
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    const soFar = imported === 0 ? "" : ` (${imported} users imported before; give the file again)`;
    throw new CommandFailure(`${error.message}${soFar}`, error.status, { cause: error });
  }
  print(options, { imported, failures }, () => [
    ...failures,
    `${imported} imported, ${failures.length} refused`,
  ]);
  if (failures.length > 0) process.exitCode = exitStatus.failed;
}

async function* linesOf(file: string): AsyncGenerator<string> {
  const input = file === "-" ? stdin : await openForReading(file);
  yield* createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
}

async function openForReading(file: string): Promise<NodeJS.ReadableStream> {
  try {
    return (await open(file)).createReadStream();
  } catch (error) {
    throw fileFailure(file, error);
  }
}

function objectIn(line: string): unknown {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined; // Told with its line number.
  }
}
