// SPOOL and CONFIRM on the wire: mail that is taken over for shards that can't be reached, and the
// notice, without an answer, that clients have had their 2xx.

import { accountId, deliveryId, opId, shardId, shardMax } from "../../mail/ids.ts";
import type { OpId, ShardId } from "../../mail/ids.ts";
import type { SpoolPart, SpoolRecipient, SpoolRequest } from "../../mail/spool.ts";
import { encodeSource, SourceReader } from "./codec-values.ts";
import { asArray, asCount, asHex32, asListOf, asOptional, asText } from "./decode.ts";
import { noResult } from "./method.ts";
import type { Method } from "./method.ts";

export const spoolMethod: Method<SpoolRequest, void> = {
  name: "mail.spool",
  large: false,
  encode: ({ deliveryId: id, source, sender, bounceTo, parts }) => ({
    args: [
      id,
      encodeSource(source),
      sender,
      bounceTo === undefined ? null : [bounceTo.account, bounceTo.shard],
      parts.map((part) => [part.shard, part.opId, part.recipients.map(encodeRecipient)]),
    ],
    ...(source.kind === "bytes" ? { body: source.bytes } : {}),
  }),
  decode: (args, body) => {
    const bounceTo = asOptional(args[3], "bounce", decodeBounce);
    return {
      deliveryId: deliveryId(asText(args[0], "deliveryId", 64)),
      source: new SourceReader(body).take(args[1]),
      sender: asText(args[2], "sender", 1024),
      ...(bounceTo === undefined ? {} : { bounceTo }),
      parts: asListOf(args[4], "parts", decodePart),
    };
  },
  ...noResult,
};

/** A frame without an answer: shard, operations. */
export const confirmMethod = "mail.confirm";

export function decodeConfirm(head: unknown): {
  readonly shard: ShardId;
  readonly deliveries: readonly OpId[];
} {
  const fields = asArray(head, "confirmation");
  const shard = shardId(asCount(fields[0], "shard", shardMax));
  return { shard, deliveries: asListOf(fields[1], "operations", decodeOpId) };
}

function encodeRecipient(recipient: SpoolRecipient): readonly unknown[] {
  const { account, mailbox, address, fingerprint } = recipient;
  return [account, address, mailbox ?? null, fingerprint ?? null];
}

function decodeRecipient(value: unknown): SpoolRecipient {
  const fields = asArray(value, "recipient");
  const mailbox = asOptional(fields[2], "mailbox", asText);
  const fingerprint = asOptional(fields[3], "fingerprint", asHex32);
  return {
    account: accountId(asCount(fields[0], "account")),
    address: asText(fields[1], "address", 1024),
    ...(mailbox === undefined ? {} : { mailbox }),
    ...(fingerprint === undefined ? {} : { fingerprint }),
  };
}

function decodePart(value: unknown): SpoolPart {
  const fields = asArray(value, "part");
  return {
    shard: shardId(asCount(fields[0], "shard", shardMax)),
    opId: decodeOpId(fields[1]),
    recipients: asListOf(fields[2], "recipients", decodeRecipient),
  };
}

function decodeBounce(value: unknown): NonNullable<SpoolRequest["bounceTo"]> {
  const fields = asArray(value, "bounce");
  return {
    account: accountId(asCount(fields[0], "account")),
    shard: shardId(asCount(fields[1], "shard", shardMax)),
  };
}

function decodeOpId(value: unknown): OpId {
  return opId(asHex32(value, "opId"));
}
