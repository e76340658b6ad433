// Mailbox names and modified UTF-7.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decodeModifiedUtf7,
  encodeModifiedUtf7,
  normaliseMailboxName,
} from "../../../src/mail/mailbox-name.ts";

describe("modified UTF-7", () => {
  test.each([
    ["~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"], // RFC 3501 §5.1.3
    ["R&D", "R&-D"],
    ["&&", "&-&-"],
    ["받은편지함", "&vBvHQNO4ycDVaA-"],
    ["😀", "&2D3eAA-"],
    ["", ""],
    ["plain", "plain"],
  ])("%j is %j", (name, encoded) => {
    expect(encodeModifiedUtf7(name)).toBe(encoded);
    expect(decodeModifiedUtf7(encoded)).toBe(name);
  });

  test.each([
    "&",
    "&U,BTFw",
    "&AGE-",
    "&U,BTFw-&ZeVnLIqe-",
    "&2D0-",
    "&3gDYPQ-",
    "&U,BTFx-",
    "&U,B-",
    "&!!!!-",
    "台",
    "a\tb",
    "&AAA-x\0",
    "&U/BTFw-",
    "&-&ZeVnLIqe",
    "&====-",
  ])("%j is refused", (text) => {
    expect(decodeModifiedUtf7(text)).toBeUndefined();
  });

  test("goes both ways for all text, and no spelling but ours is taken", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (name) => {
        expect(decodeModifiedUtf7(encodeModifiedUtf7(name))).toBe(name);
      }),
    );
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...Array.from("&-,+AZaz09/ 台")) }), (text) => {
        const name = decodeModifiedUtf7(text);
        if (name !== undefined) expect(encodeModifiedUtf7(name)).toBe(text);
      }),
    );
  });
});

describe("names", () => {
  test.each([
    ["inbox", "INBOX"],
    ["InBoX/sub", "INBOX/sub"],
    ["inboxes", "inboxes"],
    ["a/inbox", "a/inbox"],
    ["a/b/", "a/b"],
    ["보낸 편지함".normalize("NFD"), "보낸 편지함"],
    ["...", "..."],
    ["한".repeat(85), "한".repeat(85)],
    ["__proto__", "__proto__"],
  ])("%j is stored as %j", (given, name) => {
    expect(normaliseMailboxName(given)).toEqual({ ok: true, name });
  });

  test.each([
    "",
    "/",
    "/a",
    "a//b",
    "a/../b",
    "..",
    ".",
    "a\0",
    "a\r\nb",
    "a\u007f",
    "a\u0085",
    "a\u2028",
    "\ud800",
    "a\udc00b",
    "x".repeat(256),
    "한".repeat(86),
    `${"a/".repeat(32)}a`,
    "a".repeat(100_000),
  ])("%j is refused", (given) => {
    expect(normaliseMailboxName(given)).toMatchObject({ ok: false });
  });

  test("a stored name stays as it is", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 40 }), (given) => {
        const first = normaliseMailboxName(given);
        if (first.ok) expect(normaliseMailboxName(first.name)).toEqual(first);
      }),
    );
  });
});
