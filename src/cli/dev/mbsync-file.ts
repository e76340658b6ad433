// A configuration for mbsync beside a development cluster's data, so that the line which copies a
// mailbox is short. In the cluster's folder, because another cluster's mailboxes have other UIDs.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PortsFile } from "./ports-file.ts";

export const mbsyncFileName = "mbsyncrc";

/** Writes the file for the first user, read through the last gateway, into `folder`/maildir. */
export function writeMbsyncFile(ports: PortsFile, folder: string): void {
  const mail = join(folder, "maildir");
  mkdirSync(mail, { recursive: true });
  const lines = [
    "# Written by `pabal dev`. SSLType is called TLSType since isync 1.5, which knows both names.",
    "IMAPAccount pabal",
    "Host 127.0.0.1",
    `Port ${ports.gateways.at(-1)?.imap ?? 143}`,
    `User ${ports.users[0] ?? `u1@${ports.domain}`}`,
    `Pass ${ports.password}`,
    "SSLType None",
    "AuthMechs LOGIN",
    "",
    "IMAPStore remote",
    "Account pabal",
    "",
    "MaildirStore local",
    `Path "${mail}/"`,
    `Inbox "${join(mail, "INBOX")}"`,
    "SubFolders Verbatim",
    "",
    "Channel all",
    "Far :remote:",
    "Near :local:",
    "Patterns *",
    "Create Both",
    "Expunge Both",
    "SyncState *",
  ];
  writeFileSync(join(folder, mbsyncFileName), `${lines.join("\n")}\n`, { mode: 0o600 });
}
