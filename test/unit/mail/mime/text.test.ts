// Decoded text: encoded words, parameters, transfer encodings, charsets, HTML, with a Korean corpus.

import { Buffer } from "node:buffer";
import fc from "fast-check";
import iconv from "iconv-lite";
import { describe, expect, test } from "vitest";
import {
  charsetSupported,
  decodeCharset,
  encodeCharset,
  guessCharset,
} from "../../../../src/mail/charset/charset.ts";
import { searchNormalise } from "../../../../src/mail/charset/unicode.ts";
import { headerFields } from "../../../../src/mail/mime/header-fields.ts";
import { htmlText } from "../../../../src/mail/mime/html-text.ts";
import { indexMessage } from "../../../../src/mail/mime/indexer.ts";
import {
  decodedHeaderText,
  decodedPartText,
  partFileName,
} from "../../../../src/mail/mime/text.ts";
import { transferDecode } from "../../../../src/mail/mime/transfer.ts";

const subject = (value: string | Buffer, charset?: string): string | undefined =>
  decodedHeaderText(
    Buffer.concat([Buffer.from("Subject: "), Buffer.from(value), Buffer.from("\r\n\r\n")]),
    "subject",
    charset,
  );
const b = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");

describe("encoded words", () => {
  test.each([
    // RFC 2047 §8
    ["=?ISO-8859-1?Q?a?=", "a"],
    ["=?ISO-8859-1?Q?a?= b", "a b"],
    ["=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"],
    ["=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=", "ab"],
    ["=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=", "ab"],
    ["=?ISO-8859-1?Q?a_b?=", "a b"],
    ["=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"],
    ["=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"],
    ["=?ISO-8859-1?Q?Andr=E9?= Pirard", "André Pirard"],
    [
      "=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\r\n =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=",
      "If you can read this you understand the example.",
    ],
    // RFC 2231 §5
    ["=?US-ASCII*EN?Q?Keith_Moore?=", "Keith Moore"],
    // In the wild.
    ['"=?utf-8?B?7ZmN6ri464+Z?=" <a@b>', '"홍길동" <a@b>'],
    ["x=?utf-8?q?=ED=99=8D?=y", "x홍y"],
    ["=?utf-8?Q?with blanks inside?=", "with blanks inside"],
    ["=?utf-8?B?7ZmN6ri464?= =?utf-8?B?+Z?=", "홍길\ufffd\ufffd"],
    ["=?utf-8?B?7ZmN6ri4?= =?utf-8?B?64+Z?=", "홍길동"],
    ["=?utf-8?B?7ZmN6g==?= =?utf-8?B?uLjrj5k=?=", "홍길동"],
    ["=?nope-1?Q?a=20b?= c", "=?nope-1?Q?a=20b?= c"],
    ["=?utf-8?X?a?= =?utf-8?Q?open", "=?utf-8?X?a?= =?utf-8?Q?open"],
    ["=?=? =?utf-8?Q?a?=", "=?=? a"],
    ["", ""],
    ["folded\r\n\tvalue", "folded\tvalue"],
  ])("%j", (value, expected) => {
    expect(subject(value)).toBe(expected);
  });
});

describe("Korean", () => {
  const words = "안녕하세요 여러분";
  const onlyCp949 = "똠방각하 펲시콜라 쁐"; // Syllables that EUC-KR lacks.

  test.each(["euc-kr", "EUC-KR", "ks_c_5601-1987", "cp949", "x-windows-949", "uhc"])(
    "encoded words and bodies labelled %s may hold all of CP949",
    (label) => {
      for (const text of [words, onlyCp949]) {
        const bytes = iconv.encode(text, "cp949");
        expect(subject(`=?${label}?B?${b(bytes)}?=`)).toBe(text);
        expect(decodeCharset(bytes, label)).toBe(text);
        expect(encodeCharset(text, label)).toEqual(bytes);
      }
    },
  );

  test("ISO-2022-KR goes both ways and recovers from a lost shift at the line's end", () => {
    const bytes = encodeCharset(`${words} abc\r\n둘째`, "iso-2022-kr");
    expect(bytes?.subarray(0, 4).toString("latin1")).toBe("\u001b$)C");
    expect(bytes?.every((byte) => byte < 0x80)).toBe(true);
    expect(decodeCharset(bytes ?? Buffer.alloc(0), "ISO-2022-KR")).toBe(`${words} abc\r\n둘째`);
    expect(decodeCharset(Buffer.from("\u001b$)C\u000e>H3g\nplain", "latin1"), "iso-2022-kr")).toBe(
      "안녕\nplain",
    );
    expect(encodeCharset(onlyCp949, "iso-2022-kr")).toBeUndefined();
    expect(subject(`=?iso-2022-kr?B?${b(bytes ?? Buffer.alloc(0))}?=`)).toContain(words);
  });

  test("raw 8-bit headers are UTF-8, else the part's charset, else CP949", () => {
    expect(subject(Buffer.from(words))).toBe(words);
    expect(subject(iconv.encode(onlyCp949, "cp949"))).toBe(onlyCp949);
    expect(subject(iconv.encode("日本語", "shift_jis"), "shift_jis")).toBe("日本語");
    expect(guessCharset(iconv.encode(words, "cp949"), "utf-8")).toBe(words);
  });

  test("file names: RFC 2231, RFC 2047, raw, in pieces, decomposed", () => {
    const name = (disposition: string): string | undefined =>
      partFileName(
        Buffer.from(`Content-Disposition: attachment; ${disposition}\r\n\r\n`, "latin1"),
      );
    const percent = (bytes: Uint8Array): string =>
      [...bytes].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
    const utf8 = Buffer.from("보고서.pdf");
    const cp949 = iconv.encode("보고서.pdf", "cp949");
    expect(name(`filename*=UTF-8''${percent(utf8)}`)).toBe("보고서.pdf");
    expect(name(`filename="x.pdf"; filename*=euc-kr'ko'${percent(cp949)}`)).toBe("보고서.pdf");
    const [one, two] = [percent(utf8.subarray(0, 4)), percent(utf8.subarray(4))];
    expect(name(`filename*1*=${two}; filename*0*=UTF-8''${one}`)).toBe("보고서.pdf");
    expect(name(`filename*0*=UTF-8''${percent(utf8.subarray(0, 9))}; filename*1=".pdf"`)).toBe(
      "보고서.pdf",
    );
    expect(name(`filename="=?UTF-8?B?${b(utf8)}?="`)).toBe("보고서.pdf");
    expect(name(`filename="${utf8.toString("latin1")}"`)).toBe("보고서.pdf");
    expect(name(`filename="${cp949.toString("latin1")}"`)).toBe("보고서.pdf");
    expect(name(`filename*=UTF-8''${percent(Buffer.from("보고서.pdf".normalize("NFD")))}`)).toBe(
      "보고서.pdf",
    );
    expect(name("size=3")).toBeUndefined();
    expect(partFileName(Buffer.from('Content-Type: a/b; name="n.txt"\r\n'))).toBe("n.txt");
    expect(
      decodedHeaderText(
        Buffer.from(`Content-Type: a/b; name*=UTF-8''${percent(utf8)}\r\n`),
        "content-type",
      ),
    ).toContain("보고서.pdf");
  });

  test("search text is NFKC in lower case on both sides", () => {
    expect(searchNormalise("ＡBC 한글".normalize("NFD"))).toBe("abc 한글");
    expect(searchNormalise("ﬁ Ⅷ")).toBe("fi viii");
  });
});

describe("charsets", () => {
  test("labels that are no charsets are not supported", () => {
    for (const label of [
      "",
      "x",
      "base64",
      "hex",
      "binary",
      "__proto__",
      "constructor",
      "toString",
      "utf-8\r\n x y",
      "x".repeat(99),
    ]) {
      expect(charsetSupported(label)).toBe(false);
      expect(decodeCharset(Buffer.from("a"), label)).toBeUndefined();
    }
  });

  test.each([
    "utf-8",
    "US-ASCII",
    "iso-8859-1",
    "ISO-8859-15",
    "windows-1252",
    "koi8-r",
    "gb2312",
    "gbk",
    "gb18030",
    "big5",
    "shift_jis",
    "euc-jp",
    "iso-2022-jp",
    "utf-16",
    "utf-7",
    '"utf-8"',
  ])("%s is supported", (label) => {
    expect(charsetSupported(label)).toBe(true);
  });

  test("what a charset lacks can't be encoded", () => {
    expect(encodeCharset("한", "iso-8859-1")).toBeUndefined();
    expect(encodeCharset("é", "us-ascii")).toBeUndefined();
    expect(encodeCharset("a", "us-ascii")).toEqual(Buffer.from("a"));
    expect(decodeCharset(Buffer.from("\u001b$BF|K\\8l\u001b(B", "latin1"), "ISO-2022-JP")).toBe(
      "日本語",
    );
  });
});

describe("transfer encodings", () => {
  const decoded = (text: string, encoding: string): string | undefined =>
    transferDecode(Buffer.from(text, "latin1"), encoding)?.toString("latin1");
  test.each([
    ["YWJj\r\nZGVm\r\n", "abcdef"],
    ["YWJ\r\njZA==\r\n", "abcd"],
    ["YQ==YmM=", "abc"],
    ["Y W*Jj!", "abc"],
    ["YWJj\r\nZ", "abc"],
    ["", ""],
    ["====", ""],
  ])("base64 %j", (text, expected) => {
    expect(decoded(text, "BASE64")).toBe(expected);
  });
  test.each([
    ["a=3Db=3db", "a=b=b"],
    ["soft=\r\nbreak=\nhere= \t\r\nend=", "softbreakhereend"],
    ["bad =ZZ =4 _", "bad =ZZ =4 _"],
    ["=EC=95=88", "\u00ec\u0095\u0088"],
  ])("quoted-printable %j", (text, expected) => {
    expect(decoded(text, "quoted-printable")).toBe(expected);
  });
  test("an unknown one is said to be unknown", () => {
    expect(decoded("x", "x-uuencode")).toBeUndefined();
    expect(decoded("x", "8bit")).toBe("x");
  });
  test("round trip of base64 with any line length", () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.integer({ min: 1, max: 80 }), (bytes, width) => {
        const lines = b(bytes).replaceAll(new RegExp(`.{${width}}`, "g"), "$&\r\n");
        expect(transferDecode(Buffer.from(lines), "base64")).toEqual(Buffer.from(bytes));
      }),
    );
  });
});

describe("part text", () => {
  test("goes through transfer encoding, charset and tags", () => {
    const html = iconv.encode("<p>안<b>녕</b>&nbsp;&amp;</p><script>x()</script>끝", "cp949");
    const message = Buffer.from(
      `Content-Type: text/html; charset=ks_c_5601-1987\r\nContent-Transfer-Encoding: base64\r\n\r\n${b(html)}\r\n`,
    );
    const { root } = indexMessage(message);
    const text = decodedPartText(message.subarray(root.bodyStart, root.bodyEnd), root);
    expect(text.replaceAll(/\s+/g, " ").trim()).toBe("안녕 & 끝");
  });

  test("a wrong or missing charset is guessed, other types have no text", () => {
    const part = { headerStart: 0, bodyStart: 0, bodyEnd: 0, type: "text/plain", encoding: "8bit" };
    expect(decodedPartText(Buffer.from("한글"), part)).toBe("한글");
    expect(decodedPartText(iconv.encode("한글", "cp949"), { ...part, charset: "us-ascii" })).toBe(
      "한글",
    );
    expect(decodedPartText(Buffer.from("한글"), { ...part, charset: "unknown-8bit" })).toBe("한글");
    expect(decodedPartText(Buffer.from("a"), { ...part, type: "image/png" })).toBe("");
    expect(decodedPartText(Buffer.from("a"), { ...part, encoding: "odd" })).toBe("a");
  });

  test.each([
    ["a < b > c <3", "a < b > c <3"],
    ["x<br>y<p>z", "x\ny\nz"],
    ["a<!-- <b>c</b> -->d<!-- open", "ad<!-- open"],
    ["<style>p{}</style>t<style>open", "\n\nt\nopen"],
    ["&#54620;&#xae00; &lt;&bogus;&#0;&#xd800;", "한글 <&bogus;\ufffd\ufffd"],
    ["İ<B>x</B>", "İx"],
    ["<unclosed", "<unclosed"],
  ])("of HTML %j", (html, expected) => {
    expect(htmlText(html)).toBe(expected);
  });
});

describe("header fields", () => {
  const header = Buffer.from(
    "Received: a\r\n\tb\r\nSUBJECT : x\r\nnocolon\r\nTo: y\nReceived: c\r\n__proto__: z\r\n\r\n",
  );
  const cut = (names: readonly string[], not: boolean): string =>
    headerFields(header, names, not).toString();

  test("are cut out exactly, folds and empty line included", () => {
    expect(cut(["received"], false)).toBe("Received: a\r\n\tb\r\nReceived: c\r\n\r\n");
    expect(cut(["Subject", "TO"], false)).toBe("SUBJECT : x\r\nTo: y\n\r\n");
    expect(cut(["received", "to"], true)).toBe("SUBJECT : x\r\nnocolon\r\n__proto__: z\r\n\r\n");
    expect(cut(["__PROTO__", "constructor"], false)).toBe("__proto__: z\r\n\r\n");
    expect(cut([], true)).toBe(header.toString());
    expect(headerFields(Buffer.from("A: b\r\nC: d"), ["c"], false).toString()).toBe("C: d");
  });

  test("without a colon are walked in linear time", () => {
    const many = Buffer.from("no colon\r\n".repeat(400_000));
    expect(headerFields(many, [""], false).length).toBe(many.length);
    expect(headerFields(Buffer.from("a\r\nb: c\r\n"), ["a", "b"], false).toString()).toBe(
      "b: c\r\n",
    );
  });

  test("as text: one field, all fields, none", () => {
    expect(decodedHeaderText(header, "Received")).toBe("a\tb\nc");
    expect(decodedHeaderText(header, "X-None")).toBeUndefined();
    expect(decodedHeaderText(header)).toContain("subject: x\nnocolon\nto: y");
  });
});
