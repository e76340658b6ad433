// Our decoding against mailparser's, an independent reader, on messages that nodemailer makes.
import { simpleParser } from "mailparser";
import MailComposer from "nodemailer/lib/mail-composer/index.js";
import { describe, expect, test } from "vitest";
import { findPart } from "../../../../src/mail/mime/part-path.ts";
import { indexMessage } from "../../../../src/mail/mime/indexer.ts";
import { decodedHeaderText, decodedPartText } from "../../../../src/mail/mime/text.ts";

const bodies = [
  ["plain ASCII", "Plain subject", "Hello,\nthis is text.\n"],
  ["Korean", "파발: 오늘의 소식", "안녕하세요. 첫 번째 편지입니다.\n둘째 줄.\n"],
  ["long lines and equals signs", "a=b&c=d ".repeat(20).trim(), `${"x=y ".repeat(400)}\nend\n`],
  ["emoji and combining marks", "e\u0301 👩‍👩‍👧", "👩‍👩‍👧 e\u0301\n"],
] as const;

describe("messages that nodemailer makes", () => {
  test.each(bodies)(
    "%s: subject and text read as mailparser reads them",
    async (_name, subject, text) => {
      const message = await new MailComposer({
        from: "가나다 <a@pabal.test>",
        to: "b@pabal.test",
        subject,
        text,
        html: `<p>${text}</p>`,
        attachments: [{ filename: "첨부.txt", content: "inside" }],
      })
        .compile()
        .build();
      const parsed = await simpleParser(message);
      const index = indexMessage(message);
      const header = message.subarray(index.root.headerStart, index.root.bodyStart);
      expect(decodedHeaderText(header, "subject")).toBe(parsed.subject);
      const part = findPart(index.root, [1, 1]);
      expect(part?.type).toBe("text/plain");
      if (part === undefined) return;
      const ours = decodedPartText(message.subarray(part.bodyStart, part.bodyEnd), part);
      expect(ours.replaceAll("\r\n", "\n").trimEnd()).toBe(parsed.text?.trimEnd());
    },
  );
});
