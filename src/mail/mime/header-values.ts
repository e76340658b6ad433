// The header fields that the index needs: how their names are recognised on bytes, and their values
// as binary text. Everything else in a header is passed over without making a string of it.

import type { Buffer } from "node:buffer";
import { oneLine } from "./imap-writer.ts";

/** Raw values (folds and all), one character a byte. The first of several fields counts. */
export interface HeaderValues {
  readonly date?: string;
  readonly subject?: string;
  readonly from?: string;
  readonly sender?: string;
  readonly replyTo?: string;
  /** To, Cc and Bcc hold the values of all fields of that name, joined by commas. */
  readonly to?: string;
  readonly cc?: string;
  readonly bcc?: string;
  readonly inReplyTo?: string;
  readonly messageId?: string;
  readonly references?: string;
  readonly contentType?: string;
  readonly contentTransferEncoding?: string;
  readonly contentId?: string;
  readonly contentDescription?: string;
  readonly contentDisposition?: string;
  readonly contentMd5?: string;
  readonly contentLanguage?: string;
  readonly contentLocation?: string;
}

/** A header without any wanted field. */
export const noHeader: HeaderValues = {};

type Key = keyof HeaderValues;

interface WantedField {
  readonly key: Key;
  /** Lower case. */
  readonly name: string;
  readonly envelope: boolean;
  readonly merge: boolean;
}

const wanted: readonly WantedField[] = (
  [
    ["date", "date"],
    ["subject", "subject"],
    ["from", "from"],
    ["sender", "sender"],
    ["replyTo", "reply-to"],
    ["to", "to"],
    ["cc", "cc"],
    ["bcc", "bcc"],
    ["inReplyTo", "in-reply-to"],
    ["messageId", "message-id"],
    ["references", "references"],
    ["contentType", "content-type"],
    ["contentTransferEncoding", "content-transfer-encoding"],
    ["contentId", "content-id"],
    ["contentDescription", "content-description"],
    ["contentDisposition", "content-disposition"],
    ["contentMd5", "content-md5"],
    ["contentLanguage", "content-language"],
    ["contentLocation", "content-location"],
  ] as const
).map(([key, name]) => ({
  key,
  name,
  envelope: !name.startsWith("content-"),
  merge: key === "to" || key === "cc" || key === "bcc",
}));

const nameBytesMax = Math.max(...wanted.map(({ name }) => name.length));

// Fields by length of the name and its first letter; names that share both share a bucket.
const buckets: readonly (readonly number[])[] = Array.from({ length: 32 * 32 }, (_, hash) =>
  wanted.flatMap(({ name }, field) =>
    bucketOf(name.length, name.charCodeAt(0)) === hash ? [field] : [],
  ),
);

function bucketOf(length: number, firstLetter: number): number {
  return ((length & 31) << 5) | (firstLetter & 31);
}

/**
 * Number of the wanted field that the line at `start` begins, -1 for any other line.
 * `Subject :` counts too (RFC 5322 §4.5.3).
 */
export function wantedField(bytes: Uint8Array, start: number, end: number): number {
  const limit = Math.min(end, start + nameBytesMax + 4);
  let colon = start;
  while (colon < limit && bytes[colon] !== 0x3a) colon++;
  if (colon === limit) return -1;
  let nameEnd = colon;
  while (nameEnd > start && (bytes[nameEnd - 1] === 32 || bytes[nameEnd - 1] === 9)) nameEnd--;
  const length = nameEnd - start;
  if (length < 2 || length > nameBytesMax) return -1;
  const bucket = buckets[bucketOf(length, bytes[start] ?? 0)];
  if (bucket === undefined || bucket.length === 0) return -1;
  for (const field of bucket) {
    if (sameName(bytes, start, wanted[field]?.name ?? "")) return field;
  }
  return -1;
}

function sameName(bytes: Uint8Array, start: number, name: string): boolean {
  for (let i = 0; i < name.length; i++) {
    const code = bytes[start + i] ?? 0;
    const lower = code >= 0x41 && code <= 0x5a ? code | 0x20 : code;
    if (lower !== name.charCodeAt(i)) return false;
  }
  return true;
}

/**
 * Values of the fields noted in `found`, which holds `field, start, end` for each (offsets into
 * `bytes`, name included). Without `envelope` only Content-* fields are read.
 */
export function headerValues(
  bytes: Buffer,
  found: readonly number[],
  base: number,
  envelope: boolean,
): HeaderValues {
  const values: { [K in Key]?: string } = {};
  for (let i = 0; i < found.length; i += 3) {
    const field = wanted[found[i] ?? -1];
    if (field === undefined || (field.envelope && !envelope)) continue;
    const before = values[field.key];
    if (before !== undefined && !field.merge) continue;
    const start = base + (found[i + 1] ?? 0);
    const text = bytes.toString(
      "latin1",
      bytes.indexOf(0x3a, start) + 1,
      base + (found[i + 2] ?? 0),
    );
    values[field.key] = before === undefined ? text : `${before},${text}`;
  }
  return values;
}

/** RFC 5322 §3.6.4: `<left@right>`, else the whole value. */
export function messageIdOf(value: string | undefined): string | undefined {
  const line = oneLine(value ?? "");
  const open = line.indexOf("<");
  const close = line.indexOf(">", open + 1);
  const id = open >= 0 && close > open ? line.slice(open, close + 1) : line;
  return id === "" ? undefined : id;
}
