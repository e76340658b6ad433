// The directory's messages between members: names of methods, heads and their decoders. Rows travel
// as arrays, everything rare as objects. Leaves frames and failures to link/.

import type { AccountState, DirectoryRow, Registration } from "../../mail/account.ts";
import { epoch, lsn, opId, shardId, shardMax } from "../../mail/ids.ts";
import type { AccountId, Epoch, Lsn, OpId, ShardId } from "../../mail/ids.ts";
import type { Quota } from "../../mail/quota.ts";
import {
  asArray,
  asBoolean,
  asCount,
  asHex32,
  asListOf,
  asOptional,
  asText,
  malformed,
} from "../node/decode.ts";
import type { ClaimRow } from "./claims.ts";
import type { Order } from "./order-guard.ts";
import { asAccount, asGroup, asGroupPatch, asJoin, asMemberships, fieldsOf } from "./group-wire.ts";
import type { Fields } from "./group-wire.ts";
import type { RegistrationPatch } from "./registration-patch.ts";

/** Each is registered on nodes, by directory-service.ts. */
export const method = {
  create: "directory.create",
  change: "directory.change",
  remove: "directory.remove",
  patch: "directory.patch",
  details: "directory.details",
  row: "directory.row",
  find: "directory.find",
  claim: "directory.claim",
  release: "directory.release",
  put: "directory.put",
  settled: "directory.settled",
  rows: "directory.rows",
  seen: "directory.seen",
} as const;

export { asAccount, fieldsOf } from "./group-wire.ts";
export type { Fields } from "./group-wire.ts";

export function accountField(fields: Fields): AccountId {
  return asAccount(fields.get("account"), "account");
}
export function shardField(fields: Fields, name = "shard"): ShardId {
  return asShard(fields.get(name), name);
}
export function opIdField(fields: Fields, name = "opId"): OpId {
  return opId(asHex32(fields.get(name), name));
}
export function nameField(fields: Fields): string {
  return asName(fields.get("name"), "name");
}
export function countField(fields: Fields, name: string): number {
  return asCount(fields.get(name), name);
}

export function asName(value: unknown, what: string): string {
  const name = asText(value, what, 400);
  if (name === "") throw malformed(what);
  return name;
}

export function asShard(value: unknown, what: string): ShardId {
  return shardId(asCount(value, what, shardMax));
}

export function encodeOrder(order: Order): unknown {
  return [order.shard, order.epoch, order.number];
}

export function decodeOrder(value: unknown): Order {
  const [shard, inEpoch, number] = asArray(value, "order");
  return {
    shard: asShard(shard, "order"),
    epoch: epoch(asCount(inEpoch, "order")),
    number: asCount(number, "order"),
  };
}

export interface Position {
  readonly shard: ShardId;
  readonly epoch: Epoch;
  readonly lsn: Lsn;
}

export function encodePosition({ shard, epoch: inEpoch, lsn: at }: Position): unknown {
  return [shard, inEpoch, at];
}

export function decodePosition(value: unknown): Position {
  const [shard, inEpoch, at] = asArray(value, "position");
  return {
    shard: asShard(shard, "position"),
    epoch: epoch(asCount(inEpoch, "position")),
    lsn: lsn(asCount(at, "position")),
  };
}

const states: readonly AccountState[] = ["active", "disabled", "deleted"];

export function encodeRow(row: DirectoryRow): unknown {
  return [
    row.account,
    row.shard,
    row.name,
    row.aliases,
    states.indexOf(row.state),
    row.credentials.hash,
    row.credVersion,
    row.userVersion,
    row.overQuota,
    // Absent in what older members send and know.
    ...(row.group === undefined && row.memberships === undefined
      ? []
      : [row.group ?? null, row.memberships ?? null]),
  ];
}

export function decodeRow(value: unknown): DirectoryRow {
  const fields = asArray(value, "row");
  const state = states[asCount(fields[4], "row")];
  if (state === undefined) throw malformed("row");
  const group = asOptional(fields[9], "group", asGroup);
  const memberships = asOptional(fields[10], "memberships", asMemberships);
  return {
    account: asAccount(fields[0], "row"),
    shard: asShard(fields[1], "row"),
    name: asName(fields[2], "row"),
    aliases: asListOf(fields[3], "row", asName),
    state,
    credentials: { hash: asText(fields[5], "row") },
    credVersion: asCount(fields[6], "row"),
    userVersion: asCount(fields[7], "row"),
    overQuota: asBoolean(fields[8], "row"),
    ...(group === undefined ? {} : { group }),
    ...(memberships === undefined ? {} : { memberships }),
  };
}

export function encodeClaimRow(row: ClaimRow): unknown {
  return [row.name, row.account ?? null];
}

export function decodeClaimRow(value: unknown): ClaimRow {
  const [name, account] = asArray(value, "claim");
  return { name: asName(name, "claim"), account: asOptional(account, "claim", asAccount) };
}

export function decodePatch(value: unknown): RegistrationPatch {
  const fields = fieldsOf(value, "patch");
  return {
    hash: asOptional(fields.get("hash"), "hash", asText),
    disabled: asOptional(fields.get("disabled"), "disabled", asBoolean),
    aliases: asOptional(fields.get("aliases"), "aliases", (list, what) =>
      asListOf(list, what, asName),
    ),
    quotaBytes: asOptional(fields.get("quotaBytes"), "quota", asCount),
    quotaMessages: asOptional(fields.get("quotaMessages"), "quota", asCount),
    profile: asOptional(fields.get("profile"), "profile", asProfile),
    sameAsHash: asOptional(fields.get("sameAsHash"), "hash", asText),
    endSessions: asOptional(fields.get("endSessions"), "endSessions", asBoolean),
    group: asOptional(fields.get("group"), "group", asGroupPatch),
    join: asOptional(fields.get("join"), "membership", asJoin),
    leave: asOptional(fields.get("leave"), "group", asAccount),
  };
}

export function decodeRegistration(value: unknown): Registration {
  const fields = fieldsOf(value, "registration");
  const state = states.find((known) => known === fields.get("state"));
  if (state === undefined) throw malformed("registration");
  const group = asOptional(fields.get("group"), "group", asGroup);
  const memberships = asOptional(fields.get("memberships"), "memberships", asMemberships);
  const viewsGiven = asOptional(fields.get("viewsGiven"), "views", asCount);
  return {
    account: accountField(fields),
    name: nameField(fields),
    aliases: asListOf(fields.get("aliases"), "aliases", asName),
    state,
    credentials: {
      hash: asText(fieldsOf(fields.get("credentials"), "credentials").get("hash"), "hash"),
    },
    credVersion: countField(fields, "credVersion"),
    userVersion: countField(fields, "userVersion"),
    quotaBytes: countField(fields, "quotaBytes"),
    quotaMessages: countField(fields, "quotaMessages"),
    profile: asProfile(fields.get("profile"), "profile"),
    createdMs: countField(fields, "createdMs"),
    ...(group === undefined ? {} : { group }),
    ...(memberships === undefined ? {} : { memberships }),
    ...(viewsGiven === undefined ? {} : { viewsGiven }),
  };
}

export function decodeQuota(value: unknown): Quota {
  const fields = fieldsOf(value, "quota");
  return {
    usedBytes: countField(fields, "usedBytes"),
    usedMessages: countField(fields, "usedMessages"),
    limitBytes: countField(fields, "limitBytes"),
    limitMessages: countField(fields, "limitMessages"),
  };
}

export function asProfile(value: unknown, what: string): Readonly<Record<string, string>> {
  const entries = [...fieldsOf(value, what)];
  if (entries.length > 1000) throw malformed(what);
  // fromEntries defines own properties: a key `__proto__` stays plain data.
  return Object.fromEntries(entries.map(([key, text]) => [key, asText(text, what)]));
}
