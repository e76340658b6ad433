// The bytes of an announcement: what the poster gave, with the header fields of a list. Nobody's name
// is in it, as there is one message for all members. RFC 2369, RFC 2919

import { formatMessageDate } from "../../mail/dates.ts";
import { headerFieldsOf } from "../../mail/mime/header-fields.ts";
import type { DirectoryRow } from "../../mail/account.ts";
import { MailError } from "../../mail/errors.ts";
import { mayLeave } from "./group-policy.ts";

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

const headerBytesMax = 256 * 1024;
/** So much tells whether text begins with a header field. */
const glanceBytes = 200;

/**
 * A message, from one or from plain text, as it comes. Lines end in CRLF whatever they had.
 * @throws MailError INVALID: nothing came, or a header without an end
 */
export async function* announcementOf(
  given: AsyncIterable<Uint8Array>,
  facts: AnnouncementFacts,
): AsyncGenerator<Buffer, void, undefined> {
  const lines = new CrlfLines();
  // All that came, until the header is whole.
  let begun: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of given) {
    const text = lines.push(chunk);
    if (begun === undefined) {
      if (text.length > 0) yield text;
      continue;
    }
    begun = Buffer.concat([begun, text]);
    const parts = parted(begun, false);
    if (parts === undefined) {
      if (begun.length <= headerBytesMax) continue;
      throw invalid(`the header is larger than ${headerBytesMax} bytes`);
    }
    begun = undefined;
    yield headOf(parts.header, facts);
    if (parts.body.length > 0) yield parts.body;
  }
  const rest = lines.end();
  if (begun === undefined) {
    if (rest.length > 0) yield rest;
    return;
  }
  const parts = parted(Buffer.concat([begun, rest]), true);
  if (parts === undefined) throw invalid("the message is empty");
  yield headOf(parts.header, facts);
  if (parts.body.length > 0) yield parts.body;
}

/** What the poster's header becomes, with the line that ends it. Without any, the body is text in UTF-8. */
function headOf(header: Buffer, facts: AnnouncementFacts): Buffer {
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
  if (header.length === 0) {
    added.push("MIME-Version: 1.0\r\n", "Content-Type: text/plain; charset=utf-8\r\n");
    added.push("Content-Transfer-Encoding: 8bit\r\n");
  }
  const own = Buffer.from(listFields(group) + added.join(""));
  return Buffer.concat([own, kept, Buffer.from("\r\n")]);
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

interface Parts {
  readonly header: Buffer;
  readonly body: Buffer;
}

/** Text that does not begin with a header field is a body. Undefined: more has to come, if more does. */
function parted(bytes: Buffer, whole: boolean): Parts | undefined {
  const none = Buffer.alloc(0);
  const glance = bytes.toString("latin1", 0, glanceBytes);
  const isGlance = whole ? bytes.length > 0 : bytes.length >= glanceBytes || /\r\n/.test(glance);
  if (!isGlance) return undefined;
  if (!/^[!-9;-~]+[ \t]*:/.test(glance)) return { header: none, body: bytes };
  const end = bytes.indexOf("\r\n\r\n");
  if (end === -1) return whole ? { header: bytes, body: none } : undefined;
  return { header: bytes.subarray(0, end + 2), body: bytes.subarray(end + 4) };
}

/** RFC 5322 §2.1: CR and LF only together, and at the end. */
class CrlfLines {
  /** A CR that came last: an LF may follow. */
  #held = "";
  #atStart = true;

  push(chunk: Uint8Array): Buffer {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const text = this.#held + bytes.toString("latin1");
    this.#held = text.endsWith("\r") ? "\r" : "";
    const ready = text.slice(0, text.length - this.#held.length);
    if (ready === "") return Buffer.alloc(0);
    this.#atStart = ready.endsWith("\n");
    return Buffer.from(ready.replaceAll(/\r\n|\r|\n/g, "\r\n"), "latin1");
  }

  end(): Buffer {
    return Buffer.from(this.#held !== "" || !this.#atStart ? "\r\n" : "");
  }
}

function invalid(why: string): MailError {
  return new MailError({ code: "INVALID", why });
}
