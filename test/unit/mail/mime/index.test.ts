// The MIME index: ENVELOPE, BODYSTRUCTURE, part offsets, and what broken mail turns into.

import { Buffer } from "node:buffer";
import fc from "fast-check";
import MailComposer from "nodemailer/lib/mail-composer/index.js";
import { describe, expect, test } from "vitest";
import type { MessageIndex, PartIndex } from "../../../../src/mail/message-index.ts";
import { renderBody } from "../../../../src/mail/mime/body-structure.ts";
import { indexMessage, MessageIndexer } from "../../../../src/mail/mime/indexer.ts";
import { mimeLimits } from "../../../../src/mail/mime/limits.ts";
import { sectionRange } from "../../../../src/mail/mime/part-path.ts";

const crlf = (text: string): Buffer => Buffer.from(text.replaceAll("\n", "\r\n"));
const shown = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
const envelope = (text: string): string => shown(indexMessage(crlf(text)).envelope);
const structure = (text: string): string => shown(indexMessage(crlf(text)).bodyStructure);
const chunked = (message: Buffer, sizes: readonly number[]): MessageIndex => {
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
const slice = (message: Buffer, part: PartIndex | undefined): string =>
  part === undefined ? "no part" : message.toString("latin1", part.bodyStart, part.bodyEnd);

const mixed = `From: Fred Foobar <foobar@Blurdybloop.example>
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

describe("ENVELOPE", () => {
  test("of the example of RFC 3501 §8", () => {
    const text = `Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)
From: Terry Gray <gray@cac.washington.edu>
Subject: IMAP4rev2 WG mtg summary and minutes
To: imap@cac.washington.edu
cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>
Message-Id: <B27397-0100000@cac.washington.edu>
MIME-Version: 1.0
Content-Type: TEXT/PLAIN; CHARSET=US-ASCII

`;
    expect(envelope(text)).toBe(
      '("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev2 WG mtg summary and minutes" ' +
        '(("Terry Gray" NIL "gray" "cac.washington.edu")) ' +
        '(("Terry Gray" NIL "gray" "cac.washington.edu")) ' +
        '(("Terry Gray" NIL "gray" "cac.washington.edu")) ' +
        '((NIL NIL "imap" "cac.washington.edu")) ' +
        '((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) ' +
        'NIL NIL "<B27397-0100000@cac.washington.edu>")',
    );
    const index = indexMessage(crlf(text));
    expect(index).toMatchObject({
      sentMs: Date.UTC(1996, 6, 17, 9, 23, 25),
      sentZone: -420,
      messageId: "<B27397-0100000@cac.washington.edu>",
    });
  });

  test("of an empty message is all NIL", () => {
    expect(envelope("")).toBe("(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
    expect(structure("")).toBe(
      '("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)',
    );
  });

  const to = (value: string): string =>
    / NIL NIL NIL (NIL|\(\(.*\)\)) NIL NIL NIL NIL\)$/s.exec(envelope(`To: ${value}\n\n`))?.[1] ??
    "none";
  test.each([
    ["", "NIL"],
    ["  ,, ;", "NIL"],
    ["a@b", '((NIL NIL "a" "b"))'],
    ["<a@b>", '((NIL NIL "a" "b"))'],
    ['"Joe Q. \\"Public\\"" <a@b>', '(("Joe Q. \\"Public\\"" NIL "a" "b"))'],
    ['"Doe, John" <"j d"@b>, c@d', '(("Doe, John" NIL "j d" "b")(NIL NIL "c" "d"))'],
    ["Mary Smith\n\t<mary@x.test>", '(("Mary Smith" NIL "mary" "x.test"))'],
    ["jdoe@one.test (John Doe)", '(("John Doe" NIL "jdoe" "one.test"))'],
    [
      "Pete(A nice \\) chap) <pete(his account)@silly.test(host)>",
      '(("Pete" NIL "pete" "silly.test"))',
    ],
    ["John Q. Public <JQB@bar.com>", '(("John Q. Public" NIL "JQB" "bar.com"))'],
    ["<@a.test,@b.test:mary@c.test>", '((NIL "@a.test,@b.test" "mary" "c.test"))'],
    ["user . name @ example . org", '((NIL NIL "user.name" "example.org"))'],
    [
      "A Group:Ed Jones <joe@a.test>,joe@where.test;",
      '((NIL NIL "A Group" NIL)("Ed Jones" NIL "joe" "a.test")(NIL NIL "joe" "where.test")(NIL NIL NIL NIL))',
    ],
    ["Undisclosed recipients:;", '((NIL NIL "Undisclosed recipients" NIL)(NIL NIL NIL NIL))'],
    ["g: a@b", '((NIL NIL "g" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL))'],
    ["root", '((NIL NIL "root" "MISSING_DOMAIN"))'],
    ["<@b>", '((NIL NIL "MISSING_MAILBOX" "b"))'],
    ["x@[192.0.2.1]", '((NIL NIL "x" "[192.0.2.1]"))'],
    ["=?UTF-8?Q?Doe,_J?= <a@b>", '(("=?UTF-8?Q?Doe,_J?=" NIL "a" "b"))'],
    ['"open <a@b>, c@d', '(("open" NIL "a" "b")(NIL NIL "c" "d"))'],
    ["a@b <c@d>, (open e@f", '((NIL NIL "a" "b")(NIL NIL "(opene" "f"))'],
    ["a@b; c@d", '((NIL NIL "a" "b")(NIL NIL "c" "d"))'],
    ["홍 <a@b>", '(({3}\r\n\u00ed\u0099\u008d NIL "a" "b"))'],
  ])("addresses of %j", (value, expected) => {
    expect(to(value)).toBe(expected);
  });

  test("To fields are joined; of other doubled fields the first counts", () => {
    expect(envelope("To: a@b\nSubject: 1\nTO : c@d\nsubject: 2\n\n")).toBe(
      '(NIL "1" NIL NIL NIL ((NIL NIL "a" "b")(NIL NIL "c" "d")) NIL NIL NIL NIL)',
    );
  });

  test("text with quotes, folds, NUL, 8-bit and great length follows the string rules", () => {
    const subject = (bytes: string): string =>
      shown(indexMessage(Buffer.from(`Subject:${bytes}\r\n\r\n`, "latin1")).envelope);
    expect(subject('a "b" \\c')).toContain('NIL "a \\"b\\" \\\\c" NIL');
    expect(subject(" a\r\n\tb\r\n  c")).toContain('NIL "a b c" NIL');
    expect(subject("")).toContain('(NIL "" NIL');
    expect(subject(" \u00ed\u00a0")).toContain("(NIL {2}\r\n\u00ed\u00a0 NIL");
    expect(subject("a\0b")).toContain("(NIL {5}\r\na\u00ef\u00bf\u00bdb NIL");
    expect(subject("x".repeat(2000))).toContain(`{2000}\r\nx`);
    expect(subject("a\rb")).toContain('"a b"');
  });
});

describe("BODYSTRUCTURE", () => {
  test("of nested parts, with extension data", () => {
    expect(structure(mixed)).toBe(
      '(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 0 NIL NIL NIL NIL)' +
        '("message" "rfc822" NIL NIL "forwarded" "7bit" 156 ' +
        '(NIL "inner" ((NIL NIL "in" "example.org")) ((NIL NIL "in" "example.org")) ' +
        '((NIL NIL "in" "example.org")) NIL NIL NIL NIL NIL) ' +
        '(("text" "html" ("charset" "UTF-8") NIL NIL "7bit" 10 0 NIL NIL NIL NIL) "alternative" ' +
        '("boundary" "ab") NIL NIL NIL) 8 NIL NIL NIL NIL)' +
        '("image" "png" ("name" "x.png") "<1@x>" NIL "base64" 4 "Q2hlY2sgSW50ZWdyaXR5IQ==" ' +
        '("attachment" ("filename" "x \\"y\\".png")) ("en" "ko") "http://example.org/x.png") ' +
        '"mixed" ("boundary" "a") NIL NIL NIL)',
    );
  });

  test("and its BODY form without extension data", () => {
    const body = shown(renderBody(indexMessage(crlf(mixed)).bodyStructure));
    expect(body).toBe(
      '(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 0)' +
        '("message" "rfc822" NIL NIL "forwarded" "7bit" 156 ' +
        '(NIL "inner" ((NIL NIL "in" "example.org")) ((NIL NIL "in" "example.org")) ' +
        '((NIL NIL "in" "example.org")) NIL NIL NIL NIL NIL) ' +
        '(("text" "html" ("charset" "UTF-8") NIL NIL "7bit" 10 0) "alternative") 8)' +
        '("image" "png" ("name" "x.png") "<1@x>" NIL "base64" 4) "mixed")',
    );
  });

  const leaf = (type: string, parameters: string, size: number, lines: string): string =>
    `(${type} ${parameters} NIL NIL "7bit" ${size}${lines} NIL NIL NIL NIL)`;
  const plain = leaf('"text" "plain"', '("charset" "us-ascii")', 4, " 1");
  test.each([
    ["text/html", leaf('"text" "html"', '("charset" "us-ascii")', 4, " 1")],
    ["TEXT/Plain; charset=us-ascii (Plain text)", plain],
    ['text / plain (x) ; charset = "us-ascii"', plain],
    ["text", plain],
    ["x/y/z", plain],
    ["", plain],
    ["multipart/mixed", plain],
    ['multipart/mixed; boundary=""', plain],
    ["multipart/mixed; boundary=never", plain],
    [
      "application/pdf; name=my file (1).pdf; x=y",
      leaf('"application" "pdf"', '("name" "my file (1).pdf" "x" "y")', 4, ""),
    ],
    [
      'application/pdf; name="open; x=y',
      leaf('"application" "pdf"', '("name" "open; x=y")', 4, ""),
    ],
    [
      "application/x; name*0*=UTF-8''a%20; name*1=b",
      leaf('"application" "x"', '("name*0*" "UTF-8\'\'a%20" "name*1" "b")', 4, ""),
    ],
    ["a/b; ; =x; y; z=1", leaf('"a" "b"', '("z" "1")', 4, "")],
    [
      "a/b; __proto__=1; constructor=2",
      leaf('"a" "b"', '("__proto__" "1" "constructor" "2")', 4, ""),
    ],
  ])("of Content-Type %j", (type, expected) => {
    expect(structure(`Content-Type: ${type}\n\nhi\n`)).toBe(expected);
  });

  test("parts of a digest are messages unless they say otherwise", () => {
    const text = structure(
      "Content-Type: multipart/digest; boundary=x\n\n--x\n\nSubject: s\n\nb\n--x--\n",
    );
    expect(text).toContain('(("message" "rfc822" NIL NIL NIL "7bit" 15 (NIL "s" NIL');
  });
});

describe("offsets", () => {
  test("cut out exactly the parts, without the line break of the delimiter", () => {
    const message = crlf(mixed);
    const { root, sizeBytes } = indexMessage(message);
    expect(sizeBytes).toBe(message.length);
    const at = (kind: "body" | "header" | "text" | "mime", ...path: number[]): string => {
      const range = sectionRange(root, { path, kind });
      return range === undefined ? "none" : message.toString("latin1", range.start, range.end);
    };
    expect(at("body")).toBe(message.toString("latin1"));
    expect(at("text")).toBe(message.toString("latin1").split("\r\n\r\n").slice(1).join("\r\n\r\n"));
    expect(at("body", 1)).toBe("one");
    expect(at("mime", 1)).toBe("\r\n");
    expect(at("header", 1)).toBe("none");
    expect(at("mime", 2)).toMatch(/^Content-Type: message\/rfc822\r\n.*\r\n\r\n$/s);
    expect(at("header", 2)).toMatch(/^Subject: inner\r\n.*=ab\r\n\r\n$/s);
    expect(at("text", 2)).toMatch(/^--ab\r\n.*--ab--$/s);
    expect(at("body", 2)).toBe(at("header", 2) + at("text", 2));
    expect(at("body", 2, 1)).toBe("<b>two</b>");
    expect(at("body", 2, 1, 1)).toBe("none");
    expect(at("body", 2, 2)).toBe("none");
    expect(at("body", 3)).toBe("AAAA");
    expect(at("body", 4)).toBe("none");
    expect(at("mime")).toBe("none");
  });

  test("part 1 of a message that is no multipart is its body, embedded messages included", () => {
    const message = crlf("Content-Type: message/rfc822\n\nSubject: in\n\nbody\n");
    const { root } = indexMessage(message);
    const at = (kind: "body" | "header" | "text" | "mime", ...path: number[]): string => {
      const range = sectionRange(root, { path, kind });
      return range === undefined ? "none" : message.toString("latin1", range.start, range.end);
    };
    expect(at("body", 1)).toBe("Subject: in\r\n\r\nbody\r\n");
    expect(at("header", 1)).toBe("Subject: in\r\n\r\n");
    expect(at("text", 1)).toBe("body\r\n");
    expect(at("body", 1, 1)).toBe("body\r\n");
    expect(at("mime", 1, 1)).toBe("Subject: in\r\n\r\n");
    expect(at("body", 1, 1, 1)).toBe("none");
  });

  const multipart = (body: string): Buffer =>
    Buffer.from(`Content-Type: multipart/mixed; boundary=b\r\n\r\n${body}`);
  test.each<[string, readonly string[]]>([
    ["--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n", ["one", "two"]],
    ["--b\n\none\n--b\n\ntwo\n--b--\n", ["one", "two"]],
    ["--b\r\n\r\none\r\n--b\r\n\r\ntwo, never closed\r\n", ["one", "two, never closed\r\n"]],
    ["--b \t\r\n\r\none\r\n--b-- \r\nepilogue\r\n--b\r\n\r\nno part\r\n", ["one"]],
    ["--b\r\n--b\r\n\r\n--b\r\n\r\n\r\n--b--", ["", "", ""]],
    ["--b\r\n\r\n--bb\r\n--c\r\n -- b\r\n--b-\r\n--b--", ["--bb\r\n--c\r\n -- b\r\n--b-"]],
    ["--b\r\n\r\none--b\r\n--b", ["one--b", ""]],
    ["--b\r\nX-Header: only\r\n--b--\r\n", [""]],
    ["--b\r\n\r\na\0b\r\n--b--\r\n", ["a\0b"]],
    ["--b\r\n\r\n-\r\n--b--", ["-"]],
  ])("of %j", (body, parts) => {
    const message = multipart(body);
    const children = indexMessage(message).root.children ?? [];
    expect(children.map((part) => slice(message, part))).toEqual(parts);
  });

  test("a multipart without parts is one readable text", () => {
    for (const body of ["", "no delimiter\r\n", "--b--\r\nhidden\r\n"]) {
      const message = multipart(body);
      const { root } = indexMessage(message);
      expect(root.type).toBe("text/plain");
      expect(slice(message, root)).toBe(body);
    }
  });

  test("an inner multipart that is never closed ends at the outer delimiter", () => {
    const message = multipart(
      "--b\r\nContent-Type: multipart/x; boundary=i\r\n\r\n--i\r\n\r\nin\r\n--b\r\n\r\nout\r\n--b--\r\n",
    );
    const [first, second] = indexMessage(message).root.children ?? [];
    expect(first?.children?.map((part) => slice(message, part))).toEqual(["in"]);
    expect(slice(message, second)).toBe("out");
  });

  test("odd headers hide nothing", () => {
    const message = Buffer.from("no colon\r\n__proto__: x\r\n: y\r\nSubject: s\r\n\r\nbody");
    const index = indexMessage(message);
    expect(shown(index.envelope)).toContain('"s"');
    expect(slice(message, index.root)).toBe("body");
    expect(indexMessage(Buffer.from("Subject: no body")).root).toMatchObject({
      bodyStart: 16,
      bodyEnd: 16,
    });
    expect(indexMessage(Buffer.from("A: \u00ed\r\n\r\n")).has8bit).toBe(true);
    expect(indexMessage(Buffer.from("A: b\r\n\r\n")).has8bit).toBeUndefined();
  });
});

describe("splitting into chunks", () => {
  const piece = fc.oneof(
    fc.constantFrom(
      "\r\n",
      "\n",
      "\r",
      "--a",
      "--a--",
      "--ab",
      "--",
      "-",
      "\r\n--a\r\n",
      "\r\n--ab\r\n\r\n",
      "Content-Type: multipart/mixed; boundary=a\r\n",
      "Content-Type: multipart/x; boundary=ab\r\n\r\n",
      "Content-Type: message/rfc822\r\n\r\n",
      "Subject: x\r\n folded\r\n",
      "To: a@b, c@d\r\n",
      ":",
      " ",
    ),
    fc.string({ maxLength: 12, unit: "binary" }),
  );
  const message = fc
    .array(piece, { maxLength: 40 })
    .map((pieces) => Buffer.from(pieces.join(""), "latin1"));

  test("changes nothing", () => {
    fc.assert(
      fc.property(
        message,
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        (bytes, sizes) => {
          const whole = indexMessage(bytes);
          expect(chunked(bytes, sizes)).toEqual(whole);
          expect(chunked(bytes, [1])).toEqual(whole);
          expect(() => renderBody(whole.bodyStructure)).not.toThrow();
        },
      ),
      { numRuns: 500 },
    );
  });

  test("changes nothing where the header outgrows its limit", () => {
    const field = `X-Filler: ${"x".repeat(5000)}\r\n`;
    const bytes = Buffer.from(
      `Subject: kept\r\n${field.repeat(60)}To: lost@example.org\r\n${"y".repeat(300_000)}\r\n\r\nbody\r\n`,
    );
    const whole = indexMessage(bytes);
    expect(shown(whole.envelope)).toBe('(NIL "kept" NIL NIL NIL NIL NIL NIL NIL NIL)');
    expect(slice(bytes, whole.root)).toBe("body\r\n");
    expect(chunked(bytes, [1000, 7, 65_536])).toEqual(whole);
    expect(chunked(bytes, [1])).toEqual(whole);
  });

  test("every part lies within the one around it", () => {
    const inside = (part: PartIndex, start: number, end: number): void => {
      expect(part.headerStart).toBeGreaterThanOrEqual(start);
      expect(part.bodyStart).toBeGreaterThanOrEqual(part.headerStart);
      expect(part.bodyEnd).toBeGreaterThanOrEqual(part.bodyStart);
      expect(part.bodyEnd).toBeLessThanOrEqual(end);
      for (const child of part.children ?? []) inside(child, part.bodyStart, part.bodyEnd);
      if (part.message !== undefined) inside(part.message, part.bodyStart, part.bodyEnd);
    };
    fc.assert(fc.property(message, (bytes) => inside(indexMessage(bytes).root, 0, bytes.length)));
  });
});

describe("limits", () => {
  const count = (part: PartIndex): number =>
    1 +
    (part.children ?? []).reduce((sum, child) => sum + count(child), 0) +
    (part.message === undefined ? 0 : count(part.message));
  const depth = (part: PartIndex): number =>
    1 +
    Math.max(0, ...[...(part.children ?? []), ...(part.message ? [part.message] : [])].map(depth));

  test("after 1000 parts the rest is one leaf", () => {
    const bytes = crlf(
      `Content-Type: multipart/mixed; boundary=b\n\n${"--b\n\nx\n".repeat(3000)}--b--\n`,
    );
    const index = indexMessage(bytes);
    expect(count(index.root)).toBe(mimeLimits.partCountMax);
    expect(index.root.children?.at(-1)?.bodyEnd).toBe(bytes.length);
    expect(chunked(bytes, [999])).toEqual(index);
  });

  test("nesting ends in a leaf", () => {
    const embedded = indexMessage(crlf("Content-Type: message/rfc822\n\n".repeat(3000)));
    expect(depth(embedded.root)).toBe(mimeLimits.depthMax);
    const nested = Array.from(
      { length: 3000 },
      (_, i) => `Content-Type: multipart/x; boundary=b${i}\n\n--b${i}\n`,
    );
    const index = indexMessage(crlf(nested.join("")));
    expect(depth(index.root)).toBe(mimeLimits.depthMax);
    expect(shown(index.bodyStructure)).toContain('"application" "octet-stream"');
    expect(() => renderBody(index.bodyStructure)).not.toThrow();
  });

  test("the index of hostile mail stays below 512 KiB", () => {
    const hostile = [
      `From: ${"a@b,".repeat(60_000)}\n\n`,
      `From: ${"x".repeat(250_000)} <a@b>\n\n`,
      `Content-Type: a/b${";a=b".repeat(60_000)}\n\n`,
      `Content-Type: multipart/x; boundary=b\n\n${"--b\n\n".repeat(5000)}`,
      `Content-Type: message/rfc822\nSubject: s\n\n`.repeat(4000),
    ];
    for (const text of hostile) {
      const { envelope: e, bodyStructure } = indexMessage(crlf(text));
      expect(e.length + bodyStructure.length).toBeLessThan(512 * 1024);
    }
  });
});

describe("messages made by nodemailer", () => {
  test("have the parts that went in", async () => {
    const composer = new MailComposer({
      from: { name: "홍길동", address: "hong@example.org" },
      to: "a@example.org, B <b@example.org>",
      subject: "안녕하세요, 여러분",
      text: "본문 text",
      html: "<p>본문</p>",
      attachments: [{ filename: "보고서.pdf", content: Buffer.alloc(3000, 1) }],
    });
    const message = await new Promise<Buffer>((resolve, reject) => {
      composer.compile().build((error, bytes) => (error === null ? resolve(bytes) : reject(error)));
    });
    const index = indexMessage(message);
    const [body, file] = index.root.children ?? [];
    expect(index.root.type).toBe("multipart/mixed");
    expect(body?.children?.map(({ type }) => type)).toEqual(["text/plain", "text/html"]);
    expect(file).toMatchObject({ type: "application/pdf", encoding: "base64" });
    expect(Buffer.from(slice(message, file), "base64")).toEqual(Buffer.alloc(3000, 1));
    expect(chunked(message, [17])).toEqual(index);
  });
});
