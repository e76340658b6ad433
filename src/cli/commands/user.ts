// `pabal user …`: accounts, through the admin API of any gateway.

import { createReadStream, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { stdin } from "node:process";
import type { Command } from "commander";
import { z } from "zod";
import { AdminClient, type AdminOptions } from "../admin-client.ts";
import { formatSize, parseSize } from "../config/units.ts";
import { CommandFailure, exitStatus } from "../failure.ts";
import { print, table } from "../output.ts";

interface Options extends AdminOptions {
  readonly json?: boolean;
  readonly password?: string;
  readonly passwordFile?: string;
  readonly hash?: string;
  readonly alias?: readonly string[];
  readonly quota?: string;
  readonly messages?: string;
  readonly enable?: boolean;
}

const row = z.looseObject({
  account: z.number(),
  name: z.string(),
  aliases: z.array(z.string()),
  state: z.string(),
  shard: z.number(),
  overQuota: z.boolean(),
});
const page = z.object({ users: z.array(row) });
const details = z.looseObject({
  shard: z.number(),
  registration: z.looseObject({
    account: z.number(),
    name: z.string(),
    aliases: z.array(z.string()),
    state: z.string(),
  }),
  quota: z.object({
    usedBytes: z.number(),
    usedMessages: z.number(),
    limitBytes: z.number(),
    limitMessages: z.number(),
  }),
});
const importResults = z.object({
  results: z.array(z.object({ name: z.string(), error: z.string().optional() })),
});

/** Options that say where the cluster is, for every command that asks one. */
export function withAdminOptions(command: Command): Command {
  return command
    .option("--admin <url>", "admin API of any gateway (or PABAL_ADMIN)")
    .option("--admin-token <token>", "its token (or PABAL_ADMIN_TOKEN)")
    .option("--config <file>", "take admin.url and admin.tokenFile from this file")
    .option("--json", "machine-readable output");
}

export function addUserCommands(program: Command): void {
  const user = program.command("user").description("Add, show, change and remove users");
  addChanging(user);
  addReading(user);
  addImport(user);
}

function addChanging(user: Command): void {
  withAdminOptions(
    user
      .command("add")
      .description("Add a user; without an option the password is read from standard input"),
  )
    .argument("<address>", "local@domain")
    .option("--password <text>", "password (visible to other processes while this runs)")
    .option("--password-file <file>", "first line of a file")
    .option("--hash <phc>", "take over a password hash")
    .option("--alias <address...>", "further addresses; @domain takes all mail of a domain")
    .option("--quota <size>", "such as 5GiB; 0B: unlimited")
    .option("--messages <n>", "most messages; 0: unlimited")
    .action(async (name: string, options: Options) => {
      const secret =
        options.hash === undefined
          ? { password: await readPassword(options) }
          : { hash: options.hash };
      const body = {
        name,
        ...secret,
        ...quotaOf(options),
        ...(options.alias === undefined ? {} : { aliases: options.alias }),
      };
      const added = row.parse(
        await new AdminClient(options).request("POST", "/admin/v1/users", body),
      );
      print(options, added, () => [`added ${added.name}`]);
    });
  const change = async (
    name: string,
    options: Options,
    body: unknown,
    done: string,
  ): Promise<void> => {
    const changed = row.parse(await new AdminClient(options).request("PATCH", path(name), body));
    print(options, changed, () => [`${changed.name}: ${done}`]);
  };
  withAdminOptions(user.command("passwd").description("Set a new password; open sessions end"))
    .argument("<address>")
    .option("--password <text>", "password (visible to other processes while this runs)")
    .option("--password-file <file>", "first line of a file")
    .option("--hash <phc>", "take over a password hash")
    .action(async (name: string, options: Options) => {
      const secret =
        options.hash === undefined
          ? { password: await readPassword(options) }
          : { hash: options.hash };
      await change(name, options, secret, "password changed");
    });
  withAdminOptions(
    user.command("disable").description("Refuse logins and mail; --enable takes it back"),
  )
    .argument("<address>")
    .option("--enable", "let the user in again")
    .action(async (name: string, options: Options) => {
      await change(
        name,
        options,
        { disabled: options.enable !== true },
        options.enable === true ? "enabled" : "disabled",
      );
    });
  withAdminOptions(user.command("quota").description("Set how much the user may store"))
    .argument("<address>")
    .option("--quota <size>", "such as 5GiB; 0B: unlimited")
    .option("--messages <n>", "most messages; 0: unlimited")
    .action(async (name: string, options: Options) => {
      const quota = quotaOf(options);
      if (Object.keys(quota).length === 0)
        throw new CommandFailure("say --quota or --messages", exitStatus.usage);
      await change(name, options, quota, "quota changed");
    });
  withAdminOptions(user.command("alias").description("Set all further addresses of the user"))
    .argument("<address>")
    .argument("[aliases...]", "none: the user has no further address")
    .action(async (name: string, aliases: readonly string[], options: Options) => {
      await change(name, options, { aliases }, `aliases: ${aliases.join(", ") || "none"}`);
    });
  withAdminOptions(user.command("delete").description("Remove a user and all mail of theirs"))
    .argument("<address>")
    .action(async (name: string, options: Options) => {
      await new AdminClient(options).request("DELETE", path(name));
      print(options, { deleted: name }, () => [`deleted ${name}`]);
    });
}

function addReading(user: Command): void {
  withAdminOptions(user.command("list").description("All users by name")).action(
    async (options: Options) => {
      const client = new AdminClient(options);
      const users: z.infer<typeof row>[] = [];
      for (;;) {
        const after = users.at(-1)?.name ?? "";
        const next = page.parse(
          await client.request("GET", `/admin/v1/users?after=${encodeURIComponent(after)}`),
        ).users;
        users.push(...next);
        if (next.length === 0) break;
      }
      print(options, users, () =>
        table([
          ["USER", "STATE", "SHARD", "QUOTA", "ALIASES"],
          ...users.map((u) => [
            u.name,
            u.state,
            String(u.shard),
            u.overQuota ? "over" : "ok",
            u.aliases.join(" "),
          ]),
        ]),
      );
    },
  );
  withAdminOptions(user.command("show").description("One user's registration and use of storage"))
    .argument("<address>")
    .action(async (name: string, options: Options) => {
      const shown = details.parse(await new AdminClient(options).request("GET", path(name)));
      print(options, shown, () => {
        const { registration, quota } = shown;
        const limit = quota.limitBytes === 0 ? "unlimited" : formatSize(quota.limitBytes);
        return [
          `name      ${registration.name}`,
          `aliases   ${registration.aliases.join(" ") || "none"}`,
          `state     ${registration.state}`,
          `account   ${registration.account} in shard ${shown.shard}`,
          `storage   ${quota.usedBytes} bytes in ${quota.usedMessages} messages of ${limit}`,
        ];
      });
    });
}

function addImport(user: Command): void {
  withAdminOptions(
    user
      .command("import")
      .description(
        "Add many users: one JSON object a line, {name, hash or password, aliases, quotaBytes, quotaMessages}",
      ),
  )
    .argument("<file>", "- for standard input")
    .action(async (file: string, options: Options) => {
      const client = new AdminClient(options);
      const lines = createInterface({ input: file === "-" ? stdin : createReadStream(file) });
      let [imported, number] = [0, 0];
      const failures: string[] = [];
      let batch: unknown[] = [];
      const send = async (): Promise<void> => {
        const { results } = importResults.parse(
          await client.request("POST", "/admin/v1/users/import", { users: batch }),
        );
        batch = [];
        for (const result of results) {
          if (result.error === undefined) imported++;
          else failures.push(`${result.name}: ${result.error}`);
        }
      };
      for await (const line of lines) {
        number++;
        if (line.trim() === "") continue;
        batch.push(parseLine(line, number));
        if (batch.length === 500) await send();
      }
      if (batch.length > 0) await send();
      print(options, { imported, failures }, () => [
        ...failures,
        `${imported} imported, ${failures.length} refused`,
      ]);
      if (failures.length > 0) process.exitCode = exitStatus.failed;
    });
}

function parseLine(line: string, number: number): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new CommandFailure(`line ${number} is no JSON object`, exitStatus.usage);
  }
}

function path(name: string): string {
  return `/admin/v1/users/${encodeURIComponent(name)}`;
}

function quotaOf(options: Options): { quotaBytes?: number; quotaMessages?: number } {
  const quotaBytes = options.quota === undefined ? undefined : parseSize(options.quota);
  if (options.quota !== undefined && quotaBytes === undefined) {
    throw new CommandFailure("--quota wants a size with a unit, such as 5GiB", exitStatus.usage);
  }
  const quotaMessages = options.messages === undefined ? undefined : Number(options.messages);
  if (quotaMessages !== undefined && !(Number.isSafeInteger(quotaMessages) && quotaMessages >= 0)) {
    throw new CommandFailure("--messages wants a whole number", exitStatus.usage);
  }
  return {
    ...(quotaBytes === undefined ? {} : { quotaBytes }),
    ...(quotaMessages === undefined ? {} : { quotaMessages }),
  };
}

async function readPassword(options: Options): Promise<string> {
  if (options.password !== undefined) return options.password;
  if (options.passwordFile !== undefined)
    return firstLine(readFileSync(options.passwordFile, "utf8"));
  if (stdin.isTTY) process.stderr.write("Password: ");
  for await (const line of createInterface({ input: stdin })) return firstLine(line);
  throw new CommandFailure("no password given", exitStatus.usage);
}

function firstLine(text: string): string {
  const line = text.split(/\r?\n/, 1)[0] ?? "";
  if (line === "") throw new CommandFailure("the password is empty", exitStatus.usage);
  return line;
}
