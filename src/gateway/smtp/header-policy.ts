// What is checked and mended in a message's header: hops for every message, and for submitted ones the
// sender, Bcc, Date and Message-ID. Pure.

import { normaliseAddress } from "../../mail/address.ts";
import { parseAddressList } from "../../mail/mime/address-list.ts";
import { headerFieldsOf } from "../../mail/mime/header-fields.ts";
import type { HeaderPolicy } from "./header-gate.ts";
import { rfc5322Date } from "./trace.ts";

/** RFC 5321 §6.3: a message that went through too many servers is in a loop. */
export function relayPolicy(hopsMax: number): HeaderPolicy {
  return (header) => {
    let hops = 0;
    for (const field of headerFieldsOf(header)) if (field.name === "received") hops++;
    if (hops > hopsMax)
      return {
        ok: false,
        reply: `554 5.4.6 Mail loop: more than ${hopsMax} Received fields (limits.hops)`,
      };
    return { ok: true, header };
  };
}

const addressesMax = 100;

export interface SubmissionFacts {
  readonly hopsMax: number;
  /** Names and aliases of the user who submits. */
  readonly ownNames: ReadonlySet<string>;
  readonly messageId: string;
  readonly nowMs: number;
}

/** RFC 6409 §6.1 (own sender), §8.2 (Date), §8.3 (Message-ID); Bcc is taken out. */
export function submissionPolicy(facts: SubmissionFacts): HeaderPolicy {
  const relay = relayPolicy(facts.hopsMax);
  return (header) => {
    const relayed = relay(header);
    if (!relayed.ok) return relayed;
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
        const foreign = foreignSender(header.subarray(field.valueStart, field.end), facts.ownNames);
        if (foreign !== undefined) {
          return {
            ok: false,
            reply: `553 5.7.1 ${foreign} in the header is not an address of yours`,
          };
        }
      }
    }
    const added = [
      ...(hasDate ? [] : [`Date: ${rfc5322Date(facts.nowMs)}\r\n`]),
      ...(hasMessageId ? [] : [`Message-ID: ${facts.messageId}\r\n`]),
    ].join("");
    if (from === 0 && added === "") return { ok: true, header };
    return {
      ok: true,
      header: Buffer.concat([Buffer.from(added), ...kept, header.subarray(from)]),
    };
  };
}

/** The first address of the field that isn't one of `own`. */
function foreignSender(value: Buffer, own: ReadonlySet<string>): string | undefined {
  for (const listed of parseAddressList(value.toString("latin1").trim(), addressesMax)) {
    if (listed.kind !== "mailbox") continue;
    const address = Buffer.from(`${listed.local}@${listed.host ?? ""}`, "latin1").toString("utf8");
    if (!own.has(normaliseAddress(address) ?? address)) return address;
  }
  return undefined;
}
