// nodemailer, the SMTP client of Node programs: submission with STARTTLS and over TLS, relay, LMTP;
// attachments with Korean names, SMTPUTF8, and what is announced.

import { readFileSync } from "node:fs";
import { createTransport } from "nodemailer";
import type { SendMailOptions } from "nodemailer";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { LineClient } from "../support/line-client.ts";
import { awkward, belowTrace, downloadPart, flow, readMailbox } from "./support.ts";

let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ users: 8 });
});
afterAll(async () => {
  await cluster.destroy();
});

type Listener = "smtp" | "submission" | "submissions" | "lmtp";

async function send(listener: Listener, mail: SendMailOptions, login = true) {
  const transport = createTransport({
    host: "localhost",
    port: cluster.gateway("g1")[listener],
    secure: listener === "submissions",
    requireTLS: true,
    lmtp: listener === "lmtp",
    tls: { ca: readFileSync(cluster.ports.tls.ca) },
    ...(login ? { auth: { user: "u1@pabal.test", pass: "secret" } } : {}),
  });
  try {
    return await transport.sendMail({ from: "김파발 <u1@pabal.test>", ...mail });
  } finally {
    transport.close();
  }
}

async function stored(user: string): Promise<readonly Buffer[]> {
  return readMailbox(cluster.gateway("g2").imap, user);
}

describe("nodemailer", () => {
  test("attachments with Korean names come back as they were", async () => {
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7) % 251));
    await send("submission", {
      to: "u2@pabal.test",
      subject: "분기 보고서를 보냅니다 — 확인 부탁드립니다",
      text: "첨부를 보세요.\r\n.\r\n끝",
      html: "<p>첨부를 보세요.</p>",
      attachments: [
        { filename: "2026년 4분기 보고서.bin", content: bytes },
        { filename: "메모.txt", content: "짧은 메모" },
      ],
    });
    const client = flow(cluster.gateway("g2").imap, "u2");
    await client.connect();
    await client.mailboxOpen("INBOX");
    const found = await client.fetchOne("1", { envelope: true, bodyStructure: true });
    if (found === false) throw new Error("no message");
    expect(found.envelope).toMatchObject({
      subject: "분기 보고서를 보냅니다 — 확인 부탁드립니다",
      from: [{ name: "김파발", address: "u1@pabal.test" }],
    });
    const names = found.bodyStructure?.childNodes?.map(
      ({ dispositionParameters }) => dispositionParameters?.["filename"],
    );
    expect(names).toEqual([undefined, "2026년 4분기 보고서.bin", "메모.txt"]);
    expect((await downloadPart(client, "1", "2")).equals(bytes)).toBe(true);
    await client.logout();
  });

  test.each<Listener>(["smtp", "lmtp"])(
    "%s: given bytes are stored unchanged",
    async (listener) => {
      const user = listener === "smtp" ? "u3" : "u4";
      const envelope = { from: "friend@example.org", to: `${user}@pabal.test` };
      await send(listener, { raw: awkward, envelope }, false);
      expect((await stored(user)).map(belowTrace)).toEqual([awkward.toString()]);
    },
  );

  test("submissions: an address outside ASCII goes through SMTPUTF8 and comes back", async () => {
    const envelope = { from: "u1@pabal.test", to: "u5@pabal.test" };
    const headers = "From: u1@pabal.test\r\nTo: 받는이@예제.한국\r\nSubject: 직접 쓴 제목\r\n";
    const raw = `${headers}Date: Sun, 22 Nov 2026 09:00:00 +0900\r\nMessage-ID: <1@pabal.test>\r\n\r\n본문\r\n`;
    await send("submissions", { raw, envelope });
    expect((await stored("u5")).map(belowTrace)).toEqual([raw]);
    const foreign = { from: "보낸이@예제.한국", to: "u5@pabal.test" };
    await send("smtp", { raw, envelope: foreign }, false);
    const [, second] = await stored("u5");
    expect(second?.toString()).toMatch(
      /^Return-Path: <보낸이@(?:예제\.한국|xn--[\w-]+\.xn--[\w-]+)>/,
    );
  });

  test("Bcc reaches its reader and is in nobody's copy", async () => {
    await send("submission", { to: "u6@pabal.test", bcc: "u7@pabal.test", text: "hidden" });
    for (const user of ["u6", "u7"]) {
      const [bytes] = await stored(user);
      expect(bytes?.toString()).toContain("hidden");
      expect(bytes?.toString()).not.toContain("u7@");
    }
  });

  test("refusals come with their codes", async () => {
    const mail = { text: "x" };
    await expect(send("submission", { ...mail, to: "nobody@pabal.test" })).rejects.toMatchObject({
      responseCode: 550,
    });
    await expect(send("submission", { ...mail, to: "a@example.net" })).rejects.toThrow(
      /550 5\.4\.4/,
    );
    await expect(send("submission", { ...mail, to: "u8@pabal.test" }, false)).rejects.toThrow(
      /530 5\.7\.0/,
    );
  });

  // RFC 3461 §4.1: parameters of an extension that was not announced are refused.
  test("DSN is not announced, and its parameters are refused", async () => {
    const client = await LineClient.connect({ port: cluster.gateway("g1").smtp });
    await client.readLine();
    client.send("EHLO client.example.org\r\n");
    const announced: string[] = [];
    do announced.push(await client.readLine());
    while (announced.at(-1)?.startsWith("250-") === true);
    expect(announced.join("\n")).not.toMatch(/DSN|REQUIRETLS/);
    client.send("MAIL FROM:<friend@example.org>\r\n");
    expect(await client.readLine()).toMatch(/^250 /);
    client.send("RCPT TO:<u8@pabal.test> NOTIFY=SUCCESS\r\n");
    expect(await client.readLine()).toMatch(/^555 /);
    client.close();
  });
});
