// Python's imaplib, poplib and smtplib, the clients that scripts use. The dialogues stand in
// clients.py; what they stored is read back here through the other gateway.

import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { belowTrace, flow, mustRun, readMailbox } from "./support.ts";

const script = fileURLToPath(new URL("clients.py", import.meta.url));
let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ users: 4 });
});
afterAll(async () => {
  await cluster.destroy();
});

/** Plaintext ports of one gateway, TLS ports of the other. @returns the message used, with CRLF. */
async function python(dialogue: string): Promise<string> {
  const [plain, secure] = [cluster.gateway("g1"), cluster.gateway("g2")];
  const { smtp, submission, lmtp, imap, pop3 } = plain;
  const { submissions, imaps, pop3s } = secure;
  const { ca } = cluster.ports.tls;
  const given = { smtp, submission, lmtp, imap, pop3, submissions, imaps, pop3s, ca };
  const text = await mustRun("python3", [script, dialogue, JSON.stringify(given)]);
  return (JSON.parse(text) as { message: string }).message;
}

describe("Python's clients", () => {
  test("smtplib: relay, submission after STARTTLS and over TLS, LMTP", async () => {
    const message = await python("smtp");
    const stored = (await readMailbox(cluster.gateway("g2").imap, "u1")).map(belowTrace);
    expect(stored).toHaveLength(4);
    expect(stored[0]).toBe(message);
    expect(stored[3]).toBe(message);
    const body = message.slice(message.indexOf("\r\n\r\n"));
    for (const text of stored) expect(text.slice(text.indexOf("\r\n\r\n"))).toBe(body);
  });

  test("imaplib: append, fetch, search in Korean, copy, expunge", async () => {
    const message = await python("imap");
    const copies = await readMailbox(cluster.gateway("g1").imap, "u3", "메모");
    expect(copies.map(String)).toEqual([message]);
    expect(await readMailbox(cluster.gateway("g1").imap, "u3")).toEqual([]);
  });

  test("poplib: UIDL, TOP, RETR, RSET, and DELE that QUIT carries out", async () => {
    const message = Buffer.from(await python("message"));
    const client = flow(cluster.gateway("g2").imap, "u4");
    await client.connect();
    for (const _ of [1, 2]) await client.append("INBOX", message);
    await client.logout();
    await python("pop3");
    expect(await readMailbox(cluster.gateway("g2").imap, "u4")).toEqual([message]);
  });
});
