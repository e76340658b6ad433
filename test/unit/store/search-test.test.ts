// SEARCH SUBJECT by the ENVELOPE: what is found there is found in the header, whatever the field is like.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { searchNormalise } from "../../../src/mail/charset/unicode.ts";
import { indexMessage } from "../../../src/mail/mime/indexer.ts";
import { decodedHeaderText } from "../../../src/mail/mime/text.ts";
import { isInEnvelope } from "../../../src/store/search-keys.ts";
import { EnvelopeAtHand } from "../../../src/store/search-test.ts";
import { encodeStatic } from "../../../src/store/static-row.ts";

const word = fc.oneof(
  fc.constantFrom(
    ..."report Kim's =?utf-8?q?caf=C3=A9?= =?utf-8?b?7ZWc6riA?= =?euc-kr?b?x9GxuyC8vLDo?= =?utf-8?q?a_b?=".split(
      " ",
    ),
    "=?utf-8?q?a  b?=",
    "=?utf-8?q?broken",
    '"quoted \\" one"',
    "(comment)",
    "\u00a0",
    "caf\u00e9",
    "\u00c7\u00d1\u00b1\u00db",
    "\u0000",
    "a\u0000b",
    "\r",
    "\v",
    "\u001b$)C\u000eGQ1[\u000f",
  ),
  fc.string({ maxLength: 12, unit: "binary-ascii" }).map((text) => text.replaceAll(/[\r\n]/g, "")),
  fc.uint8Array({ maxLength: 12 }).map((bytes) =>
    Buffer.from(bytes)
      .toString("latin1")
      .replaceAll(/[\r\n]/g, ""),
  ),
);
const blank = fc.constantFrom(" ", "  ", "\t", "\r\n ", "\r\n\t ", "\r\n   ", "", "\n ");
const subject = fc
  .array(fc.tuple(word, blank), { minLength: 1, maxLength: 8 })
  .map((all) => all.flat().join(""));
const fields = fc.array(fc.oneof({ weight: 4, arbitrary: subject }, fc.constant("second")), {
  minLength: 0,
  maxLength: 3,
});

function envelopeOf(message: Buffer): EnvelopeAtHand {
  const envelope = new EnvelopeAtHand();
  envelope.moveTo(encodeStatic(indexMessage(message)), 0);
  return envelope;
}

function messageWith(subjects: readonly string[]): Buffer {
  const lines = ["From: a@example.org", ...subjects.map((text) => `Subject:${text}`), "", "text"];
  return Buffer.from(lines.join("\r\n"), "latin1");
}

describe("a Subject", () => {
  it("that the ENVELOPE has a text in has it in the header, too", () => {
    let found = 0;
    const asked = fc.tuple(fields, fc.nat(60), fc.integer({ min: 0, max: 12 }));
    const property = fc.property(asked, ([subjects, from, length]) => {
      const message = messageWith(subjects);
      const inHeader = decodedHeaderText(message, "subject");
      const header = inHeader === undefined ? undefined : searchNormalise(inHeader);
      const text = (header ?? "nothing").slice(from % 40, (from % 40) + length);
      for (const one of [text, ...text.split(/\s/)]) {
        if (!isInEnvelope({ name: "subject", text: one })) continue;
        if (!envelopeOf(message).subjectHas(one)) continue;
        found++;
        expect(header !== undefined && (one === "" || header.includes(one))).toBe(true);
      }
    });
    fc.assert(property, { numRuns: 3000 });
    expect(found).toBeGreaterThan(1000);
  });

  it("is found by any word of it, decoded, in any case, folded or not", () => {
    const envelope = envelopeOf(
      messageWith([" Weekly =?utf-8?b?7ZWc6riA?=\r\n\t=?utf-8?q?_caf=C3=A9?= REPORT"]),
    );
    for (const text of ["weekly", "한글", "café", "report", ""]) {
      expect(envelope.subjectHas(text)).toBe(true);
    }
    expect(envelope.subjectHas("monthly")).toBe(false);
    envelope.forget();
    expect(envelope.subjectHas("weekly")).toBe(false);
  });

  it("is asked of the ENVELOPE only where blanks don't matter", () => {
    expect(isInEnvelope({ name: "subject", text: "weekly" })).toBe(true);
    expect(isInEnvelope({ name: "subject", text: "weekly report" })).toBe(false);
    expect(isInEnvelope({ name: "from", text: "weekly" })).toBe(false);
  });
});
