// ENVELOPE, BODYSTRUCTURE and BODY as rendered at delivery.

import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";
import { renderBody } from "../../../../src/mail/mime/body-structure.ts";
import { indexMessage } from "../../../../src/mail/mime/indexer.ts";
import { crlf, envelope, mixed, shown, structure } from "./samples.ts";

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
    [
      "a@b <c@d>, (open e@f",
      '((NIL NIL "a" "b")("(open e" NIL "MISSING_MAILBOX" "MISSING_DOMAIN"))',
    ],
    // What is no address is a name, as Dovecot 2.3 answers, too.
    ["not an address", '(("not an address" NIL "MISSING_MAILBOX" "MISSING_DOMAIN"))'],
    ['"John Doe"', '(("John Doe" NIL "MISSING_MAILBOX" "MISSING_DOMAIN"))'],
    [
      "a@b, John Doe, c@d",
      '((NIL NIL "a" "b")("John Doe" NIL "MISSING_MAILBOX" "MISSING_DOMAIN")(NIL NIL "c" "d"))',
    ],
    [
      "g: a b, c@d;",
      '((NIL NIL "g" NIL)("a b" NIL "MISSING_MAILBOX" "MISSING_DOMAIN")(NIL NIL "c" "d")(NIL NIL NIL NIL))',
    ],
    ["Joe <>", '(("Joe" NIL "MISSING_MAILBOX" "MISSING_DOMAIN"))'],
    ["a b@c", '(("a b" NIL "MISSING_MAILBOX" "MISSING_DOMAIN"))'],
    ['"a b"@c', '((NIL NIL "a b" "c"))'],
    ["joe@x@y", '((NIL NIL "joe" "x"))'],
    ["joe@x . y z", '((NIL NIL "joe" "x.y"))'],
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

  test("the fold of a field that isn't wanted belongs to no other", () => {
    expect(envelope("Subject: a\nX-Other: b\n folded\nX\n y\nFrom : c@d\n\n")).toContain(
      '(NIL "a" (',
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
      leaf('"application" "x"', '("name*" "UTF-8\'\'a%20b")', 4, ""),
    ],
    ["a/b; ; =x; y; z=1", leaf('"a" "b"', '("z" "1")', 4, "")],
    [
      "a/b; __proto__=1; constructor=2",
      leaf('"a" "b"', '("__proto__" "1" "constructor" "2")', 4, ""),
    ],
  ])("of Content-Type %j", (type, expected) => {
    expect(structure(`Content-Type: ${type}\n\nhi\n`)).toBe(expected);
  });

  test("lines of an embedded message don't count delimiters that cut it off in its header", () => {
    const cut = (tail: string): string =>
      structure(
        `Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: message/rfc822\n\n${tail}`,
      );
    expect(cut("A: b\nC: d\n--x--\n")).toContain(' "7bit" 10 (NIL NIL');
    expect(cut("A: b\nC: d\n--x--\n")).toContain(') 1 NIL NIL NIL NIL) "mixed"');
    expect(cut("A: b\n\nd\n\n--x--\n")).toContain(') 3 NIL NIL NIL NIL) "mixed"');
    expect(cut("A: b\n\nd\n")).toContain(') 3 NIL NIL NIL NIL) "mixed"');
    expect(cut("--x--\n")).toContain(') 0 NIL NIL NIL NIL) "mixed"');
  });

  test("parts of a digest are messages unless they say otherwise", () => {
    const text = structure(
      "Content-Type: multipart/digest; boundary=x\n\n--x\n\nSubject: s\n\nb\n--x--\n",
    );
    expect(text).toContain('(("message" "rfc822" NIL NIL NIL "7bit" 15 (NIL "s" NIL');
  });
});
