// `pabal announce …`: what is written to groups, through the admin API of any gateway.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { type Command, InvalidArgumentError } from "commander";
import { z } from "zod";
import { AdminClient, type AdminOptions, decodeAnswer } from "../admin-client.ts";
import { CommandFailure, exitStatus, fileFailure } from "../failure.ts";
import { type OutputOptions, print, table } from "../output.ts";
import { ageOption } from "./group.ts";
import { examples, withAdminOptions } from "./options.ts";

interface Common extends AdminOptions, OutputOptions {
  readonly group: string;
}

interface SendOptions extends Common {
  readonly subject?: string;
  readonly from?: string;
  readonly expires?: number;
  readonly at?: number;
  readonly id?: string;
}

const announcement = z.looseObject({
  id: z.string(),
  subject: z.string(),
  from: z.string(),
  dateMs: z.number(),
  expiresMs: z.number().optional(),
  sizeBytes: z.number(),
});
const listed = z.object({ announcements: z.array(announcement) });
const counted = z.object({
  announcements: z.array(
    announcement.extend({ members: z.number(), read: z.number(), hidden: z.number() }),
  ),
});
const posted = z.object({ id: z.string() });

export function addAnnounceCommands(program: Command): void {
  const command = program
    .command("announce")
    .description("Announcements: one message, in the mailbox of every member of a group");
  addSend(command);
  addReplace(command);
  addRecall(command);
  addList(command);
  addStats(command);
}

function addSend(command: Command): void {
  const send = withSending(withGroup(command.command("send")))
    .description("Post a message")
    .argument("<file>", "a message (RFC 5322) or plain text; - reads standard input")
    .action(async (file: string, options: SendOptions) => {
      const { id } = await post(file, options, {});
      print(options, { id }, () => [
        options.at === undefined ? `posted ${id} to ${options.group}` : `scheduled ${id}`,
      ]);
    });
  examples(send, [
    ["pabal announce send notice.eml", "to everyone"],
    ["echo Lunch is at 12 | pabal announce send - --group news --subject Lunch --expires 1d", ""],
    ["pabal announce send notice.eml --at 2027-01-01T09:00+09:00", "is posted then"],
  ]);
}

function addReplace(command: Command): void {
  withSending(withGroup(command.command("replace")))
    .description("Post a message in the place of an earlier one")
    .argument("<id>", "of the earlier one")
    .argument("<file>")
    .action(async (old: string, file: string, options: SendOptions) => {
      const { id } = await post(file, options, { replaces: old });
      print(options, { id, replaced: old }, () => [
        options.at === undefined
          ? `posted ${id}, ${old} is gone`
          : `scheduled ${id}, ${old} is gone`,
      ]);
    });
}

function addRecall(command: Command): void {
  withGroup(command.command("recall"))
    .description("Take a message out of every mailbox, or out of the schedule")
    .argument("<id>")
    .action(async (id: string, options: Common) => {
      await new AdminClient(options).request(
        "DELETE",
        `${path(options.group)}/announcements/${id}`,
      );
      print(options, { recalled: id }, () => [`recalled ${id}`]);
    });
}

function addList(command: Command): void {
  withGroup(command.command("list"))
    .description("What is posted and what is scheduled (s…)")
    .action(async (options: Common) => {
      const answer = await new AdminClient(options).request(
        "GET",
        `${path(options.group)}/announcements`,
      );
      const found = decodeAnswer(listed, answer).announcements;
      print(options, found, () =>
        table([
          ["ID", "DATE", "EXPIRES", "BYTES", "FROM", "SUBJECT"],
          ...found.map((one) => [
            one.id,
            timeText(one.dateMs),
            one.expiresMs === undefined ? "never" : timeText(one.expiresMs),
            String(one.sizeBytes),
            one.from,
            one.subject,
          ]),
        ]),
      );
    });
}

function addStats(command: Command): void {
  withGroup(command.command("stats"))
    .description("How many members have read and have hidden each message")
    .action(async (options: Common) => {
      const answer = await new AdminClient(options).request("GET", `${path(options.group)}/stats`);
      const found = decodeAnswer(counted, answer).announcements;
      print(options, found, () =>
        table([
          ["ID", "DATE", "MEMBERS", "READ", "HIDDEN", "SUBJECT"],
          ...found.map((one) => [
            one.id,
            timeText(one.dateMs),
            String(one.members),
            String(one.read),
            String(one.hidden),
            one.subject,
          ]),
        ]),
      );
    });
}

async function post(
  file: string,
  options: SendOptions,
  more: Readonly<Record<string, string>>,
): Promise<{ readonly id: string }> {
  const message = readMessage(file);
  const nowMs = Date.now();
  const { expires, at, subject, from, group } = options;
  const query = new URLSearchParams({
    // Whatever gateway the request reaches, and however often: it is posted once.
    id: options.id ?? randomBytes(16).toString("hex"),
    ...(subject === undefined ? {} : { subject }),
    ...(from === undefined ? {} : { from }),
    ...(at === undefined ? {} : { atMs: String(at) }),
    ...(expires === undefined ? {} : { expiresMs: String(Math.max(nowMs, at ?? 0) + expires) }),
    ...more,
  });
  const client = new AdminClient(options);
  return decodeAnswer(
    posted,
    await client.upload(`${path(group)}/announcements?${query.toString()}`, message),
  );
}

function readMessage(file: string): Buffer {
  let message: Buffer;
  try {
    message = readFileSync(file === "-" ? 0 : file);
  } catch (error) {
    throw fileFailure(file, error);
  }
  if (message.length === 0) throw new CommandFailure("the message is empty", exitStatus.usage);
  return message;
}

function withGroup(command: Command): Command {
  return withAdminOptions(command).option("--group <name>", "local@domain, or local", "all");
}

function withSending(command: Command): Command {
  return command
    .option("--subject <text>", "where the file has none")
    .option("--from <address>", "where the file has none")
    .option("--expires <duration>", "it goes after this, such as 30d", ageOption)
    .option("--at <time>", "post it then: 2027-01-01T09:00+09:00", timeOption)
    .option("--id <hex>", "32 hex digits; the same id posts once, however often it is sent");
}

function timeOption(text: string): number {
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) throw new InvalidArgumentError("Wants a time such as 2027-01-01T09:00Z.");
  return ms;
}

function timeText(ms: number): string {
  return new Date(ms).toISOString().slice(0, 16).replace("T", " ");
}

function path(group: string): string {
  return `/admin/v1/groups/${encodeURIComponent(group)}`;
}
