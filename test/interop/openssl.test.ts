// openssl s_client, which looks at TLS from outside: STARTTLS and implicit TLS of each protocol, the
// certificate against the cluster's CA, and what is refused.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { run } from "./support.ts";

let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ users: 1 });
});
afterAll(async () => {
  await cluster.destroy();
});

type Listener =
  | "smtp"
  | "submission"
  | "submissions"
  | "lmtp"
  | "imap"
  | "imaps"
  | "pop3"
  | "pop3s";

const listeners: readonly {
  readonly name: Listener;
  readonly starttls: readonly string[];
  readonly quit: string;
  readonly answer: RegExp;
}[] = [
  { name: "smtp", starttls: ["-starttls", "smtp"], quit: "QUIT", answer: /^221 /m },
  { name: "submission", starttls: ["-starttls", "smtp"], quit: "QUIT", answer: /^221 /m },
  { name: "submissions", starttls: [], quit: "QUIT", answer: /^221 /m },
  { name: "lmtp", starttls: ["-starttls", "lmtp"], quit: "QUIT", answer: /^221 /m },
  { name: "imap", starttls: ["-starttls", "imap"], quit: "a LOGOUT", answer: /^a OK /m },
  { name: "imaps", starttls: [], quit: "a LOGOUT", answer: /^a OK /m },
  { name: "pop3", starttls: ["-starttls", "pop3"], quit: "QUIT", answer: /^\+OK .*\r?\n?$/m },
  { name: "pop3s", starttls: [], quit: "QUIT", answer: /^\+OK .*\r?\n?$/m },
];

async function client(name: Listener, args: readonly string[], input: string) {
  const connect = ["-connect", `127.0.0.1:${cluster.gateway("g2")[name]}`];
  const { status, stdout, stderr } = await run(
    "openssl",
    ["s_client", "-crlf", "-ign_eof", ...connect, ...args],
    { input },
  );
  return { status, text: stdout.toString() + stderr };
}

function verified(): readonly string[] {
  const ca = ["-CAfile", cluster.ports.tls.ca, "-verify_return_error"];
  return [...ca, "-servername", "localhost", "-verify_hostname", "localhost"];
}

describe.each(listeners)("openssl s_client, $name", ({ name, starttls, quit, answer }) => {
  test.each(["-tls1_2", "-tls1_3"])("%s: the certificate verifies, commands work", async (tls) => {
    const { status, text } = await client(name, [...starttls, ...verified(), tls], `${quit}\n`);
    expect(text).toContain("Verify return code: 0 (ok)");
    expect(text).toContain(tls === "-tls1_3" ? "TLSv1.3" : "TLSv1.2");
    expect(text).toMatch(answer);
    expect(status).toBe(0);
  });

  test("TLS 1.1 is refused", async () => {
    // Level 0, so that it is the server that says no and not this client.
    const old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    const { status, text } = await client(name, [...starttls, ...old], `${quit}\n`);
    expect(text).toMatch(/alert protocol version|alert handshake failure/);
    expect(status).not.toBe(0);
  });
});

describe("openssl s_client, certificates", () => {
  test("without the CA the certificate does not verify; nor for another name", async () => {
    const without = await client("imaps", ["-verify_return_error"], "a LOGOUT\n");
    expect(without.text).toMatch(/verify error:num=(?:20|21|19)/);
    const ca = ["-CAfile", cluster.ports.tls.ca, "-verify_return_error"];
    const other = await client("imaps", [...ca, "-verify_hostname", "example.org"], "a LOGOUT\n");
    expect(other.text).toContain("hostname mismatch");
  });

  test("the certificate is also one for 127.0.0.1", async () => {
    const ca = ["-CAfile", cluster.ports.tls.ca, "-verify_return_error"];
    const { text } = await client("imaps", [...ca, "-verify_ip", "127.0.0.1"], "a LOGOUT\n");
    expect(text).toContain("Verify return code: 0 (ok)");
  });
});
