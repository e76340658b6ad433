// `pabal user …`: single accounts, through the admin API of any gateway. Many at once: user-import.ts.

import { type Command, Option } from "commander";
import { z } from "zod";
import { AdminClient, type AdminOptions, decodeAnswer } from "../admin-client.ts";
import { formatSize } from "../config/units.ts";
import { CommandFailure, exitStatus } from "../failure.ts";
import { type OutputOptions, print, table } from "../output.ts";
import { type PasswordOptions, readPassword } from "../password-input.ts";
import { countOption, examples, sizeOption, withAdminOptions } from "./options.ts";
import { addAppPasswordCommands } from "./user-app-password.ts";
import { addUserImport } from "./user-import.ts";

type Common = AdminOptions & OutputOptions;

interface SecretOptions extends PasswordOptions {
  readonly hash?: string;
}

interface QuotaOptions {
  readonly quota?: number;
  readonly messages?: number;
}

const row = z.looseObject({
  account: z.number(),
  name: z.string(),
  aliases: z.array(z.string()),
  state: z.string(),
  shard: z.number(),
  overQuota: z.boolean(),
});
type Row = z.infer<typeof row>;
const page = z.object({ users: z.array(row) });
const details = z.looseObject({
  shard: z.number(),
  appPasswords: z.array(z.object({ label: z.string(), createdMs: z.number() })),
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

export function addUserCommands(program: Command): void {
  const user = program.command("user").description("Add, show, change and remove users");
  addAdd(user);
  addPasswd(user);
  addState(user);
  addQuota(user);
  addAlias(user);
  addDelete(user);
  addList(user);
  addShow(user);
  addUserImport(user);
  addAppPasswordCommands(user);
}

function addAdd(user: Command): void {
  const add = withAdminOptions(withQuota(withSecret(user.command("add").description("Add a user"))))
    .argument("<address>", "local@domain")
    .option("--alias <address...>", "further addresses; @domain takes all mail of a domain")
    .action(async (name: string, options: Options & { alias?: readonly string[] }) => {
      const client = new AdminClient(options);
      const body = {
        name,
        ...(await secretOf(options)),
        ...quotaOf(options),
        ...(options.alias === undefined ? {} : { aliases: options.alias }),
      };
      const added = decodeAnswer(row, await client.request("POST", "/admin/v1/users", body));
      print(options, added, () => [`added ${added.name}`]);
    });
  examples(add, [
    ["pabal user add kim@example.org", "asks for the password"],
    ["pabal user add kim@example.org --quota 5GiB --alias postmaster@example.org", ""],
    ["pabal user add kim@example.org --hash '$6$…'", "takes over a hash"],
  ]);
}

function addPasswd(user: Command): void {
  withAdminOptions(
    withSecret(user.command("passwd").description("Set a new password; open sessions end")),
  )
    .argument("<address>")
    .action(async (name: string, options: Options) => {
      await change(name, options, await secretOf(options), "password changed");
    });
}

function addState(user: Command): void {
  withAdminOptions(user.command("disable").description("Refuse the user's logins and mail"))
    .argument("<address>")
    .action((name: string, options: Common) =>
      change(name, options, { disabled: true }, "disabled"),
    );
  withAdminOptions(user.command("enable").description("Let a disabled user in again"))
    .argument("<address>")
    .action((name: string, options: Common) =>
      change(name, options, { disabled: false }, "enabled"),
    );
}

function addQuota(user: Command): void {
  withAdminOptions(withQuota(user.command("quota").description("Set how much the user may store")))
    .argument("<address>")
    .action(async (name: string, options: Options) => {
      const quota = quotaOf(options);
      if (Object.keys(quota).length === 0) {
        throw new CommandFailure("say --quota SIZE or --messages N, or both", exitStatus.usage);
      }
      await change(name, options, quota, "quota changed");
    });
}

function addAlias(user: Command): void {
  const alias = withAdminOptions(
    user
      .command("alias")
      .description("Set all further addresses of the user, in place of those before"),
  )
    .argument("<address>")
    .argument("[aliases...]", "none: the user has no further address")
    .action((name: string, aliases: readonly string[], options: Common) =>
      change(name, options, { aliases }, `aliases: ${aliases.join(", ") || "none"}`),
    );
  examples(alias, [
    ["pabal user alias kim@example.org sales@example.org", ""],
    ["pabal user alias kim@example.org @example.org", "all mail to names that nobody has"],
  ]);
}

function addDelete(user: Command): void {
  withAdminOptions(user.command("delete").description("Remove a user and all mail of theirs"))
    .argument("<address>")
    .action(async (name: string, options: Common) => {
      await new AdminClient(options).request("DELETE", path(name));
      print(options, { deleted: name }, () => [`deleted ${name}`]);
    });
}

function addList(user: Command): void {
  withAdminOptions(user.command("list").description("All users by name")).action(
    async (options: Common) => {
      const client = new AdminClient(options);
      const users: Row[] = [];
      for (;;) {
        const after = encodeURIComponent(users.at(-1)?.name ?? "");
        const answer = await client.request("GET", `/admin/v1/users?after=${after}`);
        const next = decodeAnswer(page, answer).users;
        if (next.length === 0) break;
        users.push(...next);
      }
      print(options, users, () =>
        table([
          ["USER", "STATE", "SHARD", "QUOTA", "ALIASES"],
          ...users.map(({ name, state, shard, overQuota, aliases }) => [
            name,
            state,
            String(shard),
            overQuota ? "over" : "ok",
            aliases.join(" "),
          ]),
        ]),
      );
    },
  );
}

function addShow(user: Command): void {
  withAdminOptions(user.command("show").description("One user's registration and use of storage"))
    .argument("<address>")
    .action(async (name: string, options: Common) => {
      const answer = await new AdminClient(options).request("GET", path(name));
      const shown = decodeAnswer(details, answer);
      print(options, shown, () => {
        const { registration, quota } = shown;
        const bytes = quota.limitBytes === 0 ? "unlimited" : formatSize(quota.limitBytes);
        const messages = quota.limitMessages === 0 ? "unlimited" : String(quota.limitMessages);
        return [
          `name      ${registration.name}`,
          `aliases   ${registration.aliases.join(" ") || "none"}`,
          `state     ${registration.state}`,
          `account   ${registration.account} in shard ${shown.shard}`,
          `storage   ${quota.usedBytes} bytes of ${bytes}`,
          `messages  ${quota.usedMessages} of ${messages}`,
          ...shown.appPasswords.map(({ label, createdMs }) => {
            const day = new Date(createdMs).toISOString().slice(0, 10);
            return `app       ${label}, password of ${day}`;
          }),
        ];
      });
    });
}

type Options = Common & SecretOptions & QuotaOptions;

function withSecret(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--password <text>",
        "password (other processes see it while this runs)",
      ).conflicts(["passwordFile", "hash"]),
    )
    .addOption(new Option("--password-file <file>", "its first line").conflicts("hash"))
    .option(
      "--hash <hash>",
      "take over a hash: argon2, {SSHA}, PBKDF2, scrypt, crypt(3) $5$ or $6$",
    )
    .addHelpText(
      "after",
      "\nWithout these the password is asked for, or read from standard input.",
    );
}

function withQuota(command: Command): Command {
  return command
    .option("--quota <size>", "such as 5GiB; 0B: unlimited", sizeOption)
    .option("--messages <n>", "most messages; 0: unlimited", (text) => countOption(text));
}

async function secretOf(options: SecretOptions): Promise<{ password: string } | { hash: string }> {
  if (options.hash !== undefined) return { hash: options.hash };
  return { password: await readPassword(options) };
}

function quotaOf({ quota, messages }: QuotaOptions): {
  quotaBytes?: number;
  quotaMessages?: number;
} {
  return {
    ...(quota === undefined ? {} : { quotaBytes: quota }),
    ...(messages === undefined ? {} : { quotaMessages: messages }),
  };
}

async function change(name: string, options: Common, body: unknown, done: string): Promise<void> {
  const answer = await new AdminClient(options).request("PATCH", path(name), body);
  const changed = decodeAnswer(row, answer);
  print(options, changed, () => [`${changed.name}: ${done}`]);
}

function path(name: string): string {
  return `/admin/v1/users/${encodeURIComponent(name)}`;
}
