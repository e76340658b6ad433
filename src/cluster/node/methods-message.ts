// Calls about messages on the wire: STORE, EXPUNGE, COPY, MOVE. SEARCH is in method-search.ts, streams
// are in mail-service.ts.

import { modSeq, opId, uidMax, uidValidity } from "../../mail/ids.ts";
import type { MailboxId, OpId } from "../../mail/ids.ts";
import type {
  Change,
  CopyOutcome,
  CopyRequest,
  ExpungeOutcome,
  StoreOutcome,
  StoreRequest,
} from "../../mail/mail-store.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import {
  asMailboxId,
  decodeUidSet,
  encodeUidSet,
  packed,
  readAscending,
  readFlagStates,
  writeAscending,
  writeFlagStates,
} from "./codec-values.ts";
import {
  asArray,
  asBoolean,
  asCount,
  asHex32,
  asListOf,
  asOptional,
  asText,
  malformed,
} from "./decode.ts";
import { decodeChange, encodeChange } from "./method.ts";
import type { Method } from "./method.ts";
import { WireReader } from "./wire-reader.ts";

const storeModes = ["add", "remove", "replace"] as const;

export const storeMethod: Method<StoreRequest, StoreOutcome> = {
  name: "mail.store",
  large: true,
  encode: (request) => {
    const { mailbox, uids, mode, flags, unchangedSince } = request;
    const what = [mailbox, encodeUidSet(uids), storeModes.indexOf(mode), flags];
    return { args: [...encodeChange(request), ...what, unchangedSince ?? null] };
  },
  decode: (args) => {
    const mode = storeModes[asCount(args[4], "mode")];
    if (mode === undefined) throw malformed("mode");
    const unchangedSince = asOptional(args[6], "modseq", asCount);
    return {
      mailbox: asMailboxId(args[2]),
      uids: decodeUidSet(args[3]),
      mode,
      flags: asListOf(args[5], "flags", (flag) => asText(flag, "flag")),
      ...(unchangedSince === undefined ? {} : { unchangedSince }),
      ...decodeChange(args),
    };
  },
  encodeReply: ({ highestModSeq, changed, stored, modified }) => ({
    head: [highestModSeq, encodeUidSet(modified), changed ?? null],
    body: packed((out) => writeFlagStates(out, stored)),
  }),
  decodeReply: ({ head, body }) => {
    const fields = asArray(head, "store outcome");
    // Absent in what older nodes send.
    const changed = asOptional(fields[2], "changed", asBoolean);
    return {
      highestModSeq: modSeq(asCount(fields[0], "modseq")),
      ...(changed === undefined ? {} : { changed }),
      modified: decodeUidSet(fields[1]),
      stored: readFlagStates(new WireReader(body)),
    };
  },
};

export const expungeMethod: Method<
  Change & {
    readonly mailbox: MailboxId;
    readonly uids?: UidSet;
    readonly force?: boolean;
    readonly maildrop?: OpId;
  },
  ExpungeOutcome
> = {
  name: "mail.expunge",
  large: true,
  encode: (request) => {
    const uids = request.uids === undefined ? null : encodeUidSet(request.uids);
    const { mailbox, force = null, maildrop = null } = request;
    return { args: [...encodeChange(request), mailbox, uids, force, maildrop] };
  },
  decode: (args) => {
    const uids = asOptional(args[3], "uids", decodeUidSet);
    const force = asOptional(args[4], "force", asBoolean);
    const maildrop = asOptional(args[5], "maildrop", asHex32);
    return {
      mailbox: asMailboxId(args[2]),
      ...(uids === undefined ? {} : { uids }),
      ...(force === undefined ? {} : { force }),
      ...(maildrop === undefined ? {} : { maildrop: opId(maildrop) }),
      ...decodeChange(args),
    };
  },
  encodeReply: ({ highestModSeq, expunged }) => ({
    head: [highestModSeq],
    body: encodeUidSet(expunged),
  }),
  decodeReply: ({ head, body }) => ({
    highestModSeq: modSeq(asCount(asArray(head, "expunge outcome")[0], "modseq")),
    expunged: decodeUidSet(body ?? new Uint8Array(0)),
  }),
};

export const copyMethod = copyOrMove("mail.copy");
export const moveMethod = copyOrMove("mail.move");

function copyOrMove(name: string): Method<CopyRequest, CopyOutcome> {
  return {
    name,
    large: true,
    encode: (request) => {
      const { mailbox, uids, target } = request;
      return { args: [...encodeChange(request), mailbox, encodeUidSet(uids), target] };
    },
    decode: (args) => ({
      mailbox: asMailboxId(args[2]),
      uids: decodeUidSet(args[3]),
      target: asText(args[4], "target"),
      ...decodeChange(args),
    }),
    encodeReply: ({ uidValidity: validity, from, to, highestModSeq }) => ({
      head: [validity, highestModSeq],
      body: packed((out) => {
        writeAscending(out, from);
        writeAscending(out, to);
      }),
    }),
    decodeReply: ({ head, body }) => {
      const fields = asArray(head, "copy outcome");
      const reader = new WireReader(body);
      return {
        uidValidity: uidValidity(asCount(fields[0], "uidvalidity", uidMax)),
        highestModSeq: modSeq(asCount(fields[1], "modseq")),
        from: [...readAscending(reader)],
        to: [...readAscending(reader)],
      };
    },
  };
}
