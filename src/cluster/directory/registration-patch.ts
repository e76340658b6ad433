// A change of a registration as it travels from gateway to node, and what it makes of the record:
// versions are raised here and nowhere else.

import { MailError } from "../../mail/errors.ts";
import type { AccountState, DirectoryRow, Registration } from "../../mail/account.ts";
import { firstViewId } from "../../mail/group.ts";
import type { GroupSettings, Membership } from "../../mail/group.ts";
import { mailboxId } from "../../mail/ids.ts";
import type { AccountId, ShardId } from "../../mail/ids.ts";

/** Absent fields stay as they are. */
export interface RegistrationPatch {
  readonly hash?: string | undefined;
  readonly disabled?: boolean | undefined;
  readonly aliases?: readonly string[] | undefined;
  readonly quotaBytes?: number | undefined;
  readonly quotaMessages?: number | undefined;
  readonly profile?: Readonly<Record<string, string>> | undefined;
  /**
   * The new hash is of the same password as this old one: sessions stay, and nothing happens when
   * the password was changed meanwhile.
   */
  readonly sameAsHash?: string | undefined;
  /** With `sameAsHash`: a verifier was taken away, so that sessions end all the same. */
  readonly endSessions?: boolean | undefined;
  /** Settings of a group; absent ones stay. The floor only rises. */
  readonly group?: GroupPatch | undefined;
  /** Makes the account a member; of a group that it is in already nothing changes. */
  readonly join?: Omit<Membership, "mailbox"> | undefined;
  readonly leave?: AccountId | undefined;
}

/** What of a group can be changed. */
export type GroupPatch = Partial<Omit<GroupSettings, "everyone">>;

const membershipsMax = 1000;

/**
 * The record after the patch. A change of password or state raises `credVersion`, any change `userVersion`.
 * @throws MailError NO_SUCH_ACCOUNT, CONFLICT (`sameAsHash` is no longer the hash)
 */
export function patched(registration: Registration, patch: RegistrationPatch): Registration {
  if (registration.state === "deleted") throw new MailError({ code: "NO_SUCH_ACCOUNT" });
  const { hash } = registration.credentials;
  if (patch.sameAsHash !== undefined && patch.sameAsHash !== hash) {
    throw new MailError({ code: "CONFLICT", why: "the password has changed meanwhile" });
  }
  const state = stateAfter(registration.state, patch.disabled);
  const otherPassword = patch.sameAsHash === undefined || patch.endSessions === true;
  const newPassword = patch.hash !== undefined && patch.hash !== hash && otherPassword;
  const raised = newPassword || state !== registration.state;
  return {
    ...registration,
    aliases: patch.aliases ?? registration.aliases,
    state,
    credentials: { hash: patch.hash ?? hash },
    credVersion: registration.credVersion + (raised ? 1 : 0),
    userVersion: registration.userVersion + 1,
    quotaBytes: patch.quotaBytes ?? registration.quotaBytes,
    quotaMessages: patch.quotaMessages ?? registration.quotaMessages,
    profile: patch.profile ?? registration.profile,
    ...groupAfter(registration, patch.group),
    ...membershipsAfter(registration, patch),
  };
}

function groupAfter(
  { group }: Registration,
  patch: GroupPatch | undefined,
): { readonly group?: GroupSettings } {
  if (patch === undefined) return {};
  if (group === undefined) throw new MailError({ code: "NO_SUCH_ACCOUNT" });
  const floorModSeq = Math.max(group.floorModSeq, patch.floorModSeq ?? 0);
  return { group: { ...group, ...patch, floorModSeq } };
}

function membershipsAfter(
  { group, memberships = [], viewsGiven = 0 }: Registration,
  { join, leave }: RegistrationPatch,
): Pick<Registration, "memberships" | "viewsGiven"> {
  if (leave !== undefined && memberships.some((one) => one.group === leave)) {
    return { memberships: memberships.filter((one) => one.group !== leave), viewsGiven };
  }
  if (join === undefined || memberships.some((one) => one.group === join.group)) return {};
  if (group !== undefined)
    throw new MailError({ code: "INVALID", why: "a group can't be a member" });
  if (memberships.length >= membershipsMax) {
    throw new MailError({ code: "LIMIT", limit: "groups of a member", most: membershipsMax });
  }
  // The view of the built-in group comes first.
  const mailbox = mailboxId(firstViewId + viewsGiven + 1);
  return { memberships: [...memberships, { ...join, mailbox }], viewsGiven: viewsGiven + 1 };
}

/** What stays of an account: enough for every gateway to forget it, and nothing of the person. */
export function tombstoneOf(registration: Registration): Registration {
  const { memberships: _left, ...rest } = registration;
  return {
    ...rest,
    aliases: [],
    state: "deleted",
    credentials: { hash: "" },
    credVersion: registration.credVersion + 1,
    userVersion: registration.userVersion + 1,
    profile: {},
  };
}

export function directoryRow(
  registration: Registration,
  shard: ShardId,
  overQuota: boolean,
): DirectoryRow {
  return {
    account: registration.account,
    shard,
    name: registration.name,
    aliases: registration.aliases,
    state: registration.state,
    credentials: registration.credentials,
    credVersion: registration.credVersion,
    userVersion: registration.userVersion,
    overQuota,
    ...(registration.group === undefined ? {} : { group: registration.group }),
    ...(registration.memberships === undefined ? {} : { memberships: registration.memberships }),
  };
}

function stateAfter(state: AccountState, disabled: boolean | undefined): AccountState {
  if (disabled === undefined) return state;
  return disabled ? "disabled" : "active";
}
