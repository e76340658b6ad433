// `pabal cluster invite` and `pabal cluster join`: how a machine is added to a cluster that runs.

import { readFileSync } from "node:fs";
import { type Command, Option } from "commander";
import { loadConfig } from "../config/load.ts";
import type { InvitedRole } from "../invitation.ts";
import { type OutputOptions, print } from "../output.ts";
import { countOption, examples } from "./options.ts";

interface InviteOptions extends OutputOptions {
  readonly role: InvitedRole;
  readonly config: string;
  readonly authority: string;
  readonly days: number;
}

interface JoinOptions extends OutputOptions {
  readonly token: string;
  readonly out: string;
  readonly data?: string;
  readonly link: string;
  readonly http?: string;
}

export function addJoinCommands(cluster: Command): void {
  addInvite(cluster);
  addJoin(cluster);
}

function addInvite(cluster: Command): void {
  const invite = cluster
    .command("invite")
    .description("Print a token with which one more member can join; keep it secret")
    .argument("<member>", "id of the new member")
    .addOption(
      new Option("--role <role>", "what it will be").choices(["node", "gateway"]).default("node"),
    )
    .requiredOption("--config <file>", "configuration of any member")
    .requiredOption("--authority <dir>", "folder with the cluster's ca.pem and ca.key")
    .option("--days <n>", "how long its certificate is valid", (text) => countOption(text, 1), 3650)
    .option("--json", "machine-readable output")
    .action(async (member: string, options: InviteOptions) => {
      const { makeInvitation } = await import("../invitation.ts");
      const { role, authority, days } = options;
      const config = loadConfig(options.config);
      const token = await makeInvitation({ config, member, role, authority, days });
      print(options, { member, role, token }, () => [token]);
    });
  examples(invite, [
    ["pabal cluster invite n4 --config /etc/pabal/n1.yaml --authority tls > n4.token", ""],
  ]);
}

function addJoin(cluster: Command): void {
  const join = cluster
    .command("join")
    .description("Write the configuration of a member that was invited")
    .requiredOption("--token <token>", "what `pabal cluster invite` printed; - reads it from input")
    .option("--out <dir>", "where to write", "/etc/pabal")
    .option("--data <dir>", "its data folder (default: /var/lib/pabal/MEMBER)")
    .requiredOption("--link <host:port>", "where other members reach it, TCP and UDP")
    .option("--http <host:port>", "health and metrics")
    .option("--json", "machine-readable output")
    .action(async (options: JoinOptions) => {
      const { acceptInvitation, invitedMember } = await import("../invitation.ts");
      const token = options.token === "-" ? readFileSync(0, "utf8") : options.token;
      const { out, link, http } = options;
      const joined = acceptInvitation({
        token,
        out,
        dataDir: options.data ?? `/var/lib/pabal/${invitedMember(token)}`,
        link,
        ...(http === undefined ? {} : { http }),
      });
      print(options, joined, () => [
        ...joined.written,
        "",
        joined.role === "node"
          ? `Start it: pabal serve --config ${joined.config} (or systemctl start pabal@${joined.member}). It takes up shards by itself.`
          : `Add its mail listeners, hostName and tls to ${joined.config}, then start it.`,
      ]);
    });
  examples(join, [["pabal cluster join --token - --link 10.0.0.24:4100 < n4.token", ""]]);
}
