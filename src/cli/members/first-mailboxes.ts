// The mailboxes that a new account starts with, in the language of the configuration. RFC 6154 §2

import type { FirstMailbox } from "../../store/accounts.ts";
import type { Config } from "../config/schema.ts";

const specialUses = ["\\Drafts", "\\Sent", "\\Junk", "\\Trash", "\\Archive"] as const;
const names = {
  en: ["Drafts", "Sent", "Junk", "Trash", "Archive"],
  ko: ["임시보관함", "보낸편지함", "스팸메일함", "휴지통", "보관함"],
} as const;

/** INBOX first, then the special-use mailboxes. */
export function firstMailboxes({ locale }: Pick<Config, "locale">): readonly FirstMailbox[] {
  return [
    { name: "INBOX" },
    ...specialUses.map((specialUse, index) => ({ name: names[locale][index] ?? "", specialUse })),
  ];
}
