// A change of a registration as it travels from gateway to node, and what it makes of the record:
// versions are raised here and nowhere else.

import { MailError } from "../../mail/errors.ts";
import type { AccountState, DirectoryRow, Registration } from "../../mail/account.ts";
import type { ShardId } from "../../mail/ids.ts";

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
}

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
  const newPassword =
    patch.hash !== undefined && patch.hash !== hash && patch.sameAsHash === undefined;
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
  };
}

/** What stays of an account: enough for every gateway to forget it, and nothing of the person. */
export function tombstoneOf(registration: Registration): Registration {
  return {
    ...registration,
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
  };
}

function stateAfter(state: AccountState, disabled: boolean | undefined): AccountState {
  if (disabled === undefined) return state;
  return disabled ? "disabled" : "active";
}
