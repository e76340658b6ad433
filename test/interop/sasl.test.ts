// Logins other than by password in clear, with programs that people use: SCRAM by GNU SASL, bearer
// tokens by curl against an identity provider of this test, app passwords.

import { once } from "node:events";
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";
import { run } from "./support.ts";

let cluster: DevCluster;
let provider: Server;

beforeAll(async () => {
  provider = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      const token = new URLSearchParams(body).get("token") ?? "";
      const known = /^good-(u\d)$/.exec(token)?.[1];
      const claims = { active: known !== undefined, email: `${known}@pabal.test`, scope: "mail" };
      response.end(JSON.stringify(claims));
    });
  });
  await once(provider.listen(0, "127.0.0.1"), "listening");
  const { port } = provider.address() as AddressInfo;
  cluster = await DevCluster.start({
    users: 4,
    set: [
      'auth.mechanisms=["PLAIN","LOGIN","SCRAM-SHA-256","SCRAM-SHA-256-PLUS","OAUTHBEARER","XOAUTH2"]',
      `auth.oauth.introspection.url=http://127.0.0.1:${port}/introspect`,
      "auth.oauth.introspection.clientId=pabal",
      "auth.oauth.introspection.clientSecret=hush",
      "auth.oauth.scope=mail",
      "smtp.channelBinding=true",
    ],
  });
}, 60_000);
afterAll(async () => {
  await cluster.destroy();
  provider.close();
});

interface Login {
  readonly protocol: "imap" | "smtp";
  readonly mechanism: string;
  readonly password: string;
  readonly tls?: boolean;
}

async function gsasl({ protocol, mechanism, password, tls = true }: Login): Promise<string> {
  const { imap, submission } = cluster.gateway("g2");
  const port = protocol === "imap" ? imap : submission;
  const { status, stdout, stderr } = await run("gsasl", [
    `--${protocol}`,
    `--connect=localhost:${port}`,
    `--mechanism=${mechanism}`,
    "--authentication-id=u1@pabal.test",
    `--password=${password}`,
    "--quality-of-protection=qop-auth",
    ...(tls ? [`--x509-ca-file=${cluster.ports.tls.ca}`, "--starttls"] : ["--no-starttls"]),
  ]);
  return `${status} ${stdout.toString()}${stderr}`;
}

describe("SCRAM by GNU SASL", () => {
  test.each(["imap", "smtp"] as const)("%s", async (protocol) => {
    const login = { protocol, mechanism: "SCRAM-SHA-256", tls: false };
    expect(await gsasl({ ...login, password: "secret" })).toMatch(/^0 .*server trusted/s);
    expect(await gsasl({ ...login, password: "wrong" })).not.toMatch(/^0 /);
    // Over TLS this program says that it could bind and saw no -PLUS: somebody took it off. RFC 5802 §6
    expect(await gsasl({ ...login, tls: true, password: "secret" })).not.toMatch(/^0 /);
  });

  test.each(["imap", "smtp"] as const)("-PLUS, bound to the channel, %s", async (protocol) => {
    const login = { protocol, mechanism: "SCRAM-SHA-256-PLUS" };
    expect(await gsasl({ ...login, password: "secret" })).toMatch(/^0 .*server trusted/s);
    expect(await gsasl({ ...login, password: "wrong" })).not.toMatch(/^0 /);
  });
});

describe("bearer tokens by curl", () => {
  const ask = async (
    protocol: "imap" | "pop3" | "submission",
    user: string,
    token: string,
    mechanism: string,
  ) => {
    const { [protocol]: port } = cluster.gateway("g1");
    const scheme = protocol === "submission" ? "smtp" : protocol;
    const args = ["-sS", "--ipv4", "--max-time", "15", "--user", user, "--oauth2-bearer", token];
    const options = ["--login-options", `AUTH=${mechanism}`, `${scheme}://localhost:${port}/`];
    const { status } = await run("curl", [...args, ...options]);
    return status;
  };
  const refused = 67; // CURLE_LOGIN_DENIED

  test.each(["OAUTHBEARER", "XOAUTH2"])("%s", async (mechanism) => {
    for (const protocol of ["imap", "pop3"] as const) {
      expect([protocol, await ask(protocol, "u2@pabal.test", "good-u2", mechanism)]).toEqual([
        protocol,
        0,
      ]);
      expect(await ask(protocol, "u2@pabal.test", "bad", mechanism)).toBe(refused);
      // A good token of somebody else.
      expect(await ask(protocol, "u2@pabal.test", "good-u3", mechanism)).toBe(refused);
    }
    expect(await ask("submission", "u2@pabal.test", "bad", mechanism)).toBe(refused);
  });
});

test("app passwords log in, are listed, and end sessions when they are taken back", async () => {
  const user = "u3@pabal.test";
  const made = await cluster.cli(["user", "app-password", "add", user, "phone"]);
  expect(made).toMatchObject({ status: 0 });
  const password = made.stdout.trim();
  expect(password).toMatch(/^([a-z2-9]{4}-){4}[a-z2-9]{4}$/);
  expect((await cluster.cli(["user", "app-password", "add", user, "phone"])).status).not.toBe(0);
  expect((await cluster.cli(["user", "show", user])).stdout).toContain("phone, password of");
  for (const id of ["g1", "g2"]) {
    for (const each of [password, "secret"]) {
      const client = await ImapClient.connect(cluster.gateway(id).imap);
      await client.ok(`LOGIN ${user} ${each}`);
      await client.ok("LOGOUT");
    }
  }
  const open = await ImapClient.connect(cluster.gateway("g1").imap);
  await open.ok(`LOGIN ${user} ${password}`);
  await open.ok("SELECT INBOX");
  const removed = await cluster.cli(["user", "app-password", "remove", user, "phone"]);
  expect(removed).toMatchObject({ status: 0 });
  await expect(open.ok("STATUS INBOX (MESSAGES)")).rejects.toThrow();
  const again = await ImapClient.connect(cluster.gateway("g2").imap);
  await expect(again.ok(`LOGIN ${user} ${password}`)).rejects.toThrow(/AUTHENTICATIONFAILED/);
  await again.ok(`LOGIN ${user} secret`);
});
