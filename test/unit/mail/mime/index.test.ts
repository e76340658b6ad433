// Where the index finds parts: offsets, chunks, limits, and what broken mail turns into.

import { Buffer } from "node:buffer";
import fc from "fast-check";
import MailComposer from "nodemailer/lib/mail-composer/index.js";
import { describe, expect, test } from "vitest";
import type { PartIndex } from "../../../../src/mail/message-index.ts";
import { renderBody } from "../../../../src/mail/mime/body-structure.ts";
import { indexMessage } from "../../../../src/mail/mime/indexer.ts";
import { mimeLimits } from "../../../../src/mail/mime/limits.ts";
import { sectionRange } from "../../../../src/mail/mime/part-path.ts";
import { chunked, crlf, mixed, shown, slice } from "./samples.ts";

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

  test("a delimiter of a multipart that is over is text, and an outer one with the same works on", () => {
    const message = multipart(
      "--b\r\nContent-Type: multipart/x; boundary=i\r\n\r\n--i\r\n\r\nin\r\n--b\r\n\r\n--i\r\n--i--\r\n--b--\r\n",
    );
    const [first, second] = indexMessage(message).root.children ?? [];
    expect(first?.children?.map((part) => slice(message, part))).toEqual(["in"]);
    expect(slice(message, second)).toBe("--i\r\n--i--");
    const same = multipart(
      "--b\r\nContent-Type: multipart/x; boundary=b\r\n\r\n--b\r\n\r\nin\r\n--b--\r\n--b\r\n\r\nout\r\n--b--\r\n",
    );
    const [inner, outer] = indexMessage(same).root.children ?? [];
    expect(inner?.children?.map((part) => slice(same, part))).toEqual(["in"]);
    expect(slice(same, outer)).toBe("out");
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
