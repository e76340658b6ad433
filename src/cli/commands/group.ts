// `pabal group …`: groups and their members, through the admin API of any gateway. What is written to
// them is announce.ts's.

import { type Command, InvalidArgumentError, Option } from "commander";
import { z } from "zod";
import { AdminClient, type AdminOptions, decodeAnswer } from "../admin-client.ts";
import { formatDuration, formatSize, parseDuration } from "../config/units.ts";
import { CommandFailure, exitStatus } from "../failure.ts";
import { type OutputOptions, print, table } from "../output.ts";
import { countOption, examples, withAdminOptions } from "./options.ts";

type Common = AdminOptions & OutputOptions;

interface Settings {
  readonly description?: string;
  readonly post?: string;
  readonly poster?: readonly string[];
  readonly join?: string;
  readonly history?: number;
  readonly retention?: number;
}

const group = z.looseObject({
  account: z.number(),
  name: z.string(),
  state: z.string(),
  description: z.string(),
  post: z.string(),
  posters: z.array(z.string()),
  join: z.string(),
  historyDays: z.number(),
  retentionMs: z.number(),
  everyone: z.boolean(),
});
type Group = z.infer<typeof group>;
const details = group.extend({
  members: z.number(),
  messages: z.number(),
  scheduled: z.number(),
  bytes: z.number(),
});
const groups = z.object({ groups: z.array(group) });
const members = z.object({ members: z.array(z.object({ account: z.number(), name: z.string() })) });

const allHistory = 0xffff_ffff;

export function addGroupCommands(program: Command): void {
  const command = program
    .command("group")
    .description("Groups: their announcements are stored once, and are in every member's mailbox");
  addCreate(command);
  addSet(command);
  addDelete(command);
  addList(command);
  addShow(command);
  addJoinLeave(command);
  addMembers(command);
}

function addCreate(command: Command): void {
  const create = withAdminOptions(withSettings(command.command("create")))
    .description("Make a group; `all` is the group of everyone, new users included")
    .argument("<name>", "local@domain, or local")
    .action(async (name: string, options: Common & Settings) => {
      const body = { name, ...settingsOf(options) };
      const answer = await new AdminClient(options).request("POST", "/admin/v1/groups", body);
      const made = decodeAnswer(group, answer);
      print(options, made, () => [`created ${made.name}`]);
    });
  examples(create, [
    ["pabal group create all --poster boss@example.org", "the boss writes to everyone"],
    ["pabal group create news --join open --post members --retention 90d", ""],
  ]);
}

function addSet(command: Command): void {
  withAdminOptions(withSettings(command.command("set")))
    .description("Change a group; what is not named stays")
    .argument("<name>")
    .action(async (name: string, options: Common & Settings) => {
      const body = settingsOf(options);
      if (Object.keys(body).length === 0) {
        throw new CommandFailure("say what to change, such as --post members", exitStatus.usage);
      }
      const answer = await new AdminClient(options).request("PATCH", path(name), body);
      const changed = decodeAnswer(group, answer);
      print(options, changed, () => [`changed ${changed.name}`]);
    });
}

function addDelete(command: Command): void {
  withAdminOptions(command.command("delete").description("Remove a group and its announcements"))
    .argument("<name>")
    .action(async (name: string, options: Common) => {
      await new AdminClient(options).request("DELETE", path(name));
      print(options, { deleted: name }, () => [`deleted ${name}`]);
    });
}

function addList(command: Command): void {
  withAdminOptions(command.command("list").description("All groups")).action(
    async (options: Common) => {
      const answer = await new AdminClient(options).request("GET", "/admin/v1/groups");
      const found = decodeAnswer(groups, answer).groups;
      print(options, found, () =>
        table([
          ["GROUP", "POST", "JOIN", "RETENTION", "DESCRIPTION"],
          ...found.map(({ name, post, join, retentionMs, description, everyone }) => [
            name,
            post,
            everyone ? "everyone" : join,
            retentionMs === 0 ? "none" : formatDuration(retentionMs),
            description,
          ]),
        ]),
      );
    },
  );
}

function addShow(command: Command): void {
  withAdminOptions(command.command("show").description("A group's settings and figures"))
    .argument("<name>")
    .action(async (name: string, options: Common) => {
      const answer = await new AdminClient(options).request("GET", path(name));
      const shown = decodeAnswer(details, answer);
      print(options, shown, () => [
        `name         ${shown.name}`,
        `description  ${shown.description}`,
        `post         ${postText(shown)}`,
        `join         ${shown.everyone ? "everyone is a member" : shown.join}`,
        `history      ${historyText(shown.historyDays)}`,
        `retention    ${shown.retentionMs === 0 ? "none" : formatDuration(shown.retentionMs)}`,
        `members      ${shown.members}`,
        `messages     ${shown.messages}, ${formatSize(shown.bytes)}; ${shown.scheduled} scheduled`,
      ]);
    });
}

function addJoinLeave(command: Command): void {
  for (const [verb, method, about, done] of [
    ["join", "PUT", "Make users members", "joined"],
    ["leave", "DELETE", "Take users out; they see the group no more", "left"],
  ] as const) {
    withAdminOptions(command.command(verb).description(about))
      .argument("<name>")
      .argument("<users...>")
      .action(async (name: string, users: readonly string[], options: Common) => {
        const client = new AdminClient(options);
        for (const user of users) {
          await client.request(method, `${path(name)}/members/${encodeURIComponent(user)}`);
        }
        print(options, { group: name, users }, () =>
          users.map((user) => `${user} ${done} ${name}`),
        );
      });
  }
}

function addMembers(command: Command): void {
  withAdminOptions(
    command.command("members").description("Who joined a group (of `all`: nobody has to)"),
  )
    .argument("<name>")
    .action(async (name: string, options: Common) => {
      const client = new AdminClient(options);
      const found: { account: number; name: string }[] = [];
      for (;;) {
        const after = found.at(-1)?.account ?? 0;
        const answer = await client.request("GET", `${path(name)}/members?after=${after}`);
        const next = decodeAnswer(members, answer).members;
        if (next.length === 0) break;
        found.push(...next);
      }
      print(options, found, () => found.map((member) => member.name));
    });
}

function withSettings(command: Command): Command {
  return command
    .option("--description <text>", "one line for people")
    .addOption(
      new Option("--post <who>", "who may post besides the posters").choices([
        "listed",
        "members",
        "users",
      ]),
    )
    .option("--poster <address...>", "may post whatever --post says; in place of those before")
    .addOption(
      new Option("--join <how>", "open: members join and leave themselves").choices([
        "open",
        "closed",
      ]),
    )
    .option("--history <days>", "older messages a new member sees: none, all, or days", daysOption)
    .option("--retention <duration>", "messages go after this, such as 90d; 0s: never", ageOption);
}

function settingsOf(options: Settings): Record<string, unknown> {
  const { description, post, poster, join, history, retention } = options;
  const given = {
    description,
    post,
    posters: poster,
    join,
    historyDays: history,
    retentionMs: retention,
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

function daysOption(text: string): number {
  if (text === "all") return allHistory;
  return text === "none" ? 0 : countOption(text);
}

export function ageOption(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new InvalidArgumentError("Wants a duration such as 30d.");
  return ms;
}

function postText({ post, posters }: Group): string {
  const listed = posters.join(" ");
  if (post === "listed") return listed === "" ? "operators only" : listed;
  return listed === "" ? post : `${post}, ${listed}`;
}

function historyText(days: number): string {
  if (days === allHistory) return "all";
  return days === 0 ? "none" : `${days} days`;
}

function path(name: string): string {
  return `/admin/v1/groups/${encodeURIComponent(name)}`;
}
