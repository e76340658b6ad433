// The index of a message on the wire, as packed bytes: a delivery carries one, and msgpack's general
// values would cost several times as much at both ends.

import type { MessageIndex, PartIndex } from "../../mail/message-index.ts";
import type { ByteWriter } from "../../store/byte-writer.ts";
import { packed } from "./codec-values.ts";
import { asBytes, malformed } from "./decode.ts";
import { WireReader } from "./wire-reader.ts";

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

/** `+9959`, the most that a Date: header can name. */
const zoneMinutesMax = 99 * 60 + 59;

/** Deeper nesting is never made by our own index. */
const partDepthMax = 200;

/** Which optional fields follow. */
const has = {
  sentMs: 1,
  sentZone: 2,
  messageId: 4,
  has8bit: 8,
  is8bit: 16,
  references: 32,
} as const;
const partHas = { charset: 1, children: 2, message: 4 } as const;

export function encodeIndex(index: MessageIndex): Uint8Array {
  return packed((out) => {
    const { sentMs, sentZone, messageId, has8bit, references } = index;
    out.varint(
      (sentMs === undefined ? 0 : has.sentMs) |
        (sentZone === undefined ? 0 : has.sentZone) |
        (messageId === undefined ? 0 : has.messageId) |
        (has8bit === undefined ? 0 : has.has8bit) |
        (has8bit === true ? has.is8bit : 0) |
        (references === undefined ? 0 : has.references),
    );
    out.varint(index.sizeBytes);
    out.bytes(index.envelope);
    out.bytes(index.bodyStructure);
    if (sentMs !== undefined) out.f64(sentMs);
    if (sentZone !== undefined) out.varint(sentZone + zoneMinutesMax);
    if (messageId !== undefined) out.text(messageId);
    if (references !== undefined) out.text(references);
    writePart(out, index.root);
  });
}

/** @throws {MailError} INVALID */
export function decodeIndex(value: unknown): MessageIndex {
  const reader = new WireReader(asBytes(value, "index"));
  const bits = reader.varint();
  const sizeBytes = reader.varint();
  const envelope = reader.bytes();
  const bodyStructure = reader.bytes();
  const sentMs = (bits & has.sentMs) === 0 ? undefined : reader.integer();
  const sentZone = (bits & has.sentZone) === 0 ? undefined : reader.varint() - zoneMinutesMax;
  if (sentZone !== undefined && sentZone > zoneMinutesMax) throw malformed("zone");
  const messageId = (bits & has.messageId) === 0 ? undefined : reader.text();
  const references = (bits & has.references) === 0 ? undefined : reader.text();
  const root = readPart(reader, 0);
  reader.end();
  const index: Mutable<MessageIndex> = { sizeBytes, envelope, bodyStructure, root };
  if (sentMs !== undefined) index.sentMs = sentMs;
  if (sentZone !== undefined) index.sentZone = sentZone;
  if (messageId !== undefined) index.messageId = messageId;
  if (references !== undefined) index.references = references;
  if ((bits & has.has8bit) !== 0) index.has8bit = (bits & has.is8bit) !== 0;
  return index;
}

function writePart(out: ByteWriter, part: PartIndex): void {
  const { charset, children, message } = part;
  out.varint(
    (charset === undefined ? 0 : partHas.charset) |
      (children === undefined ? 0 : partHas.children) |
      (message === undefined ? 0 : partHas.message),
  );
  out.varint(part.headerStart);
  out.varint(part.bodyStart);
  out.varint(part.bodyEnd);
  out.text(part.type);
  out.text(part.encoding);
  if (charset !== undefined) out.text(charset);
  if (children !== undefined) {
    out.varint(children.length);
    for (const child of children) writePart(out, child);
  }
  if (message !== undefined) writePart(out, message);
}

function readPart(reader: WireReader, depth: number): PartIndex {
  if (depth > partDepthMax) throw malformed("part");
  const bits = reader.varint();
  const part: Mutable<PartIndex> = {
    headerStart: reader.varint(),
    bodyStart: reader.varint(),
    bodyEnd: reader.varint(),
    type: reader.text(),
    encoding: reader.text(),
  };
  if ((bits & partHas.charset) !== 0) part.charset = reader.text();
  if ((bits & partHas.children) !== 0) {
    const children: PartIndex[] = [];
    for (let left = reader.count(); left > 0; left--) children.push(readPart(reader, depth + 1));
    part.children = children;
  }
  if ((bits & partHas.message) !== 0) part.message = readPart(reader, depth + 1);
  return part;
}
