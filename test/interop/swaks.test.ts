// swaks, the SMTP command-line client: relay, submission, submissions and LMTP. What it sent is read
// back through the other gateway and compared byte for byte.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { awkward, belowTrace, message, mustRun, readMailbox, run, Scratch } from "./support.ts";
import type { Ran } from "./support.ts";

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

const friend = ["--from", "friend@example.org"];

function server(port: keyof ReturnType<DevCluster["gateway"]>): readonly string[] {
  return ["--server", `127.0.0.1:${cluster.gateway("g1")[port]}`];
}

async function swaks(...args: readonly string[]): Promise<Ran> {
  return run("swaks", args);
}

/** What the other gateway has for a user, without the trace fields. */
async function received(user: string): Promise<readonly string[]> {
  return (await readMailbox(cluster.gateway("g2").imap, user)).map(belowTrace);
}

// swaks adds an empty line to --data of a file that ends in CRLF; the file is given without it.
function dataFile(name: string, bytes: Buffer): string {
  return `@${scratch.write(name, bytes.subarray(0, -2))}`;
}

describe("swaks, relay", () => {
  test("an 8-bit UTF-8 body with dots arrives byte for byte for each recipient", async () => {
    const args = ["--to", "u1@pabal.test,u2@pabal.test", "--data", dataFile("awkward", awkward)];
    await mustRun("swaks", [...server("smtp"), ...friend, ...args]);
    expect(await received("u1")).toEqual([awkward.toString()]);
    expect(await received("u2")).toEqual([awkward.toString()]);
  });

  test("pipelined commands are answered in order and the mail is stored", async () => {
    const bytes = message("pipelined", ["one round trip"]);
    const args = ["--to", "u3@pabal.test", "--pipeline", "--data", dataFile("pipelined", bytes)];
    const text = await mustRun("swaks", [...server("smtp"), ...friend, ...args]);
    expect(text).toMatch(
      /-> MAIL FROM.*\n +-> RCPT TO.*\n +-> DATA\n<-  250 2\.1\.0.*\n<-  250 2\.1\.5.*\n<-  354/,
    );
    expect(await received("u3")).toEqual([bytes.toString()]);
  });

  test("an unknown user is refused with 550 5.1.1, the others get the mail", async () => {
    const to = ["--to", "nobody@pabal.test,u4@pabal.test"];
    const { status, stdout } = await swaks(...server("smtp"), ...friend, ...to, "--body", "hello");
    expect(stdout.toString()).toContain("<** 550 5.1.1");
    expect(status).toBe(0);
    expect(await received("u4")).toHaveLength(1);
    const alone = await swaks(...server("smtp"), ...friend, "--to", "nobody@pabal.test");
    expect(alone.status).toBe(24);
  });

  test("mail for another domain is refused with 554 5.7.1", async () => {
    const { status, stdout } = await swaks(...server("smtp"), ...friend, "--to", "a@example.net");
    expect(status).toBe(24);
    expect(stdout.toString()).toContain("<** 554 5.7.1");
  });

  test("STARTTLS is offered to relays, with a certificate that verifies", async () => {
    const tls = ["--tls", "--tls-verify", "--tls-ca-path", cluster.ports.tls.ca];
    const text = await mustRun("swaks", [
      ...server("smtp"),
      ...friend,
      "--to",
      "u4@pabal.test",
      ...tls,
    ]);
    expect(text).toContain("TLS started with cipher TLSv1.");
    expect(text).toMatch(/<~ +250 2\.0\.0 Stored/);
  });

  test("attachments come back as they were", async () => {
    const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * 31) % 256));
    const file = scratch.write("all bytes.bin", bytes);
    const attach = ["--attach-type", "application/octet-stream", "--attach", `@${file}`];
    await mustRun("swaks", [...server("smtp"), ...friend, "--to", "u5@pabal.test", ...attach]);
    const [text = ""] = await received("u5");
    const part = /octet-stream[^]*?\r\n\r\n([A-Za-z0-9+/=\r\n]+)/.exec(text)?.[1] ?? "";
    expect(Buffer.from(part, "base64").equals(bytes)).toBe(true);
  });
});

describe("swaks, submission", () => {
  const from = ["--from", "u6@pabal.test"];

  test.each(["PLAIN", "LOGIN"])("STARTTLS, then AUTH %s, then the mail is taken", async (how) => {
    const user = how === "PLAIN" ? "u7" : "u8";
    const auth = ["--auth", how, "--auth-user", "u6@pabal.test", "--auth-password", "secret"];
    const args = ["--tls", ...auth, ...from, "--to", `${user}@pabal.test`, "--body", "submitted"];
    const text = await mustRun("swaks", [...server("submission"), ...args]);
    expect(text).toMatch(/<~ +235 /);
    const [stored = ""] = await received(user);
    expect(stored).toContain("\r\n\r\nsubmitted\r\n");
  });

  test("a wrong password is refused with 535, no mail without a login", async () => {
    const auth = ["--auth", "PLAIN", "--auth-user", "u6", "--auth-password", "wrong"];
    const args = [...from, "--to", "u9@pabal.test", "--tls"];
    const wrong = await swaks(...server("submission"), ...args, ...auth);
    expect(wrong.status).toBe(28);
    expect(wrong.stdout.toString()).toContain("535 5.7.8");
    const without = await swaks(...server("submission"), ...args);
    expect(without.status).toBe(23);
    expect(without.stdout.toString()).toContain("530 5.7.0");
    expect(await received("u9")).toEqual([]);
  });

  test("submissions: TLS from the first byte, the certificate verified against the CA", async () => {
    const auth = ["--auth-user", "u6", "--auth-password", "secret", "--tls-on-connect"];
    const args = [...server("submissions"), ...auth, ...from, "--to", "u9@pabal.test"];
    const trusted = ["--tls-verify", "--tls-ca-path", cluster.ports.tls.ca];
    await mustRun("swaks", [...args, ...trusted]);
    expect(await received("u9")).toHaveLength(1);
    const stranger = await swaks(...args, "--tls-verify");
    expect(stranger.status).not.toBe(0);
    expect(await received("u9")).toHaveLength(1);
  });

  test("another user's address as sender is refused", async () => {
    const auth = ["--tls", "--auth-user", "u6", "--auth-password", "secret"];
    const args = ["--from", "u1@pabal.test", "--to", "u9@pabal.test"];
    const { status, stdout } = await swaks(...server("submission"), ...auth, ...args);
    expect(status).not.toBe(0);
    expect(stdout.toString()).toMatch(/<~\* 55\d 5\.7\.1/);
  });
});

describe("swaks, groups", () => {
  async function ok(...args: readonly string[]): Promise<void> {
    const { status, stderr } = await cluster.cli(args);
    expect({ args, status, stderr }).toEqual({ args, status: 0, stderr: "" });
  }
  const as = (user: string): readonly string[] => [
    "--tls",
    "--auth-user",
    user,
    "--auth-password",
    "secret",
    "--from",
    `${user}@pabal.test`,
  ];
  async function members(): Promise<string> {
    return (await cluster.cli(["group", "members", "news", "--json"])).stdout;
  }

  test("who wrote to the address in List-Unsubscribe, logged in, has left", async () => {
    await ok("group", "create", "news", "--join", "open", "--poster", "u1@pabal.test");
    await ok("group", "join", "news", "u1@pabal.test", "u2@pabal.test");
    const post = ["--to", "news@pabal.test", "--body", "news"];
    await mustRun("swaks", [...server("submission"), ...as("u1"), ...post]);
    const folder = "Announcements/news";
    const [text] = await readMailbox(cluster.gateway("g2").imap, "u2", folder);
    const leave = /^List-Unsubscribe: <mailto:([^>]+)>\r$/m.exec(String(text))?.[1] ?? "";
    expect(leave).toBe("news+unsubscribe@pabal.test");
    // Nobody does it for others: not without a login, not as somebody else.
    const forged = ["--from", "u2@pabal.test", "--to", leave];
    const relay = await swaks(...server("smtp"), ...forged);
    expect(relay.stdout.toString()).toMatch(/<\*\* 550 5\.7\.1/);
    const other = await swaks(...server("submission"), ...as("u1"), ...forged);
    expect(other.status).not.toBe(0);
    expect(await members()).toContain("u2@pabal.test");
    const told = await mustRun("swaks", [...server("submission"), ...as("u2"), "--to", leave]);
    expect(told).toContain("250 2.0.0 You have left");
    expect(await members()).not.toContain("u2@pabal.test");
    const join = ["--to", leave.replace("unsubscribe", "subscribe")];
    await mustRun("swaks", [...server("submission"), ...as("u2"), ...join]);
    expect(await members()).toContain("u2@pabal.test");
  });

  test("nobody leaves a closed group, or that of everyone", async () => {
    await ok("group", "create", "staff", "--post", "users");
    await ok("group", "create", "all", "--post", "users", "--join", "open");
    await ok("group", "join", "staff", "u3@pabal.test");
    for (const group of ["staff", "all"]) {
      const post = ["--to", `${group}@pabal.test`, "--body", "news"];
      await mustRun("swaks", [...server("submission"), ...as("u3"), ...post]);
      const folder = `Announcements/${group}`;
      const [text] = await readMailbox(cluster.gateway("g2").imap, "u3", folder);
      expect(String(text)).toMatch(/^List-Id: /m);
      expect(String(text)).not.toMatch(/^List-Unsubscribe/m);
      const leave = ["--to", `${group}+unsubscribe@pabal.test`];
      const { stdout } = await swaks(...server("submission"), ...as("u3"), ...leave);
      expect(stdout.toString()).toMatch(/<~\* 550 5\./);
    }
  });
});

describe("swaks, LMTP", () => {
  test("each recipient gets an answer of its own after DATA", async () => {
    const bytes = message("by LMTP", ["two answers"]);
    const to = ["--to", "u10@pabal.test,nobody@pabal.test,u11@pabal.test"];
    const args = ["--protocol", "LMTP", ...to, "--data", dataFile("lmtp", bytes)];
    const text = await mustRun("swaks", [...server("lmtp"), ...friend, ...args]);
    expect(text).toContain("-> LHLO");
    expect(text).toMatch(/<\*\* 550 5\.1\.1/);
    expect(text.match(/<- +250 2\.0\.0 .*Stored/g)).toHaveLength(2);
    expect(await received("u10")).toEqual([bytes.toString()]);
    expect(await received("u11")).toEqual([bytes.toString()]);
  });
});
