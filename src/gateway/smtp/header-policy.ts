// What is checked and mended in a message's header: hops for every message, and for submitted ones the
// sender, Bcc, Date and Message-ID. Pure.

import type { DirectoryRow } from "../../mail/account.ts";
import { parseAddressList } from "../../mail/mime/address-list.ts";
import { headerFieldsOf } from "../../mail/mime/header-fields.ts";
import { type HeaderPolicy, type HeaderVerdict, headerBytesMax } from "./header-gate.ts";
import { isOwnAddress } from "./own-address.ts";
import { rfc5322Date } from "./trace.ts";

/** RFC 5321 §6.3: a message that went through too many servers is in a loop. */
export function relayPolicy(hopsMax: number): HeaderPolicy {
  return (header) =>
    countReceived(header) > hopsMax
      ? refuse(`554 5.4.6 Mail loop: more than ${hopsMax} Received fields (limits.hops)`)
      : { ok: true, header };
}

const addressesMax = 100;

export interface SubmissionFacts {
  readonly hopsMax: number;
  /** Who submits. */
  readonly user: DirectoryRow;
  /** With angle brackets; given to a message that has none. */
  readonly messageId: string;
  readonly nowMs: number;
}

/** RFC 6409 §6.1 (own sender), §8.2 (Date), §8.3 (Message-ID); Bcc is taken out. */
export function submissionPolicy(facts: SubmissionFacts): HeaderPolicy {
  const relay = relayPolicy(facts.hopsMax);
  return (header, complete) => {
    const relayed = relay(header, complete);
    if (!relayed.ok) return relayed;
    // What is not seen can't be checked, and Bcc would be shown to everyone.
    if (!complete) return refuse(`552 5.3.4 Header longer than ${headerBytesMax} bytes`);
    const kept: Buffer[] = [];
    let [hasDate, hasMessageId] = [false, false];
    let from = 0;
    for (const field of headerFieldsOf(header)) {
      if (field.name === "date") hasDate = true;
      else if (field.name === "message-id") hasMessageId = true;
      else if (field.name === "bcc" || field.name === "resent-bcc") {
        kept.push(header.subarray(from, field.start));
        from = field.end;
      } else if (field.name === "from" || field.name === "sender") {
        const wrong = foreignSender(header.subarray(field.valueStart, field.end), facts.user);
        if (wrong !== undefined) return refuse(`553 5.7.1 ${wrong}`);
      }
    }
    const added =
      (hasDate ? "" : `Date: ${rfc5322Date(facts.nowMs)}\r\n`) +
      (hasMessageId ? "" : `Message-ID: ${facts.messageId}\r\n`);
    if (from === 0 && added === "") return { ok: true, header };
    const mended = Buffer.concat([Buffer.from(added), ...kept, header.subarray(from)]);
    return { ok: true, header: mended };
  };
}

function refuse(reply: string): HeaderVerdict {
  return { ok: false, reply };
}

/** Why the field's addresses are not all the user's own; undefined when they are. */
function foreignSender(value: Buffer, user: DirectoryRow): string | undefined {
  const listed = parseAddressList(value.toString("latin1").trim(), addressesMax + 1);
  if (listed.length > addressesMax) return `More than ${addressesMax} sender addresses`;
  for (const one of listed) {
    if (one.kind !== "mailbox") continue;
    const address = Buffer.from(`${one.local}@${one.host ?? ""}`, "latin1").toString("utf8");
    if (isOwnAddress(address, user)) continue;
    const shown = address.slice(0, 200).replace(/[^\u0021-\u007e]/g, "?");
    return `${shown} in the header is not an address of yours`;
  }
  return undefined;
}

const lf = 0x0a;

/** Received fields in the header. Looks at the first bytes of each line only. */
function countReceived(header: Buffer): number {
  let count = 0;
  let at = 0;
  do {
    // R or r
    if (((header[at] ?? 0) | 0x20) === 0x72 && isReceived(header, at)) count++;
    at = header.indexOf(lf, at) + 1;
  } while (at > 0 && at < header.length);
  return count;
}

function isReceived(header: Buffer, at: number): boolean {
  return /^received[ \t]*:/i.test(header.toString("latin1", at, at + 24));
}
