// The folders above views, which hold nothing themselves. RFC 9051 §6.3.9 (\\Noselect)

import { mailboxId, modSeq, uidValidity } from "../../mail/ids.ts";
import type { MailboxInfo } from "../../mail/mail-store.ts";

/** Of `a/b`: `a` and `a/b`. */
export function superiorsOf(folder: string): readonly string[] {
  const levels = folder.split("/");
  return levels.map((_, at) => levels.slice(0, at + 1).join("/"));
}

export function superiorInfo(name: string): MailboxInfo {
  return {
    id: mailboxId(0),
    name,
    selectable: false,
    subscribed: false,
    uidValidity: uidValidity(0),
    uidNext: 0,
    highestModSeq: modSeq(0),
    messages: 0,
    unseen: 0,
    deleted: 0,
    recent: 0,
    sizeBytes: 0,
  };
}
