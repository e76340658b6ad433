// SEARCH looks at undecoded bytes first: what it then doesn't decode must not hold the text.

import { Buffer } from "node:buffer";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { searchNormalise } from "../../../src/mail/charset/unicode.ts";
import { indexMessage } from "../../../src/mail/mime/indexer.ts";
import { decodedHeaderText, decodedPartText } from "../../../src/mail/mime/text.ts";
import type { PartIndex } from "../../../src/mail/message-index.ts";
import { MessageText } from "../../../src/store/message-text.ts";
import { encodeStatic, staticAt } from "../../../src/store/static-row.ts";
import { makeStore } from "./harness.ts";

const { engine } = makeStore();

function textOf(bytes: Buffer): MessageText {
  const fixed = staticAt(encodeStatic(indexMessage(bytes)), 0);
  const text = new MessageText(engine, { kind: "bytes", bytes }, fixed);
  expect([text.loadHeader(), text.loadBody([])]).toEqual([undefined, undefined]);
  return text;
}

/** All text of a message's inside, decoded without looking first. */
function plainly(bytes: Buffer, part: PartIndex): string[] {
  const inner = part.children ?? (part.message === undefined ? [] : [part.message]);
  if (inner.length > 0) {
    return inner.flatMap((child) => [
      decodedHeaderText(bytes.subarray(child.headerStart, child.bodyStart)) ?? "",
      ...plainly(bytes, child),
    ]);
  }
  return [decodedPartText(bytes.subarray(part.bodyStart, part.bodyEnd), part)];
}

const piece = fc.constantFrom(
  ..."a b ab ABC a.b @ a=62 =62 =\r\n =? =?utf-8?q?ab?= &amp; &shy; &zwnj; &trade; &hellip; &#97; &#x62 <b> </b> <p> <!--x--> ａｂ ﬁ … ™ 한글 é tm ... \r\n \x1b$)C \x0e".split(
    " ",
  ),
  " ",
);
const body = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(""));
const message = fc
  .record({
    type: fc.constantFrom("text/plain", "text/html"),
    charset: fc.constantFrom(
      "utf-8",
      "us-ascii",
      "euc-kr",
      "iso-2022-kr",
      "utf-16",
      "utf-7",
      "nope",
    ),
    encoding: fc.constantFrom("7bit", "8bit", "quoted-printable", "base64", "x-none"),
    field: fc.constantFrom("X-Is: a", "X-Is: =?utf-8?q?ab?=", "X-Is: a\r\n b", "Content-ID: x*0=a"),
    body,
  })
  .map(({ type, charset, encoding, field, body: text }) => {
    const raw = encoding === "base64" ? Buffer.from(text).toString("base64") : text;
    return Buffer.from(
      `Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: ${type}; charset=${charset}\r\n` +
        `Content-Transfer-Encoding: ${encoding}\r\n${field}\r\n\r\n${raw}\r\n--x--\r\n`,
    );
  });
const words = fc.constantFrom(
  ..."a b ab abc a.b aa ba tm t ... . b.c fi a@ x-is: 글 한 = é".split(" "),
  ..."a 한|ab b|한글 ab|™|a ™|… .|b  a| a|한 |fi b".split("|"),
  "a b",
  "",
  "\n",
);

describe("text of a message", () => {
  it("has a text exactly when its decoded text has it", () => {
    fc.assert(
      fc.property(message, words, (bytes, word) => {
        const all = searchNormalise(plainly(bytes, indexMessage(bytes).root).join("\n"));
        expect(textOf(bytes).bodyHas(word)).toBe(all.includes(word));
      }),
      { numRuns: 1500 },
    );
  });

  it("finds words of the header, encoded or not", () => {
    const text = textOf(Buffer.from("Subject: =?utf-8?b?7ZWc6riA?= Report\r\n\r\nbody\r\n"));
    expect(text.textHas("한글")).toBe(true);
    expect(text.textHas("report")).toBe(true);
    expect(text.textHas("nothing")).toBe(false);
    expect(text.bodyHas("report")).toBe(false);
    expect(text.headerHas("subject", "한글 report")).toBe(true);
    expect(text.headerHas("x", "")).toBe(false);
  });
});
