// Rights of RFC 4314: an owner has all of them; the store says those of other mailboxes (groups).
// Pure.

import type { MailboxInfo } from "../../mail/mail-store.ts";

/** RFC 4314 §2.1, in Dovecot's order, which clients have seen most. */
const ownerRights = "lrwstipekxa";

/**
 * What the user may do, with the virtual rights that clients of RFC 2086 know.
 * RFC 4314 §2.1.1: `c` for k or x, `d` for e or t.
 */
export function rightsOf({ rights = ownerRights }: Pick<MailboxInfo, "rights">): string {
  const c = /[kx]/.test(rights) ? "c" : "";
  const d = /[et]/.test(rights) ? "d" : "";
  return rights + c + d;
}

/** True when the mailbox is the user's own. */
export function isOwner({ rights }: Pick<MailboxInfo, "rights">): boolean {
  return rights === undefined;
}

/** True for one of RFC 4314 §2.1's letters or its virtual ones, or a digit of a site's own. */
export function isRights(text: string): boolean {
  return /^[a-z0-9]*$/.test(text);
}

/** True when every right of RFC 4314 §2.1 is among `text`. */
export function hasAllRights(text: string): boolean {
  const wanted = text.replace("c", "kx").replace("d", "et");
  return ownerRights.split("").every((right) => wanted.includes(right));
}
