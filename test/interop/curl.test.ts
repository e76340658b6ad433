// curl: SMTP uploads, IMAP (list, fetch, append, search, store) and POP3 from scripts, in plaintext,
// after STARTTLS and over TLS. What goes in at one gateway is read at the other, byte for byte.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { awkward, belowTrace, message, mustRun, readMailbox, run, Scratch } from "./support.ts";

let cluster: DevCluster;
let scratch: Scratch;

beforeAll(async () => {
  scratch = new Scratch();
  cluster = await DevCluster.start({ users: 12 });
});
afterAll(async () => {
  await cluster.destroy();
  scratch.remove();
});

type Protocol = "smtp" | "imap" | "imaps" | "pop3" | "pop3s";

function url(protocol: Protocol, gateway: string, path: string): string {
  return `${protocol}://localhost:${cluster.gateway(gateway)[protocol]}${path}`;
}

/** curl as a user; `localhost` is 127.0.0.1, because the certificate has that name. */
async function curl(user: string, ...args: readonly string[]): Promise<Buffer> {
  const ca = ["--cacert", cluster.ports.tls.ca];
  const common = ["-sS", "--ipv4", "--max-time", "15", ...ca, "--user", `${user}:secret`];
  const { status, stdout, stderr } = await run("curl", [...common, ...args]);
  if (status !== 0) throw new Error(`curl ended with ${status}: ${stderr}`);
  return stdout;
}

async function deliver(to: string, bytes: Buffer, ...args: readonly string[]): Promise<void> {
  const file = scratch.write(`${to}.eml`, bytes);
  const envelope = ["--mail-from", "friend@example.org", "--mail-rcpt", `${to}@pabal.test`];
  const ca = ["--cacert", cluster.ports.tls.ca];
  const at = url("smtp", "g1", "/client.example.org");
  const limit = ["-sS", "--ipv4", "--max-time", "15"];
  await mustRun("curl", [...limit, ...ca, ...args, ...envelope, "--upload-file", file, at]);
}

describe("curl, SMTP", () => {
  test("an upload is stored as it was, and so over required TLS", async () => {
    await deliver("u1", awkward);
    await deliver("u1", awkward, "--ssl-reqd");
    const stored = await readMailbox(cluster.gateway("g2").imap, "u1");
    expect(stored.map(belowTrace)).toEqual([awkward.toString(), awkward.toString()]);
  });

  test("an unknown recipient fails the upload", async () => {
    await expect(deliver("nobody", awkward)).rejects.toThrow(/RCPT failed: 550/);
  });
});

describe("curl, IMAP", () => {
  const append = async (user: string, mailbox: string, bytes: Buffer): Promise<Buffer> =>
    curl(user, "--upload-file", scratch.write(`${user}-append`, bytes), url("imap", "g1", mailbox));

  test.each<Protocol>(["imap", "imaps"])("%s: a message comes byte for byte", async (protocol) => {
    const user = protocol === "imap" ? "u2" : "u3";
    await deliver(user, awkward);
    const [expected = Buffer.alloc(0)] = await readMailbox(cluster.gateway("g1").imap, user);
    const tls = protocol === "imap" ? ["--ssl-reqd"] : [];
    for (const key of ["MAILINDEX", "UID"]) {
      const got = await curl(user, ...tls, url(protocol, "g2", `/INBOX;${key}=1`));
      expect(got.equals(expected)).toBe(true);
    }
    const text = await curl(user, ...tls, url(protocol, "g2", "/INBOX;UID=1;SECTION=TEXT"));
    expect(expected.subarray(-text.length).equals(text)).toBe(true);
    expect(text.toString()).toMatch(/^안녕하세요/);
  });

  test("the root lists the mailboxes", async () => {
    const text = (await curl("u4", url("imap", "g2", "/"))).toString();
    for (const name of ["INBOX", "Drafts", "Sent", "Junk", "Trash", "Archive"]) {
      expect(text).toMatch(new RegExp(`^\\* LIST \\([^)]*\\) "/" "?${name}"?\\r$`, "m"));
    }
  });

  test("an appended message is stored as it was", async () => {
    await append("u5", "/Drafts", awkward);
    const [stored] = await readMailbox(cluster.gateway("g2").imap, "u5", "Drafts");
    expect(stored?.toString()).toBe(awkward.toString());
  });

  test("search finds, store changes, expunge removes", async () => {
    await append("u6", "/INBOX", message("first", ["alpha"]));
    await append("u6", "/INBOX", message("second", ["beta"]));
    const inbox = url("imap", "g2", "/INBOX");
    const ask = async (what: string): Promise<string> =>
      (await curl("u6", inbox, "-X", what)).toString();
    expect(await ask("SEARCH TEXT beta")).toBe("* SEARCH 2\r\n");
    expect((await curl("u6", `${inbox}?SUBJECT%20first`)).toString()).toBe("* SEARCH 1\r\n");
    expect(await ask("STORE 1 +FLAGS (\\Deleted \\Flagged)")).toMatch(
      /^\* 1 FETCH \(.*FLAGS \([^)]*\\Deleted[^)]*\)/,
    );
    expect(await ask("SEARCH DELETED")).toBe("* SEARCH 1\r\n");
    expect(await ask("EXPUNGE")).toContain("* 1 EXPUNGE\r\n");
    expect(await ask("UID SEARCH ALL")).toBe("* SEARCH 2\r\n");
    expect(await ask("STATUS INBOX (MESSAGES)")).toContain("(MESSAGES 1)");
  });

  test("a wrong password is a refused login", async () => {
    const args = ["-sS", "--max-time", "15", "--user", "u1:wrong", url("imap", "g1", "/")];
    expect(await run("curl", args)).toMatchObject({ status: 67 });
  });
});

describe("curl, POP3", () => {
  test.each<Protocol>(["pop3", "pop3s"])("%s: list, retrieve, delete", async (protocol) => {
    const user = protocol === "pop3" ? "u7" : "u8";
    const tls = protocol === "pop3" ? ["--ssl-reqd"] : [];
    await deliver(user, awkward);
    await deliver(user, message("second", ["two"]));
    const stored = await readMailbox(cluster.gateway("g1").imap, user);
    const list = (await curl(user, ...tls, url(protocol, "g2", "/"))).toString();
    expect(list).toBe(stored.map(({ length }, index) => `${index + 1} ${length}\r\n`).join(""));
    for (const [index, bytes] of stored.entries()) {
      const got = await curl(user, ...tls, url(protocol, "g2", `/${index + 1}`));
      expect(got.equals(bytes)).toBe(true);
    }
    await curl(user, ...tls, "-I", "-X", "DELE", url(protocol, "g2", "/1"));
    expect(await readMailbox(cluster.gateway("g1").imap, user)).toEqual(stored.slice(1));
  });
});
