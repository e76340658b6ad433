// Calls of a member's view of groups on the wire: what the member is in and did, and changes of it.

import { accountId } from "../../mail/ids.ts";
import type { AccountId } from "../../mail/ids.ts";
import type { MemberGroups, StateOutcome, StateRequest } from "../../mail/member-states.ts";
import { decodeReadState, encodeReadState } from "../../mail/read-state-codec.ts";
import type { ReadState } from "../../mail/read-state.ts";
import type { MemberChange, StateChange } from "../../mail/state-change.ts";
import { asMemberships } from "../directory/group-wire.ts";
import { asMailboxId, decodeUidSet, encodeUidSet } from "./codec-values.ts";
import {
  asArray,
  asBoolean,
  asBytes,
  asCount,
  asListOf,
  asOptional,
  asText,
  malformed,
} from "./decode.ts";
import { decodeChange, encodeChange } from "./method.ts";
import type { Method } from "./method.ts";

export const readGroupsMethod: Method<{ readonly under: string }, MemberGroups> = {
  name: "group.read",
  large: false,
  encode: ({ under }) => ({ args: [under] }),
  decode: (args) => ({ under: asText(args[0], "folder") }),
  encodeReply: ({ createdMs, memberships, states, ownNames }) => ({
    head: [
      createdMs,
      memberships,
      Array.from(states, ([group, state]) => [group, encodeReadState(state)]),
      ownNames,
    ],
  }),
  decodeReply: ({ head }) => {
    const fields = asArray(head, "groups");
    const states = asListOf(fields[2], "states", (one): [AccountId, ReadState] => {
      const [group, bytes] = asArray(one, "state");
      return [accountId(asCount(group, "group")), decodeReadState(asBytes(bytes, "state"))];
    });
    return {
      createdMs: asCount(fields[0], "time"),
      memberships: asMemberships(fields[1], "memberships"),
      states: new Map(states),
      ownNames: asListOf(fields[3], "names", (name) => asText(name, "name")),
    };
  },
};

export const changeReadStateMethod: Method<StateRequest, StateOutcome> = {
  name: "group.change",
  large: false,
  encode: (request) => ({ args: [...encodeChange(request), ...encodeMemberChange(request)] }),
  decode: (args) => ({ ...decodeMemberChange(args.slice(2)), ...decodeChange(args) }),
  encodeReply: ({ state, changed, modified, hidden }) => ({
    head: [encodeReadState(state), changed, encodeUidSet(modified), encodeUidSet(hidden)],
  }),
  decodeReply: ({ head }) => {
    const fields = asArray(head, "state");
    return {
      state: decodeReadState(asBytes(fields[0], "state")),
      changed: asBoolean(fields[1], "changed"),
      modified: decodeUidSet(fields[2]),
      hidden: decodeUidSet(fields[3]),
    };
  },
};

export function encodeMemberChange(request: MemberChange): readonly unknown[] {
  return [
    request.group,
    request.mailbox,
    request.uidValidity,
    request.groupModSeq,
    request.oldestUid,
    encodeStateChange(request.change),
  ];
}

export function decodeMemberChange(value: unknown): MemberChange {
  const fields = asArray(value, "change");
  return {
    group: accountId(asCount(fields[0], "group")),
    mailbox: asMailboxId(fields[1]),
    uidValidity: asCount(fields[2], "uidvalidity"),
    groupModSeq: asCount(fields[3], "modseq"),
    oldestUid: asCount(fields[4], "uid"),
    change: decodeStateChange(fields[5]),
  };
}

const modes = ["add", "remove", "replace"] as const;

function encodeStateChange(change: StateChange): readonly unknown[] {
  switch (change.kind) {
    case "flags": {
      const { uids, mode, flags, unchangedSince = null } = change;
      return [0, encodeUidSet(uids), modes.indexOf(mode), flags, unchangedSince];
    }
    case "hide":
      return [1, encodeUidSet(change.uids), change.deletedOnly];
    case "subscribe":
      return [2, change.on];
  }
}

function decodeStateChange(value: unknown): StateChange {
  const fields = asArray(value, "change");
  switch (fields[0]) {
    case 0: {
      const mode = modes[asCount(fields[2], "mode")];
      if (mode === undefined) throw malformed("mode");
      const flags = asListOf(fields[3], "flags", (flag) => asText(flag, "flag", 1000));
      const unchangedSince = asOptional(fields[4], "count", asCount);
      const rest = unchangedSince === undefined ? {} : { unchangedSince };
      return { kind: "flags", uids: decodeUidSet(fields[1]), mode, flags, ...rest };
    }
    case 1:
      return {
        kind: "hide",
        uids: decodeUidSet(fields[1]),
        deletedOnly: asBoolean(fields[2], "deleted"),
      };
    case 2:
      return { kind: "subscribe", on: asBoolean(fields[1], "on") };
    default:
      throw malformed("change");
  }
}
