// Names above mailboxes, which hold nothing themselves. RFC 9051 §6.3.9 (\Noselect)

import { mailboxId, modSeq, uidValidity } from "./ids.ts";
import type { MailboxInfo } from "./mail-store.ts";

/** How a name that only has children is listed: not selectable, id 0, all counts 0. */
export function superiorInfo(name: string, subscribed: boolean): MailboxInfo {
  return {
    id: mailboxId(0),
    name,
    selectable: false,
    subscribed,
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

/** The name and those above it: of `a/b`, `a` and `a/b`. */
export function superiorsOf(folder: string): readonly string[] {
  const levels = folder.split("/");
  return levels.map((_, at) => levels.slice(0, at + 1).join("/"));
}
