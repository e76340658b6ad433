// The immutable part of a message as bytes, made once at delivery and read for listings: rendered
// ENVELOPE and BODYSTRUCTURE can be cut out without decoding the rest.

import { assert } from "../lib/assert.ts";
import type { MessageIndex, PartIndex } from "../mail/message-index.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";

const writer = new ByteWriter(16 * 1024);
/** More than any zone that a header can name (`-9959`). */
const zoneBias = 6000;

/** What a row says of itself; rows from before References were kept have the first mark at most. */
const has8bitMark = 1;
const referencesMark = 2;

/** What a static row holds; byte fields are views into the row. */
export interface StaticRow {
  readonly sizeBytes: number;
  readonly envelope: Buffer;
  readonly bodyStructure: Buffer;
  /** Of the Date: header; negative before 1970. */
  readonly sentMs: number | undefined;
  /** Its zone, minutes east of UTC. */
  readonly sentZone: number;
  readonly messageId: string;
  /** As in the index; undefined in rows from before it was kept. */
  readonly references: string | undefined;
  readonly has8bit: boolean;
  /** Part offsets, decoded by `readParts` when a section asks for them. */
  readonly parts: ByteReader;
}

/** Bytes of a static row's payload, as logged in the entry. */
export function encodeStatic(index: MessageIndex): Buffer {
  writer.reset();
  writer.varint(index.sizeBytes);
  writer.bytes(index.envelope);
  writer.bytes(index.bodyStructure);
  writer.f64(index.sentMs ?? Number.NaN);
  writer.varint(zoneBias + (index.sentZone ?? 0));
  writer.text(index.messageId ?? "");
  const { references } = index;
  writer.u8(
    (index.has8bit === true ? has8bitMark : 0) | (references === undefined ? 0 : referencesMark),
  );
  if (references !== undefined) writer.text(references);
  writePart(index.root);
  return writer.take();
}

/** The row whose payload begins at `start`, its frame checked before. */
export function staticAt(bytes: Buffer, start: number): StaticRow {
  return readStatic(new ByteReader(bytes, start));
}

/** Where a payload's ENVELOPE, BODYSTRUCTURE and date lie, without making an object for it. */
export class ListingCursor {
  envelopeStart = 0;
  envelopeEnd = 0;
  bodyStructureStart = 0;
  bodyStructureEnd = 0;
  #at = 0;

  /** @param start where the payload begins in `bytes`, checked before. */
  moveTo(bytes: Buffer, start: number): void {
    this.#at = start;
    this.#varint(bytes); // The size, which the columns have, too.
    const envelopeBytes = this.#varint(bytes);
    this.envelopeStart = this.#at;
    this.#at += envelopeBytes;
    this.envelopeEnd = this.#at;
    const bodyStructureBytes = this.#varint(bytes);
    this.bodyStructureStart = this.#at;
    this.bodyStructureEnd = this.#at + bodyStructureBytes;
    assert(this.bodyStructureEnd <= bytes.length, "a row has all its bytes");
  }

  /** Date: header in milliseconds UTC, behind the BODYSTRUCTURE; NaN when there is none. */
  sentMs(bytes: Buffer): number {
    return bytes.readDoubleBE(this.bodyStructureEnd);
  }

  #varint(bytes: Buffer): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = bytes[this.#at++] ?? 0;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
  }
}

/** Reads a row whose frame has been checked. */
export function readStatic(reader: ByteReader): StaticRow {
  const sizeBytes = reader.varint();
  const envelope = reader.bytes();
  const bodyStructure = reader.bytes();
  const sentMs = reader.f64();
  const sentZone = reader.varint() - zoneBias;
  const messageId = reader.text();
  const marks = reader.u8();
  return {
    sizeBytes,
    envelope,
    bodyStructure,
    sentMs: Number.isNaN(sentMs) ? undefined : sentMs,
    sentZone,
    messageId,
    references: (marks & referencesMark) === 0 ? undefined : reader.text(),
    has8bit: (marks & has8bitMark) !== 0,
    parts: reader,
  };
}

function writePart(part: PartIndex): void {
  writer.varint(part.headerStart);
  writer.varint(part.bodyStart);
  writer.varint(part.bodyEnd);
  writer.text(part.type);
  writer.text(part.encoding);
  writer.text(part.charset ?? "");
  const children = part.children ?? [];
  writer.u8((part.children === undefined ? 0 : 1) | (part.message === undefined ? 0 : 2));
  if (part.children !== undefined) {
    writer.varint(children.length);
    for (const child of children) writePart(child);
  }
  if (part.message !== undefined) writePart(part.message);
}

/** The part tree at the reader's place. */
export function readParts(reader: ByteReader): PartIndex {
  const headerStart = reader.varint();
  const bodyStart = reader.varint();
  const bodyEnd = reader.varint();
  const type = reader.text();
  const encoding = reader.text();
  const charset = reader.text();
  const has = reader.u8();
  const children: PartIndex[] = [];
  if ((has & 1) !== 0) {
    for (let left = reader.varint(); left > 0; left--) children.push(readParts(reader));
  }
  return {
    headerStart,
    bodyStart,
    bodyEnd,
    type,
    encoding,
    ...(charset === "" ? {} : { charset }),
    ...((has & 1) === 0 ? {} : { children }),
    ...((has & 2) === 0 ? {} : { message: readParts(reader) }),
  };
}
