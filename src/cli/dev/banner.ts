// What a newcomer reads after `npm start`: where everything listens and lines that work as they stand.

import { join } from "node:path";
import { mbsyncFileName } from "./mbsync-file.ts";
import type { PortsFile } from "./ports-file.ts";

/** The lines to print once the cluster serves. */
export function banner(ports: PortsFile, folder: string): readonly string[] {
  const [first, second] = [ports.gateways[0], ports.gateways[1] ?? ports.gateways[0]];
  if (first === undefined || second === undefined) return [];
  const [to, from] = [
    ports.users[0] ?? `u1@${ports.domain}`,
    ports.users[1] ?? `u2@${ports.domain}`,
  ];
  const user = to.split("@")[0] ?? to;
  const secret = ports.password;
  const last = ports.users.at(-1) ?? to;
  return [
    "",
    `Pabal is ready: ${ports.gateways.length} gateways, ${ports.nodes.length} mail nodes, one coordinator.`,
    `Users ${to} … ${last}, password "${secret}". Data in ${folder}`,
    "",
    ...portTable(ports),
    "",
    "Try it:",
    "",
    "  # deliver a message to one gateway (it is on two nodes' disks before the 250)",
    `  swaks --server 127.0.0.1:${first.smtp} --from friend@example.org --to ${to} --header 'Subject: hello'`,
    "",
    "  # read it through the other gateway",
    `  curl -s --user ${user}:${secret} 'imap://127.0.0.1:${second.imap}/INBOX;MAILINDEX=1'`,
    `  curl -s --user ${user}:${secret} pop3://127.0.0.1:${second.pop3}/1`,
    "",
    "  # send as a user, over TLS",
    `  swaks --server 127.0.0.1:${first.submissions} --tls-on-connect --auth-user ${from} --auth-password ${secret} --from ${from} --to ${to}`,
    "",
    "  # talk IMAP by hand",
    `  openssl s_client -quiet -crlf -CAfile ${quoted(ports.tls.ca)} -connect 127.0.0.1:${first.imaps}`,
    `  a login ${user} ${secret}`,
    "",
    "  # copy the mailbox to a Maildir",
    `  mbsync -c ${quoted(join(folder, mbsyncFileName))} -a`,
    "",
    `  # Thunderbird: IMAP 127.0.0.1 port ${first.imap}, SMTP 127.0.0.1 port ${first.submission}, no encryption, normal password, user ${to}`,
    "",
    "  # look at the cluster, add a user",
    "  npx --no-install pabal cluster status --watch",
    `  npx --no-install pabal user add new@${ports.domain} --password secret`,
    "",
    "  # kill a mail node and watch mail go on after it is started again",
    `  kill -9 ${ports.nodes[0]?.pid ?? 0}`,
    "",
    "Ctrl-C stops everything.",
    "",
  ];
}

/** For a POSIX shell; plain paths stay plain. */
function quoted(path: string): string {
  return /^[\w./@-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}

function portTable(ports: PortsFile): readonly string[] {
  const names = [
    "smtp",
    "submission",
    "submissions",
    "lmtp",
    "imap",
    "imaps",
    "pop3",
    "pop3s",
    "http",
  ] as const;
  const row = (label: string, cells: readonly string[]): string =>
    `  ${label.padEnd(6)}${cells.map((cell) => cell.padStart(12)).join("")}`;
  return [
    row("", names),
    ...ports.gateways.map((gateway) =>
      row(
        gateway.id,
        names.map((name) => String(gateway[name])),
      ),
    ),
  ];
}
