// The bytes of an announcement: what the poster gave, with the header fields of a list. Nobody's name
// is in it, as there is one message for all members. RFC 2369, RFC 2919

import { formatMessageDate } from "../../mail/dates.ts";
import { headerFieldsOf } from "../../mail/mime/header-fields.ts";
import { mayLeave } from "./group-policy.ts";
import type { DirectoryRow } from "../../mail/account.ts";

/** Fields that are the group's to say, whatever the poster wrote. Lower case. */
const ownFields = new Set([
  "list-id",
  "list-post",
  "list-unsubscribe",
  "list-unsubscribe-post",
  "precedence",
  "return-path",
  "bcc",
  "resent-bcc",
  "delivered-to",
]);

/** The local part by which members leave a group: `news+unsubscribe@example.org`. */
export const unsubscribeTag = "unsubscribe";
export const subscribeTag = "subscribe";

/** Header fields of a group, each with its CRLF. */
export function listFields(group: DirectoryRow): string {
  const at = group.name.lastIndexOf("@");
  const [local, domain] = [group.name.slice(0, at), group.name.slice(at + 1)];
  const description = group.group?.description ?? "";
  // RFC 2919 §3: the identifier is stable, the phrase is for people.
  const phrase = /^[\x20-\x7e]{1,200}$/.test(description)
    ? `"${description.replaceAll(/["\\]/g, "\\$&")}" `
    : "";
  const fields = [`List-Id: ${phrase}<${local.replaceAll(/[^\w.-]/g, "_")}.${domain}>`];
  if (group.group?.post === "listed") fields.push("List-Post: NO");
  else fields.push(`List-Post: <mailto:${group.name}>`);
  if (mayLeave(group)) {
    // By a message of the member's own, who is logged in to send it: RFC 8058's One-Click would need
    // an address of each member's in a message that all of them share. docs/decisions/0005
    fields.push(`List-Unsubscribe: <mailto:${local}+${unsubscribeTag}@${domain}>`);
  }
  return fields.map((field) => `${field}\r\n`).join("");
}

export interface AnnouncementFacts {
  readonly group: DirectoryRow;
  readonly nowMs: number;
  readonly messageId: string;
  /** For text without a header, or one without these fields. */
  readonly subject?: string;
  readonly from?: string;
  readonly expiresMs?: number;
}

/** A whole message, from a whole one or from plain text. Lines end in CRLF whatever they had. */
export function announcementOf(given: Uint8Array, facts: AnnouncementFacts): Buffer {
  const bytes = withCrlf(given);
  const { header, body } = parted(bytes);
  const { group, nowMs, expiresMs } = facts;
  const drop = expiresMs === undefined ? ownFields : new Set([...ownFields, "expires"]);
  const kept = withoutFields(header, drop);
  const has = new Set(Array.from(headerFieldsOf(kept), ({ name }) => name));
  const added: string[] = [];
  const add = (name: string, value: string | undefined): void => {
    if (value !== undefined && !has.has(name.toLowerCase())) added.push(`${name}: ${value}\r\n`);
  };
  add("From", facts.from ?? group.name);
  add("To", group.name);
  add("Subject", facts.subject === undefined ? undefined : encodedText(facts.subject));
  add("Date", formatMessageDate(nowMs));
  add("Message-ID", facts.messageId);
  // RFC 4021 §2.1.50: when it loses its worth; the group's node takes it away then.
  if (expiresMs !== undefined) added.push(`Expires: ${formatMessageDate(expiresMs)}\r\n`);
  if (header.length === 0 && /[\x80-\xff]/.test(body.toString("latin1"))) {
    added.push("MIME-Version: 1.0\r\n", "Content-Type: text/plain; charset=utf-8\r\n");
    added.push("Content-Transfer-Encoding: 8bit\r\n");
  }
  return Buffer.concat([
    Buffer.from(listFields(group) + added.join("")),
    kept,
    Buffer.from("\r\n"),
    body,
  ]);
}

/** RFC 2047 §4.1, where it has to be; words of at most 75 characters. */
function encodedText(text: string): string {
  const line = text.replaceAll(/[\r\n]+/g, " ");
  if (/^[\x20-\x7e]*$/.test(line)) return line;
  const words: string[] = [];
  let word = "";
  for (const character of line) {
    if (Buffer.byteLength(word + character) > 45) {
      words.push(word);
      word = "";
    }
    word += character;
  }
  words.push(word);
  return words.map((each) => `=?utf-8?B?${Buffer.from(each).toString("base64")}?=`).join("\r\n ");
}

function withoutFields(header: Buffer, names: ReadonlySet<string>): Buffer {
  const kept: Buffer[] = [];
  for (const { name, start, end } of headerFieldsOf(header)) {
    if (!names.has(name)) kept.push(header.subarray(start, end));
  }
  return Buffer.concat(kept);
}

/** Text that does not begin with a header field is a body. */
function parted(bytes: Buffer): { readonly header: Buffer; readonly body: Buffer } {
  const none = Buffer.alloc(0);
  if (!/^[!-9;-~]+[ \t]*:/.test(bytes.toString("latin1", 0, 200))) {
    return { header: none, body: bytes };
  }
  if (bytes.indexOf("\r\n") === 0) return { header: none, body: bytes.subarray(2) };
  const end = bytes.indexOf("\r\n\r\n");
  if (end === -1) return { header: bytes, body: none };
  return { header: bytes.subarray(0, end + 2), body: bytes.subarray(end + 4) };
}

/** RFC 5322 §2.1: CR and LF only together. */
function withCrlf(bytes: Uint8Array): Buffer {
  const text = Buffer.from(bytes).toString("latin1");
  const lines = text.replaceAll(/\r\n|\r|\n/g, "\r\n");
  return Buffer.from(lines === "" || lines.endsWith("\r\n") ? lines : `${lines}\r\n`, "latin1");
}
