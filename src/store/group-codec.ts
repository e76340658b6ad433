// Bytes of what a registration says of groups: the settings of one, and the memberships of a member.
// They stand behind the registration proper, in records that have any.

import type { Registration } from "../mail/account.ts";
import type { GroupSettings, JoinPolicy, Membership, PostPolicy } from "../mail/group.ts";
import { accountId, mailboxId } from "../mail/ids.ts";
import type { ByteReader } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";
import type { Op } from "./entry-kind.ts";

type ReadStateOp = Extract<Op, { kind: "readState" }>;

const format = 1;
const postPolicies: readonly PostPolicy[] = ["listed", "members", "users"];
const joinPolicies: readonly JoinPolicy[] = ["open", "closed"];

export function hasGroupPart({ group, memberships, viewsGiven }: Registration): boolean {
  return group !== undefined || memberships !== undefined || viewsGiven !== undefined;
}

export function writeGroupPart(out: ByteWriter, registration: Registration): void {
  const { group, memberships = [], viewsGiven = 0 } = registration;
  out.u8(format);
  out.u8(group === undefined ? 0 : 1);
  if (group !== undefined) writeSettings(out, group);
  out.varint(viewsGiven);
  out.varint(memberships.length);
  for (const one of memberships) {
    out.varint(one.group);
    out.varint(one.mailbox);
    out.f64(one.sinceMs);
    out.varint(one.fromUid);
  }
}

/** The registration with what stands behind it. */
export function readGroupPart(reader: ByteReader, registration: Registration): Registration {
  reader.u8();
  const group = reader.u8() === 1 ? readSettings(reader) : undefined;
  const viewsGiven = reader.varint();
  const memberships: Membership[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    memberships.push({
      group: accountId(reader.varint()),
      mailbox: mailboxId(reader.varint()),
      sinceMs: reader.f64(),
      fromUid: reader.varint(),
    });
  }
  return {
    ...registration,
    ...(group === undefined ? {} : { group }),
    ...(viewsGiven === 0 ? {} : { memberships, viewsGiven }),
  };
}

function writeSettings(out: ByteWriter, group: GroupSettings): void {
  out.text(group.description);
  out.u8(postPolicies.indexOf(group.post));
  out.varint(group.posters.length);
  for (const poster of group.posters) out.text(poster);
  out.u8(joinPolicies.indexOf(group.join));
  out.varint(group.historyDays);
  out.varint(group.retentionMs);
  out.u8(group.everyone ? 1 : 0);
  out.varint(group.floorModSeq);
}

function readSettings(reader: ByteReader): GroupSettings {
  const description = reader.text();
  const post = postPolicies[reader.u8()] ?? "listed";
  const posters: string[] = [];
  for (let left = reader.varint(); left > 0; left--) posters.push(reader.text());
  return {
    description,
    post,
    posters,
    join: joinPolicies[reader.u8()] ?? "closed",
    historyDays: reader.varint(),
    retentionMs: reader.varint(),
    everyone: reader.u8() === 1,
    floorModSeq: reader.varint(),
  };
}

export function writeReadStateOp(out: ByteWriter, op: ReadStateOp): void {
  out.varint(op.group);
  out.varint(op.mailbox);
  out.varint(op.own);
  out.bytes(op.state);
}

export function readReadStateOp(reader: ByteReader): ReadStateOp {
  return {
    kind: "readState",
    group: accountId(reader.varint()),
    mailbox: mailboxId(reader.varint()),
    own: reader.varint(),
    state: Uint8Array.from(reader.bytes()),
  };
}
