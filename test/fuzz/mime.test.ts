// Random and hostile bytes through every parser of mail/: nothing throws, nothing is slow, and the
// split of a message into chunks changes nothing.

import { Buffer } from "node:buffer";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { normaliseAddress } from "../../src/mail/address.ts";
import { decodeCharset } from "../../src/mail/charset/charset.ts";
import { parseMessageDate } from "../../src/mail/dates.ts";
import { decodeModifiedUtf7, normaliseMailboxName } from "../../src/mail/mailbox-name.ts";
import type { PartIndex } from "../../src/mail/message-index.ts";
import { parseAddressList } from "../../src/mail/mime/address-list.ts";
import { renderBody } from "../../src/mail/mime/body-structure.ts";
import { headerFields } from "../../src/mail/mime/header-fields.ts";
import { htmlText } from "../../src/mail/mime/html-text.ts";
import { indexMessage, MessageIndexer } from "../../src/mail/mime/indexer.ts";
import { decodedHeaderText, decodedPartText, partFileName } from "../../src/mail/mime/text.ts";

const words = [
  "\r\n",
  "\n",
  "\r",
  "\0",
  " ",
  "\t",
  "--",
  "--b",
  "--b--",
  "-",
  ":",
  ";",
  ",",
  "<",
  ">",
  "(",
  ")",
  '"',
  "\\",
  "@",
  "=",
  "=?",
  "?=",
  "=?utf-8?B?",
  "=?euc-kr?Q?",
  "\u001b$)C",
  "\u000e",
  "\u000f",
  "Content-Type: ",
  "multipart/mixed; boundary=b",
  "message/rfc822",
  "text/html; charset=",
  "euc-kr",
  "iso-2022-kr",
  "Content-Transfer-Encoding: base64\r\n",
  "name*0*=UTF-8''%ed",
  "From: ",
  "To: ",
  "Subject: ",
  "Date: ",
  "__proto__: x\r\n",
  "\r\n\r\n",
  "\r\n--b\r\n",
  "<!--",
  "<script>",
  "&#",
  "&amp",
  "\u00ed\u0099\u008d",
  "\u00c8\u00ab",
  "21 Nov 1997 09:55:06 -0600",
];
const bytes = fc
  .array(
    fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom(...words) },
      { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 30 }) },
    ),
    { maxLength: 200 },
  )
  .map((pieces) => Buffer.from(pieces.join(""), "latin1").subarray(0, 4096));

const leaves = (part: PartIndex): readonly PartIndex[] => [
  part,
  ...(part.children ?? []).flatMap(leaves),
  ...(part.message === undefined ? [] : leaves(part.message)),
];

function everything(message: Buffer): void {
  const index = indexMessage(message);
  renderBody(index.bodyStructure);
  for (const part of leaves(index.root)) {
    const header = message.subarray(part.headerStart, part.bodyStart);
    decodedHeaderText(header);
    partFileName(header);
    headerFields(header, ["to", "subject"], true);
    decodedPartText(message.subarray(part.bodyStart, part.bodyEnd), part);
  }
}

/** Best of three in milliseconds: a pause of the machine is no slowness of ours. */
function fastest(run: () => void): number {
  return Math.min(
    ...[1, 2, 3].map(() => {
      const start = performance.now();
      run();
      return performance.now() - start;
    }),
  );
}

describe("random bytes", () => {
  test("never throw and never take long", () => {
    fc.assert(
      fc.property(bytes, (message) => {
        const start = performance.now();
        everything(message);
        if (performance.now() - start > 50)
          expect(fastest(() => everything(message))).toBeLessThan(50);
      }),
      { numRuns: 3000 },
    );
  });

  test("give the same index in any chunks", () => {
    fc.assert(
      fc.property(
        bytes,
        fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 20 }),
        (message, sizes) => {
          const indexer = new MessageIndexer();
          for (let at = 0, i = 0; at < message.length; i++) {
            const size = sizes[i % sizes.length] ?? 1;
            indexer.push(message.subarray(at, at + size));
            at += size;
          }
          expect(indexer.finish()).toEqual(indexMessage(message));
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("never throw in the smaller parsers", () => {
    fc.assert(
      fc.property(bytes, (message) => {
        const text = message.toString("latin1");
        parseAddressList(text, 100);
        parseMessageDate(text);
        normaliseAddress(text.slice(0, 100));
        decodeModifiedUtf7(text);
        normaliseMailboxName(text);
        htmlText(text);
        for (const label of ["iso-2022-kr", "euc-kr", "utf-7", "iso-2022-jp", "utf-16"])
          decodeCharset(message, label);
      }),
      { numRuns: 1500 },
    );
  });
});

describe("hostile text of 4 KiB takes under 50 ms in", () => {
  const patterns = [
    '"',
    "(",
    "<",
    "a,",
    "=?",
    "=?utf-8?Q?",
    "\\",
    "; a=",
    ";(",
    '"\\"',
    "a<",
    "&#",
    "<!--",
    "<script>",
    " \t",
    "\r\n ",
    "@",
    ":;",
    "=",
    "&-",
    "&A",
    "()",
    "a:",
  ];
  test.each(patterns)("repetitions of %j", (pattern) => {
    const value = pattern.repeat(Math.ceil(4096 / pattern.length));
    const mail = Buffer.from(
      `From: ${value}\r\nTo: ${value}\r\nDate: ${value}\r\nSubject: ${value}\r\nContent-Type: text/html; ${value}\r\n` +
        `Content-Disposition: ${value}\r\n\r\n${value}`,
      "latin1",
    );
    expect(fastest(() => everything(mail))).toBeLessThan(50);
    expect(fastest(() => decodeModifiedUtf7(value))).toBeLessThan(50);
    expect(fastest(() => parseMessageDate(value))).toBeLessThan(50);
  });
});

describe("bombs take bounded time", () => {
  const head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n";
  test.each<[string, () => Buffer]>([
    ["100,000 headers", () => Buffer.from(`${"X-A: b\r\n".repeat(100_000)}\r\n`)],
    ["100,000 recipients", () => Buffer.from(`${"To: a@b\r\n".repeat(100_000)}\r\n`)],
    ["a header of 10 MiB", () => Buffer.from(`To: ${"a@b, ".repeat(2 << 20)}\r\n\r\n`)],
    ["folds without end", () => Buffer.from(`Subject: a${"\r\n a".repeat(100_000)}\r\n\r\n`)],
    [
      "5,000 multiparts inside one another",
      () =>
        Buffer.from(
          Array.from(
            { length: 5000 },
            (_, i) => `Content-Type: multipart/x; boundary=b${i}\r\n\r\n--b${i}\r\n`,
          ).join(""),
        ),
    ],
    [
      "5,000 embedded messages",
      () => Buffer.from("Content-Type: message/rfc822\r\n\r\n".repeat(5000)),
    ],
    ["2 million lines of two dots", () => Buffer.from(head + "..\r\n".repeat(2 << 20))],
    ["200,000 delimiters", () => Buffer.from(head + "--b\r\n".repeat(200_000))],
    [
      "200,000 lines that look like delimiters",
      () => Buffer.from(head + "--c\r\n".repeat(200_000)),
    ],
  ])("%s", (_, make) => {
    const message = make();
    const run = (): void => {
      const indexer = new MessageIndexer();
      for (let at = 0; at < message.length; at += 65_536)
        indexer.push(message.subarray(at, at + 65_536));
      indexer.finish();
    };
    expect(fastest(run)).toBeLessThan(200);
  });
});
