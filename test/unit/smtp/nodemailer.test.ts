// A client library that thousands of programs use, over TLS from the first byte and over STARTTLS.
import { createTransport } from "nodemailer";
import { afterEach, describe, expect, test } from "vitest";
import { startTestSmtp, type TestSmtp } from "./support.ts";

let smtp: TestSmtp;
afterEach(() => smtp.close());

async function send(password: string, secure: boolean): Promise<{ readonly response: string }> {
  const transport = createTransport({
    host: "127.0.0.1",
    port: smtp.port,
    secure,
    requireTLS: !secure,
    tls: { rejectUnauthorized: false },
    auth: { user: "u1@pabal.test", pass: password },
  });
  try {
    return await transport.sendMail({
      from: "민수 <u1@pabal.test>",
      to: "u2@pabal.test",
      bcc: "u1@pabal.test",
      subject: "파발",
      text: `.\n..\n${"안녕 ".repeat(500)}`,
      attachments: [{ filename: "부산.bin", content: Buffer.alloc(600_000, 0x0d) }],
    });
  } finally {
    transport.close();
  }
}

describe("nodemailer", () => {
  test.each([
    ["implicit", true],
    ["starttls", false],
  ] as const)("submits over %s TLS, with a large attachment", async (tls, secure) => {
    smtp = await startTestSmtp({ kind: "submission", tls, plaintextLogin: false });
    const { response } = await send("secret", secure);
    expect(response).toMatch(/^250 2\.0\.0 Stored as /);
    for (const name of ["u1@pabal.test", "u2@pabal.test"]) {
      const [stored = ""] = await smtp.inbox(name);
      expect(stored).toContain("with ESMTPSA id ");
      expect(stored).toMatch(/\(TLSv1\.3 TLS_\w+\)/);
      expect(stored).not.toMatch(/^bcc:/im);
      expect(stored.length).toBeGreaterThan(800_000);
    }
  });

  test("is told when the password is wrong", async () => {
    smtp = await startTestSmtp({ kind: "submission", plaintextLogin: false });
    await expect(send("wrong", false)).rejects.toMatchObject({ code: "EAUTH", responseCode: 535 });
    expect(await smtp.inbox("u2@pabal.test")).toEqual([]);
  });
});
