// Walks the fields of a header as bytes, and cuts out the ones a client names. Decoding of their
// values is text.ts's business.

import { Buffer } from "node:buffer";

/** One field with its continuation lines. Offsets are into the header's bytes. */
export interface HeaderField {
  /** Lower case; empty for a line without a colon. */
  readonly name: string;
  readonly start: number;
  /** Behind the colon. */
  readonly valueStart: number;
  /** Behind the last line's end. */
  readonly end: number;
}

const lf = 10;

/** The fields in order, up to the empty line or the end. Linear in the header's length. */
export function* headerFieldsOf(header: Uint8Array): Generator<HeaderField, void, undefined> {
  const bytes = Buffer.from(header.buffer, header.byteOffset, header.length);
  let start = 0;
  while (start < bytes.length && !isEmptyLine(bytes, start)) {
    const end = fieldEnd(bytes, start);
    const line = lineEnd(bytes, start);
    // Within the line only: 100,000 lines without a colon must not be searched to the end each.
    const colon = bytes.subarray(start, line).indexOf(0x3a);
    const named = colon >= 0;
    yield {
      name: named ? fieldName(bytes, start, start + colon) : "",
      start,
      valueStart: named ? start + colon + 1 : start,
      end,
    };
    start = end;
  }
}

function fieldName(bytes: Buffer, start: number, colon: number): string {
  let end = colon;
  // RFC 5322 §4.5.3: blanks before the colon.
  while (end > start && (bytes[end - 1] === 32 || bytes[end - 1] === 9)) end--;
  return bytes.toString("latin1", start, end).toLowerCase();
}

function lineEnd(bytes: Buffer, start: number): number {
  const at = bytes.indexOf(lf, start);
  return at < 0 ? bytes.length : at + 1;
}

function fieldEnd(bytes: Buffer, start: number): number {
  let end = lineEnd(bytes, start);
  while (end < bytes.length && (bytes[end] === 32 || bytes[end] === 9)) end = lineEnd(bytes, end);
  return end;
}

function isEmptyLine(bytes: Buffer, at: number): boolean {
  return bytes[at] === lf || (bytes[at] === 13 && bytes[at + 1] === lf);
}

/**
 * The bytes of HEADER.FIELDS (or, with `not`, HEADER.FIELDS.NOT): the fields as they stand, and the
 * empty line if the header has one. RFC 9051 §6.4.5.1
 *
 * @param header a part's bytes from `headerStart` to `bodyStart`.
 */
export function headerFields(header: Uint8Array, names: readonly string[], not: boolean): Buffer {
  const bytes = Buffer.from(header.buffer, header.byteOffset, header.length);
  const wanted = new Set(names.map((name) => name.toLowerCase()));
  const pieces: Buffer[] = [];
  let end = 0;
  for (const field of headerFieldsOf(bytes)) {
    end = field.end;
    if (wanted.has(field.name) !== not) pieces.push(bytes.subarray(field.start, field.end));
  }
  // What is left is the empty line.
  pieces.push(bytes.subarray(end));
  return Buffer.concat(pieces);
}
