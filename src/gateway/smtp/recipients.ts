// RCPT TO: whether we take mail for an address, from the directory alone, with no network.

import type { DirectoryRow } from "../../mail/account.ts";
import { cutTag, directoryName, parseAddress, routingTrick, tagOf } from "../../mail/address.ts";
import type { Directory } from "../../cluster/directory/directory.ts";
import { subscribeTag, unsubscribeTag } from "../../cluster/groups/announcement-message.ts";
import { mayLeave, mayPost } from "../../cluster/groups/group-policy.ts";

export interface Recipient {
  /** As the client wrote it. */
  readonly path: string;
  readonly row: DirectoryRow;
  /** Not mail for the group: the sender joins or leaves it. */
  readonly order?: "join" | "leave";
}

export type RecipientVerdict =
  | { readonly ok: true; readonly recipient: Recipient }
  /** `guess`: counts as a wrong guess of a name. */
  | { readonly ok: false; readonly reply: string; readonly guess: boolean };

export interface RecipientRules {
  readonly directory: Directory;
  readonly domains: readonly string[];
  readonly hostName: string;
  readonly authenticated: boolean;
  /** Who logged in; only they may write to groups. */
  readonly user?: DirectoryRow | undefined;
  /** The client announced SMTPUTF8 in MAIL. */
  readonly smtpUtf8: boolean;
}

/** One reply per case, as Postfix's users expect them. RFC 5321 §3.3, RFC 3463 */
export function resolveRecipient(path: string, rules: RecipientRules): RecipientVerdict {
  const full =
    path.toLowerCase() === "postmaster" ? `postmaster@${rules.domains[0] ?? rules.hostName}` : path;
  // RFC 5321 §3.6.1: source routes and the like may be refused, and are.
  if (routingTrick(full) !== undefined) return refuse("553 5.7.1 Routed addresses are not relayed");
  if (!rules.smtpUtf8 && /[^\u0000-\u007f]/.test(full))
    return refuse("553 5.6.7 Address needs SMTPUTF8");
  const address = parseAddress(full);
  if (address === undefined) return refuse("501 5.1.3 Bad recipient address");
  if (!rules.domains.includes(address.domain)) {
    return refuse(
      rules.authenticated
        ? "550 5.4.4 No outbound route is configured: only local recipients are possible"
        : "554 5.7.1 Relay access denied",
    );
  }
  const name = directoryName(address);
  const found = rules.directory.lookupNow(name);
  if (found.kind === "found" && !isCatchAllHit(found.row, name)) {
    return judge(full, found.row, rules);
  }
  const bare = cutTag(address.local);
  if (bare !== address.local) {
    const owner = rules.directory.lookupNow(directoryName({ ...address, local: bare }));
    if (owner.kind === "found") return judge(full, owner.row, rules, tagOf(address.local));
    if (owner.kind === "unsure")
      return refuse("451 4.3.2 User directory is not complete, try again");
  }
  if (found.kind === "found") return judge(full, found.row, rules);
  if (found.kind === "unsure") return refuse("451 4.3.2 User directory is not complete, try again");
  return { ok: false, reply: "550 5.1.1 No such user", guess: true };
}

/** The row was found by the domain's catch-all, not by this name: `user+tag` of a real user goes first. */
function isCatchAllHit(row: DirectoryRow, name: string): boolean {
  return row.name !== name && !row.aliases.includes(name);
}

function judge(
  path: string,
  row: DirectoryRow,
  rules: RecipientRules,
  tag?: string,
): RecipientVerdict {
  if (row.state !== "active") return refuse("550 5.2.1 Mailbox disabled");
  if (row.group !== undefined) return judgeGroup(path, row, rules, tag?.toLowerCase());
  if (row.overQuota) return refuse("452 4.2.2 Mailbox full");
  return { ok: true, recipient: { path, row } };
}

/** Paper BC1: groups take mail from those who logged in and may post, from nobody else. */
function judgeGroup(
  path: string,
  row: DirectoryRow,
  { user, directory }: RecipientRules,
  tag: string | undefined,
): RecipientVerdict {
  // As the user is now: memberships come and go while a session is open.
  const now = user === undefined ? undefined : directory.lookupNow(user.name);
  // By the account: the name may be somebody else's by now, or the catch-all's.
  if (now?.kind !== "found" || now.row.account !== user?.account || now.row.state !== "active")
    return refuse("550 5.7.1 Only those who log in may write to a group");
  if (tag === unsubscribeTag || tag === subscribeTag) {
    if (!mayLeave(row))
      return refuse("550 5.7.1 Members don't join or leave this group themselves");
    const order = tag === unsubscribeTag ? "leave" : "join";
    return { ok: true, recipient: { path, row, order } };
  }
  if (!mayPost(row, now.row)) return refuse("550 5.7.1 You may not post to this group");
  return { ok: true, recipient: { path, row } };
}

function refuse(reply: string): RecipientVerdict {
  return { ok: false, reply, guess: false };
}
