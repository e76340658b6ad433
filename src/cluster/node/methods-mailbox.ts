// Calls about mailboxes on the wire: lists, names, opening, what changed.

import { MailError } from "../../mail/errors.ts";
import { modSeq } from "../../mail/ids.ts";
import type {
  Change,
  MailboxChanges,
  MailboxInfo,
  MailboxListing,
  OpenMailbox,
} from "../../mail/mail-store.ts";
import type { Quota } from "../../mail/quota.ts";
import type { MailboxId, ModSeq } from "../../mail/ids.ts";
import type { ByteWriter } from "../../store/byte-writer.ts";
import {
  asMailboxId,
  decodeInfo,
  decodeUidSet,
  encodeInfo,
  encodeUidSet,
  packed,
  readAscending,
  readFlagStates,
  readInfo,
  readRuns,
  writeAscending,
  writeFlagStates,
  writeInfo,
  writeRuns,
} from "./codec-values.ts";
import { asArray, asBoolean, asCount, asListOf, asOptional, asText } from "./decode.ts";
import { decodeChange, encodeChange, noRequest, noResult } from "./method.ts";
import type { Method } from "./method.ts";
import { WireReader } from "./wire-reader.ts";

export const listMethod: Method<undefined, MailboxListing> = {
  name: "mail.list",
  large: true,
  ...noRequest,
  // Ten thousand mailboxes are longer than a frame may be: they go into the body, which is cut in pieces.
  encodeReply: ({ mailboxes, orphanSubscriptions }) => ({
    head: null,
    body: packed((out) => {
      out.varint(mailboxes.length);
      for (const info of mailboxes) writeInfo(out, info);
      out.varint(orphanSubscriptions.length);
      for (const name of orphanSubscriptions) out.text(name);
    }),
  }),
  decodeReply: ({ body }) => {
    const reader = new WireReader(body);
    const mailboxes = Array.from({ length: reader.count() }, () => readInfo(reader));
    const orphanSubscriptions = Array.from({ length: reader.count() }, () => reader.text());
    reader.end();
    return { mailboxes, orphanSubscriptions };
  },
};

export const statusMethod: Method<{ readonly name: string }, MailboxInfo> = {
  name: "mail.status",
  large: false,
  encode: ({ name }) => ({ args: [name] }),
  decode: (args) => ({ name: asText(args[0], "name") }),
  encodeReply: (info) => ({ head: encodeInfo(info) }),
  decodeReply: ({ head }) => decodeInfo(head),
};

export const createMethod: Method<
  Change & { readonly name: string; readonly specialUse?: string },
  MailboxInfo
> = {
  name: "mail.create",
  large: false,
  encode: (request) => ({
    args: [...encodeChange(request), wireName(request.name), request.specialUse ?? null],
  }),
  decode: (args) => {
    const specialUse = asOptional(args[3], "special use", asText);
    const name = asText(args[2], "name");
    return { name, ...(specialUse === undefined ? {} : { specialUse }), ...decodeChange(args) };
  },
  encodeReply: (info) => ({ head: encodeInfo(info) }),
  decodeReply: ({ head }) => decodeInfo(head),
};

export const deleteMethod: Method<Change & { readonly name: string }, void> = {
  name: "mail.delete",
  large: false,
  encode: (request) => ({ args: [...encodeChange(request), request.name] }),
  decode: (args) => ({ name: asText(args[2], "name"), ...decodeChange(args) }),
  ...noResult,
};

export const renameMethod: Method<Change & { readonly from: string; readonly to: string }, void> = {
  name: "mail.rename",
  large: false,
  encode: (request) => ({ args: [...encodeChange(request), request.from, wireName(request.to)] }),
  decode: (args) => ({
    from: asText(args[2], "name"),
    to: asText(args[3], "name"),
    ...decodeChange(args),
  }),
  ...noResult,
};

export const subscribeMethod: Method<
  Change & { readonly name: string; readonly subscribed: boolean },
  void
> = {
  name: "mail.subscribe",
  large: false,
  encode: (request) => ({
    args: [...encodeChange(request), wireName(request.name), request.subscribed],
  }),
  decode: (args) => ({
    name: asText(args[2], "name"),
    subscribed: asBoolean(args[3], "subscribed"),
    ...decodeChange(args),
  }),
  ...noResult,
};

/**
 * A new name. Lone surrogates have no UTF-8, so the node would see another name than was asked for.
 * @throws {MailError} BAD_MAILBOX_NAME
 */
function wireName(name: string): string {
  if (!/\p{Surrogate}/u.test(name)) return name;
  throw new MailError({ code: "BAD_MAILBOX_NAME", mailbox: name, why: "not valid Unicode" });
}

type OpenRequest = { readonly name: string; readonly claimRecent: boolean };

export const openMethod: Method<OpenRequest, OpenMailbox> = opening("mail.openRuns", {
  write: writeRuns,
  read: readRuns,
});

/** As gateways of the version before ask for it. */
export const openGapsMethod: Method<OpenRequest, OpenMailbox> = opening("mail.open", {
  write: writeAscending,
  read: readAscending,
});

/** @param uids how they are packed. */
function opening(
  name: string,
  uids: {
    readonly write: (out: ByteWriter, values: Uint32Array) => void;
    readonly read: (reader: WireReader) => Uint32Array;
  },
): Method<OpenRequest, OpenMailbox> {
  return {
    name,
    large: true,
    encode: (request) => ({ args: [request.name, request.claimRecent] }),
    decode: (args) => ({
      name: asText(args[0], "name"),
      claimRecent: asBoolean(args[1], "claim"),
    }),
    encodeReply: ({ info, uids: all, recentFrom, firstUnseen, keywords }) => ({
      head: [encodeInfo(info), recentFrom, firstUnseen, keywords],
      body: packed((out) => uids.write(out, all)),
    }),
    decodeReply: ({ head, body }) => {
      const fields = asArray(head, "open mailbox");
      return {
        info: decodeInfo(fields[0]),
        uids: uids.read(new WireReader(body)),
        recentFrom: asCount(fields[1], "uid"),
        firstUnseen: asCount(fields[2], "uid"),
        keywords: asListOf(fields[3], "keywords", (keyword) => asText(keyword, "keyword")),
      };
    },
  };
}

export const changesMethod: Method<
  {
    readonly mailbox: MailboxId;
    readonly sinceModSeq: ModSeq;
    readonly knownUidNext: number;
    readonly uidValidity?: number;
  },
  MailboxChanges
> = {
  name: "mail.changes",
  large: true,
  encode: ({ mailbox, sinceModSeq, knownUidNext, uidValidity = null }) => ({
    args: [mailbox, sinceModSeq, knownUidNext, uidValidity],
  }),
  decode: (args) => {
    const uidValidity = asOptional(args[3], "uidvalidity", asCount);
    return {
      mailbox: asMailboxId(args[0]),
      sinceModSeq: modSeq(asCount(args[1], "modseq")),
      knownUidNext: asCount(args[2], "uidnext"),
      ...(uidValidity === undefined ? {} : { uidValidity }),
    };
  },
  encodeReply: ({ highestModSeq, uidNext, added, changed, vanished, messages }) => ({
    head: [highestModSeq, uidNext, messages, encodeUidSet(vanished)],
    body: packed((out) => {
      writeFlagStates(out, added);
      writeFlagStates(out, changed);
    }),
  }),
  decodeReply: ({ head, body }) => {
    const fields = asArray(head, "changes");
    const reader = new WireReader(body);
    return {
      highestModSeq: modSeq(asCount(fields[0], "modseq")),
      uidNext: asCount(fields[1], "uidnext"),
      messages: asCount(fields[2], "messages"),
      vanished: decodeUidSet(fields[3]),
      added: readFlagStates(reader),
      changed: readFlagStates(reader),
    };
  },
};

export const quotaMethod: Method<undefined, Quota> = {
  name: "mail.quota",
  large: false,
  ...noRequest,
  encodeReply: ({ usedBytes, usedMessages, limitBytes, limitMessages }) => ({
    head: [usedBytes, usedMessages, limitBytes, limitMessages],
  }),
  decodeReply: ({ head }) => {
    const fields = asArray(head, "quota");
    return {
      usedBytes: asCount(fields[0], "bytes"),
      usedMessages: asCount(fields[1], "messages"),
      limitBytes: asCount(fields[2], "bytes"),
      limitMessages: asCount(fields[3], "messages"),
    };
  },
};
