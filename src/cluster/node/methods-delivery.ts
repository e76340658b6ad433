// DELIVER and APPEND on the wire: messages travel raw in the body, their indexes as arrays in the head.

import {
  accountId,
  deliveryId,
  modSeq,
  opId as makeOpId,
  shardId,
  shardMax,
  uid,
  uidMax,
  uidValidity,
} from "../../mail/ids.ts";
import type { OpId } from "../../mail/ids.ts";
import type {
  AppendMessage,
  AppendOutcome,
  AppendRequest,
  DeliverOutcome,
  DeliverRecipient,
  DeliverRequest,
  MessageSource,
} from "../../mail/mail-store.ts";
import { decodeReadState, encodeReadState } from "../../mail/read-state-codec.ts";
import { decodeFailure } from "../link/wire-value.ts";
import { decodeIndex, encodeIndex } from "./codec-index.ts";
import { asMailboxId, encodeSource, SourceReader } from "./codec-values.ts";
import {
  asArray,
  asBytes,
  asCount,
  asHex32,
  asInteger,
  asListOf,
  asOptional,
  asText,
} from "./decode.ts";
import { decodeChange, encodeChange } from "./method.ts";
import type { Method } from "./method.ts";
import { decodeMemberChange, encodeMemberChange } from "./methods-group.ts";

const none: readonly OpId[] = [];

export const deliverMethod: Method<DeliverRequest, readonly DeliverOutcome[]> = {
  name: "mail.deliver",
  large: false,
  encode: (request) => {
    const { opId, retry, shard, recipients, source, index } = request;
    const to = recipients.map((recipient) => encodeRecipient(recipient));
    const what = [encodeSource(source), encodeIndex(index), request.accepted === true];
    const args = [opId, retry, shard, request.deliveryId, to, ...what];
    if (request.confirmed !== undefined) args.push(request.confirmed);
    return source.kind === "bytes" ? { args, body: source.bytes } : { args };
  },
  decode: (args, body) => {
    const { opId, retry } = decodeChange(args);
    return {
      opId,
      retry,
      accepted: args[7] === true,
      shard: shardId(asCount(args[2], "shard", shardMax)),
      confirmed: args[8] === undefined ? none : asListOf(args[8], "confirmed", decodeConfirmed),
      deliveryId: deliveryId(asText(args[3], "deliveryId", 64)),
      recipients: asListOf(args[4], "recipients", decodeRecipient),
      source: new SourceReader(body).take(args[5]),
      index: decodeIndex(args[6]),
    };
  },
  encodeReply: (outcomes) => ({
    head: outcomes.map((outcome) =>
      outcome.ok ? [outcome.mailbox, outcome.uidValidity, outcome.uid] : [outcome.failure],
    ),
  }),
  decodeReply: ({ head }) => asListOf(head, "outcomes", decodeDeliverOutcome),
};

export const appendMethod: Method<AppendRequest, AppendOutcome> = {
  name: "mail.append",
  large: false,
  encode: (request) => {
    const messages = request.messages.map((message) => [
      encodeSource(message.source),
      encodeIndex(message.index),
      message.flags,
      message.internalDateMs ?? null,
      message.internalDateZone ?? null,
    ]);
    const body = bodyOf(request.messages.map((message) => message.source));
    const { replaces, memberChange } = request;
    const old = replaces === undefined ? null : [replaces.mailbox, replaces.uid];
    const member = memberChange === undefined ? null : encodeMemberChange(memberChange);
    const more = old === null && member === null ? [] : [old, member];
    return { args: [...encodeChange(request), request.mailbox, messages, ...more], ...body };
  },
  decode: (args, body) => {
    const sources = new SourceReader(body);
    const messages = asListOf(args[3], "messages", (value) => decodeAppended(value, sources));
    const replaces = asOptional(args[4], "replaced", decodeReplaced);
    const memberChange = asOptional(args[5], "change", decodeMemberChange);
    return {
      mailbox: asText(args[2], "mailbox"),
      messages,
      ...(replaces === undefined ? {} : { replaces }),
      ...(memberChange === undefined ? {} : { memberChange }),
      ...decodeChange(args),
    };
  },
  encodeReply: ({ mailbox, uidValidity: validity, uids, highestModSeq, memberState }) => {
    const head: unknown[] = [mailbox, validity, uids];
    if (highestModSeq !== undefined || memberState !== undefined) head.push(highestModSeq ?? null);
    if (memberState !== undefined) head.push(encodeReadState(memberState));
    return { head };
  },
  decodeReply: ({ head }) => {
    const fields = asArray(head, "append outcome");
    const highest = asOptional(fields[3], "modseq", asCount);
    const memberState = asOptional(fields[4], "state", (bytes) =>
      decodeReadState(asBytes(bytes, "state")),
    );
    return {
      mailbox: asMailboxId(fields[0]),
      uidValidity: uidValidity(asCount(fields[1], "uidvalidity", uidMax)),
      uids: asListOf(fields[2], "uids", (value) => asCount(value, "uid", uidMax)),
      ...(highest === undefined ? {} : { highestModSeq: modSeq(highest) }),
      ...(memberState === undefined ? {} : { memberState }),
    };
  },
};

/** Bytes of the sources that are not blobs, in order; one alone is not copied. */
function bodyOf(sources: readonly MessageSource[]): { readonly body?: Uint8Array } {
  const bytes = sources.flatMap((source) => (source.kind === "bytes" ? [source.bytes] : []));
  const [only] = bytes;
  if (only === undefined) return {};
  return { body: bytes.length === 1 ? only : Buffer.concat(bytes) };
}

function decodeReplaced(value: unknown): NonNullable<AppendRequest["replaces"]> {
  const fields = asArray(value, "replaced");
  return { mailbox: asMailboxId(fields[0]), uid: uid(asCount(fields[1], "uid", uidMax)) };
}

function decodeConfirmed(value: unknown): OpId {
  return makeOpId(asHex32(value, "confirmed delivery"));
}

function encodeRecipient(recipient: DeliverRecipient): readonly unknown[] {
  const { account, mailbox, fingerprint } = recipient;
  if (fingerprint === undefined) return [account, mailbox ?? null];
  return [account, mailbox ?? null, fingerprint];
}

function decodeRecipient(value: unknown): DeliverRecipient {
  const fields = asArray(value, "recipient");
  const mailbox = asOptional(fields[1], "mailbox", asText);
  const fingerprint = asOptional(fields[2], "fingerprint", asHex32);
  const account = accountId(asCount(fields[0], "account"));
  if (mailbox === undefined)
    return fingerprint === undefined ? { account } : { account, fingerprint };
  return fingerprint === undefined ? { account, mailbox } : { account, mailbox, fingerprint };
}

function decodeDeliverOutcome(value: unknown): DeliverOutcome {
  const fields = asArray(value, "outcome");
  if (fields.length === 1) return { ok: false, failure: decodeFailure(fields[0]) };
  return {
    ok: true,
    mailbox: asMailboxId(fields[0]),
    uidValidity: uidValidity(asCount(fields[1], "uidvalidity", uidMax)),
    uid: uid(asCount(fields[2], "uid", uidMax)),
  };
}

function decodeAppended(value: unknown, sources: SourceReader): AppendMessage {
  const fields = asArray(value, "message");
  const internalDateMs = asOptional(fields[3], "date", asInteger);
  const internalDateZone = asOptional(fields[4], "zone", asInteger);
  return {
    source: sources.take(fields[0]),
    index: decodeIndex(fields[1]),
    flags: asListOf(fields[2], "flags", (flag) => asText(flag, "flag")),
    ...(internalDateMs === undefined ? {} : { internalDateMs }),
    ...(internalDateZone === undefined ? {} : { internalDateZone }),
  };
}
