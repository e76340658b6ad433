// Accounts and claims in words, for traces and violations.

import type { DirectoryRow } from "../../../src/mail/account.ts";
import type { Claim } from "../../../src/cluster/directory/claims.ts";

export function describeRow(row: DirectoryRow): string {
  const { account, shard, userVersion, state, name, aliases } = row;
  const gone = state === "deleted" ? " deleted" : "";
  const names = [name, ...aliases].join(" ");
  return `account ${account}${gone} in shard ${shard}, version ${userVersion}: ${names}`;
}

export function describeClaim({ name, account, state, task, uidValidityFloor }: Claim): string {
  const change = task === undefined ? "" : " with a change";
  return `${name} ${state} for account ${account} above ${uidValidityFloor}${change}`;
}
