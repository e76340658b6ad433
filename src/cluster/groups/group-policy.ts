// Who may do what with a group: posting, and what members call it. Pure; used by the view, by
// submission and by the admin API.

import type { DirectoryRow } from "../../mail/account.ts";
import type { AccountId, MailboxId } from "../../mail/ids.ts";
import { everyoneView } from "../../mail/group.ts";

/** True when the user is a member now. */
export function isMember(group: DirectoryRow, user: DirectoryRow): boolean {
  if (user.group !== undefined) return false;
  if (group.group?.everyone === true) return true;
  return user.memberships?.some((one) => one.group === group.account) === true;
}

/** Paper BC1: whether the logged-in user may post to the group. */
export function mayPost(group: DirectoryRow, user: DirectoryRow): boolean {
  const settings = group.group;
  if (settings === undefined || group.state !== "active") return false;
  const isListed = [user.name, ...user.aliases].some((name) => settings.posters.includes(name));
  if (isListed || settings.post === "users") return true;
  return settings.post === "members" && isMember(group, user);
}

/** Whether members leave, and users join, by themselves. Nobody leaves the built-in group. */
export function mayLeave({ group }: DirectoryRow): boolean {
  return group?.join === "open" && !group.everyone;
}

/** Where the member's state and id of a group come from. */
export interface Place {
  readonly group: AccountId;
  readonly mailbox: MailboxId;
  /** Undefined in the built-in group: it follows from the member's age. */
  readonly fromUid: number | undefined;
}

export function everyonePlace(group: AccountId): Place {
  return { group, mailbox: everyoneView, fromUid: undefined };
}

/** The name of the group's folder: short where the domain is the first one. */
export function folderName(
  group: DirectoryRow,
  names: { readonly folder: string; readonly domain: string; readonly taken: readonly string[] },
): string {
  const at = group.name.lastIndexOf("@");
  const isFirst = group.name.slice(at + 1) === names.domain;
  // A level can't have the delimiter in it.
  const level = (isFirst ? group.name.slice(0, at) : group.name).replaceAll("/", "_");
  const name = `${names.folder}/${level}`;
  // The member had a mailbox of this name before: it stays what it is.
  return names.taken.includes(name) ? `${name} (${group.name})` : name;
}
