// Settings of groups and memberships as they travel between members: decoders of what is foreign.
// Leaves rows and registrations to wire.ts.

import { withoutUndefined } from "../../lib/without-undefined.ts";
import type { GroupSettings, JoinPolicy, Membership, PostPolicy } from "../../mail/group.ts";
import { accountId, mailboxId, uidMax } from "../../mail/ids.ts";
import type { AccountId } from "../../mail/ids.ts";
import { asBoolean, asCount, asListOf, asOptional, asText, malformed } from "../node/decode.ts";
import type { GroupPatch } from "./registration-patch.ts";

export type Fields = ReadonlyMap<string, unknown>;

/** The fields of an object head. @throws MailError INVALID */
export function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed(what);
  return new Map<string, unknown>(Object.entries(value));
}

export function asAccount(value: unknown, what: string): AccountId {
  return accountId(asCount(value, what));
}

const postPolicies: readonly PostPolicy[] = ["listed", "members", "users"];
const joinPolicies: readonly JoinPolicy[] = ["open", "closed"];
const postersMax = 1000;

export function asGroup(value: unknown, what: string): GroupSettings {
  const patch = asGroupPatch(value, what);
  const { description, post, posters, join, historyDays, retentionMs } = patch;
  if (
    description === undefined ||
    post === undefined ||
    posters === undefined ||
    join === undefined ||
    historyDays === undefined ||
    retentionMs === undefined
  ) {
    throw malformed(what);
  }
  const everyone = asBoolean(fieldsOf(value, what).get("everyone"), what);
  const floorModSeq = patch.floorModSeq ?? 0;
  return {
    description,
    post,
    posters,
    join,
    historyDays,
    retentionMs,
    everyone,
    floorModSeq,
  };
}

/** Fields that are there; others stay as they are. */
export function asGroupPatch(value: unknown, what: string): GroupPatch {
  const fields = fieldsOf(value, what);
  const text = (name: string): string | undefined =>
    asOptional(fields.get(name), what, (given) => asText(given, what, 1000));
  const count = (name: string): number | undefined => asOptional(fields.get(name), what, asCount);
  const posters = asOptional(fields.get("posters"), what, (list) =>
    asListOf(list, what, (each) => asText(each, what, 400)),
  );
  if (posters !== undefined && posters.length > postersMax) throw malformed(what);
  return withoutUndefined({
    description: text("description"),
    post: oneOf(postPolicies, fields.get("post"), what),
    posters,
    join: oneOf(joinPolicies, fields.get("join"), what),
    historyDays: count("historyDays"),
    retentionMs: count("retentionMs"),
    floorModSeq: count("floorModSeq"),
  });
}

export function asJoin(value: unknown, what: string): Omit<Membership, "mailbox"> {
  const fields = fieldsOf(value, what);
  return {
    group: asAccount(fields.get("group"), what),
    sinceMs: asCount(fields.get("sinceMs"), what),
    fromUid: asCount(fields.get("fromUid"), what, uidMax),
  };
}

export function asMemberships(value: unknown, what: string): readonly Membership[] {
  return asListOf(value, what, (one) => ({
    ...asJoin(one, what),
    mailbox: mailboxId(asCount(fieldsOf(one, what).get("mailbox"), what, uidMax)),
  }));
}

function oneOf<T extends string>(known: readonly T[], value: unknown, what: string): T | undefined {
  if (value === undefined || value === null) return undefined;
  const found = known.find((one) => one === value);
  if (found === undefined) throw malformed(what);
  return found;
}
