// What the tests of the MIME index share.

import { Buffer } from "node:buffer";
import type { MessageIndex, PartIndex } from "../../../../src/mail/message-index.ts";
import { indexMessage, MessageIndexer } from "../../../../src/mail/mime/indexer.ts";

/** The text with CRLF line ends. */
export const crlf = (text: string): Buffer => Buffer.from(text.replaceAll("\n", "\r\n"));
export const shown = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
export const envelope = (text: string): string => shown(indexMessage(crlf(text)).envelope);
export const structure = (text: string): string => shown(indexMessage(crlf(text)).bodyStructure);
/** The index of a message pushed in chunks of these sizes, round and round. */
export const chunked = (message: Buffer, sizes: readonly number[]): MessageIndex => {
  const indexer = new MessageIndexer();
  let at = 0;
  for (let i = 0; at < message.length; i++) {
    const size = Math.max(1, sizes[i % sizes.length] ?? 1);
    // A fresh buffer that is overwritten afterwards: the indexer may keep no chunk.
    const chunk = Buffer.from(message.subarray(at, at + size));
    indexer.push(chunk);
    chunk.fill(0x2d);
    at += size;
  }
  return indexer.finish();
};
export const slice = (message: Buffer, part: PartIndex | undefined): string =>
  part === undefined ? "no part" : message.toString("latin1", part.bodyStart, part.bodyEnd);

/** Nested parts with every Content-* field. */
export const mixed = `From: Fred Foobar <foobar@Blurdybloop.example>
Subject: mixed
Content-Type: multipart/mixed; boundary="a"

preamble
--a

one
--a
Content-Type: message/rfc822
Content-Description: forwarded

Subject: inner
From: in@example.org
Content-Type: multipart/alternative; boundary=ab

--ab
Content-Type: text/html; charset=UTF-8

<b>two</b>
--ab--
--a
Content-Type: image/png; name="x.png"
Content-Transfer-Encoding: BASE64
Content-ID: <1@x>
Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==
Content-Disposition: attachment; filename="x \\"y\\".png"
Content-Language: en, ko
Content-Location: http://example.org/
 x.png

AAAA
--a--
epilogue
`;
