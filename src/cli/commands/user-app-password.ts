// `pabal user app-password`: one more password for each of a user's programs, taken back one by one.

import type { Command } from "commander";
import { z } from "zod";
import { AdminClient, type AdminOptions, decodeAnswer } from "../admin-client.ts";
import { type OutputOptions, print } from "../output.ts";
import { examples, withAdminOptions } from "./options.ts";

type Options = AdminOptions & OutputOptions;

const made = z.object({ password: z.string() });

export function addAppPasswordCommands(user: Command): void {
  const group = user
    .command("app-password")
    .description("Passwords for single programs, in place of the user's own");
  const add = withAdminOptions(
    group.command("add").description("Make one; it is shown once and never again"),
  )
    .argument("<address>")
    .argument("<label>", "which program it is for: letters, digits, `.`, `_`, `-`")
    .action(async (name: string, label: string, options: Options) => {
      const client = new AdminClient(options);
      const answer = decodeAnswer(made, await client.request("POST", path(name), { label }));
      print(options, { name, label, ...answer }, () => [answer.password]);
    });
  examples(add, [["pabal user app-password add kim@example.org phone", ""]]);
  withAdminOptions(
    group.command("remove").description("Take one back; the user's open sessions end"),
  )
    .argument("<address>")
    .argument("<label>", "as `pabal user show` lists it")
    .action(async (name: string, label: string, options: Options) => {
      const client = new AdminClient(options);
      await client.request("DELETE", `${path(name)}/${encodeURIComponent(label)}`);
      print(options, { name, removed: label }, () => [`${name}: ${label} removed`]);
    });
}

function path(name: string): string {
  return `/admin/v1/users/${encodeURIComponent(name)}/app-passwords`;
}
