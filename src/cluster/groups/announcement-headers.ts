// Header fields of a group's messages, asked for by an ordinary FETCH: what lists show, and when each
// message expires.

import { parseMessageDate } from "../../mail/dates.ts";
import { partsOf } from "../../mail/fetch-parts.ts";
import type { MailboxId } from "../../mail/ids.ts";
import type { MailStore, Principal } from "../../mail/mail-store.ts";
import { decodeHeaderValue } from "../../mail/mime/encoded-word.ts";
import { headerFieldsOf } from "../../mail/mime/header-fields.ts";
import { uidSetFromSorted } from "../../mail/uid-set.ts";

/** Values by lower-case name, unfolded and decoded, of each message that is there. */
export async function headersOf(
  store: MailStore,
  who: Principal,
  mailbox: MailboxId,
  uids: readonly number[],
  fields: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlyMap<number, ReadonlyMap<string, string>>> {
  const found = new Map<number, ReadonlyMap<string, string>>();
  if (uids.length === 0) return found;
  const label = "BODY[HEADER.FIELDS]";
  const section = { path: [], kind: "fields", fields, label } as const;
  const request = { mailbox, uids: uidSetFromSorted(uids), items: { sections: [section] } };
  let pieces: Uint8Array[] = [];
  for await (const chunk of store.fetch(who, request, signal)) {
    for (const { uid, bytes, more } of partsOf(chunk)) {
      pieces.push(bytes);
      if (more) continue;
      found.set(uid, valuesIn(Buffer.concat(pieces)));
      pieces = [];
    }
  }
  return found;
}

/** When the message itself says that it expires, in milliseconds; undefined: it doesn't. */
export function expiresMsIn(values: ReadonlyMap<string, string> | undefined): number | undefined {
  const text = values?.get("expires");
  return text === undefined ? undefined : parseMessageDate(text)?.ms;
}

/** From `UID n BODY[…] {size}` CRLF and the fields. */
function valuesIn(rendered: Buffer): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  const header = rendered.subarray(rendered.indexOf("\r\n") + 2);
  for (const { name, valueStart, end } of headerFieldsOf(header)) {
    const text = header.toString("latin1", valueStart, end).replaceAll(/\r\n/g, "").trim();
    if (name !== "" && !values.has(name)) values.set(name, decodeHeaderValue(text));
  }
  return values;
}
