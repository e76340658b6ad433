// PREVIEW at the node: the text to be shown of a message, from its first text part. RFC 8970

import { asBuffer } from "../lib/bytes.ts";
import type { PartIndex } from "../mail/message-index.ts";
import { decodedPartText } from "../mail/mime/text.ts";
import { previewText } from "../mail/preview-text.ts";
import type { Body } from "./bodies.ts";
import type { Engine } from "./engine.ts";

/** More of a part is not read: it has the beginning many times over, also in HTML with its styles. */
const partBytesMax = 128 * 1024;
const noPreview = Buffer.from('""');

/**
 * The preview as an IMAP string: empty where there is no text (RFC 8970 §3.2). A promise only for
 * bodies that are files.
 */
export function messagePreview(
  engine: Engine,
  body: Body,
  root: PartIndex,
): Buffer | Promise<Buffer> {
  const part = textPart(root);
  if (part === undefined) return noPreview;
  const end = Math.min(part.bodyEnd, part.bodyStart + partBytesMax);
  if (body.kind === "bytes") {
    return render(asBuffer(body.bytes.subarray(part.bodyStart, end)), part);
  }
  return engine.bodies
    .readBlob(body.id, part.bodyStart, end - part.bodyStart)
    .then((bytes) => render(asBuffer(bytes), part));
}

/** The first text part in order; of alternatives the plain one (RFC 2046 §5.1.4). */
function textPart(part: PartIndex): PartIndex | undefined {
  if (part.type === "multipart/encrypted") return undefined;
  if (part.children !== undefined) {
    const texts = part.children.map(textPart).filter((each) => each !== undefined);
    const plain = part.type === "multipart/alternative" ? texts.find(isPlain) : undefined;
    return plain ?? texts[0];
  }
  if (part.message !== undefined) return textPart(part.message);
  return isPlain(part) || part.type === "text/html" ? part : undefined;
}

function isPlain(part: PartIndex): boolean {
  return part.type === "text/plain";
}

function render(bytes: Buffer, part: PartIndex): Buffer {
  const text = previewText(decodedPartText(bytes, part));
  // Without line ends: what is ASCII can be quoted. RFC 9051 §4.3
  if (/^[\x20-\x7e]*$/.test(text)) return Buffer.from(`"${text.replaceAll(/["\\]/g, "\\$&")}"`);
  const encoded = Buffer.from(text, "utf8");
  return Buffer.concat([Buffer.from(`{${encoded.length}}\r\n`), encoded]);
}
